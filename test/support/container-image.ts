/** An image that containers start from: busybox, accounts, and a config with anything in it. */
import { readFileSync } from 'node:fs';
import type { ByteString } from '../../src/units.ts';
import { type LayoutImage, member, writeLayout } from './image-layout.ts';
import type { Member } from './tar-bytes.ts';

/** Of Debian's busybox-static: a program that needs nothing else of the image. */
const BUSYBOX = '/bin/busybox';
const APPLETS = [
  'cat',
  'env',
  'grep',
  'hostname',
  'id',
  'ls',
  'mkdir',
  'mount',
  'pwd',
  'sh',
  'sleep',
  'stat',
  'stty',
  'touch',
  'true',
  'wc',
];

const file = (name: string, text: string, mode = 0o644): Member =>
  member(name, { content: Buffer.from(text), mode });
const folder = (name: string, mode = 0o755): Member => member(name, { type: 'dir', mode });

const ACCOUNTS = ['root:x:0:0:root:/root:/bin/sh', 'app:x:1000:1001:the app:/home/app:/bin/sh', ''].join(
  '\n',
);
const GROUPS = ['root:x:0:', 'app:x:1001:', 'disk:x:6:root,app', 'media:x:44:app', ''].join('\n');

export interface ContainerImage {
  readonly config?: object;
  /** Above busybox. */
  readonly members?: readonly Member[];
  /** In place of busybox and accounts. */
  readonly base?: readonly Member[];
  readonly architecture?: string;
}

export function busyboxMembers(): readonly Member[] {
  return [
    ...['bin', 'etc', 'home', 'home/app', 'root'].map((name) => folder(name)),
    folder('tmp', 0o1777),
    member('bin/busybox', { content: readFileSync(BUSYBOX), mode: 0o755 }),
    ...APPLETS.map((name) =>
      member(`bin/${name}`, { type: 'symlink', target: 'busybox' as ByteString, mode: 0o777 }),
    ),
    file('etc/passwd', ACCOUNTS),
    file('etc/group', GROUPS),
    file('etc/motd', 'from the image\n'),
  ];
}

/** Writes the layout and says how a command line names it. */
export function writeContainerImage(place: string, image: ContainerImage = {}): string {
  const layout: LayoutImage = {
    layers: [image.base ?? busyboxMembers(), image.members ?? [file('etc/upper', 'upper\n')]],
    config: image.config ?? {},
    ...(image.architecture === undefined ? {} : { architecture: image.architecture }),
  };
  writeLayout(place, layout);
  return `oci:${place}`;
}
