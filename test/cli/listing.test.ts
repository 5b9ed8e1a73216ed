/**
 * What the program lists beside what others say of the same images: the reference listings, and GNU ls over
 * what umoci unpacked.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256Hex } from '../support/digests.ts';
import { imagesDir } from '../support/images.ts';
import { STARGZ_ROWS } from '../support/listing.ts';
import { PeelUser } from '../support/run-peel.ts';
import { umociProblem } from '../support/umoci.ts';

const folder = imagesDir();
const images = folder ?? '';

/** One of each kind: gzip, zstd, eStargz, links, whiteouts, opaque folders, fifty layers, one layer. */
const LAYOUTS = [
  'derived/gzip-skopeo-dive-14layers',
  'derived/zstd-skopeo-dive-14layers',
  'derived/estargz-dive-14layers-64k',
  'oci-tools/hard-link-1',
  'oci-tools/hard-link-delete-xattr',
  'oci-tools/whiteout-opaque',
  'oci-tools/whiteout-explicit-dir',
  'oci-tools/many-layers',
  'hello-world/amd64',
  'busybox/latest-glibc-amd64',
  'apko/golden',
];

/** Of images for several platforms, the listings are of the first. */
const AMD64 = ['--platform', 'linux/amd64'];

interface Entry {
  readonly path?: string;
  readonly pathBase64?: string;
  readonly type: string;
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: string;
  readonly target?: string;
  readonly rdev?: readonly [number, number];
  readonly nlink: number;
  readonly ino: number;
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly layer: number;
}

const LETTER_OF: Readonly<Record<string, string>> = {
  file: 'f',
  dir: 'd',
  symlink: 'l',
  char: 'c',
  block: 'b',
  fifo: 'p',
};

/** The columns of a listing that an entry can give: all but the content of files. */
function rowOf(entry: Entry): string {
  return [
    entry.path,
    LETTER_OF[entry.type],
    entry.mode,
    entry.uid,
    entry.gid,
    entry.mtime.replace(/\..*$/u, ''),
    entry.size,
    entry.target ?? entry.rdev?.join(':') ?? '',
    entry.nlink,
    Object.keys(entry.xattrs ?? {}).join(','),
  ].join('\t');
}

function listingRows(layout: string): { rows: string[]; contents: Map<string, string> } {
  const text = readFileSync(path.join(images, 'listings', 'layouts', `${layout}.o0.tsv`), 'utf8');
  const contents = new Map<string, string>();
  const rows = text
    .replace(/\n$/u, '')
    .split('\n')
    .filter((line) => !STARGZ_ROWS.test(line))
    .map((line) => {
      const fields = line.split('\t').slice(0, 10);
      if (fields[1] === 'f') {
        contents.set(fields[0] ?? '', fields[7] ?? '');
        fields[7] = '';
      }
      fields[9] = (fields[9] ?? '').replace(/=.*$/u, '');
      return fields.join('\t');
    });
  return { rows, contents };
}

describe.skipIf(folder === undefined)('real images', () => {
  let user: PeelUser;
  beforeAll(() => {
    user = new PeelUser();
  });
  afterAll(() => {
    user.close();
  });

  test.each(LAYOUTS)('%s lists as JSON entry for entry as its reference', async (layout) => {
    const image = path.join(images, 'layouts', layout);
    const run = await user.run(['ls', ...AMD64, '-R', '-a', '--format', 'jsonl', image, '/']);
    expect(run).toMatchObject({ status: 0, stderr: '' });
    const entries = run.stdout
      .toString('utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Entry & { schemaVersion: number });
    const { rows } = listingRows(layout);
    expect(entries.map(rowOf).sort()).toEqual(rows.sort());
    expect(new Set(entries.map(({ schemaVersion }) => schemaVersion))).toEqual(new Set([1]));

    // One document says the same.
    const document = await user.run(['ls', ...AMD64, '-R', '-a', '--format', 'json', image, '/']);
    const parsed = JSON.parse(document.stdout.toString('utf8')) as {
      schemaVersion: number;
      entries: Entry[];
    };
    expect(parsed.schemaVersion).toBe(1);
    expect(parsed.entries.map(rowOf)).toEqual(entries.map(rowOf));
  });

  test.each(['derived/gzip-skopeo-dive-14layers', 'oci-tools/hard-link-1', 'oci-tools/whiteout-opaque'])(
    '%s: cat writes the content that the reference names',
    async (layout) => {
      const { contents } = listingRows(layout);
      const some = [...contents].filter((_, index) => index % Math.ceil(contents.size / 12) === 0);
      expect(some.length).toBeGreaterThan(0);
      for (const [file, sha256] of some) {
        const run = await user.run(['cat', path.join(images, 'layouts', layout), file]);
        expect(run).toMatchObject({ status: 0, stderr: '' });
        expect(sha256Hex(run.stdout)).toBe(sha256);
      }
    },
  );

  test('entries that are one inode have one number', async () => {
    const image = path.join(images, 'layouts', 'derived/gzip-skopeo-dive-14layers');
    const run = await user.run(['ls', '--format', 'jsonl', image, '/bin']);
    const entries = run.stdout
      .toString('utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Entry);
    const busybox = entries.filter(({ nlink }) => nlink > 300);
    expect(busybox.length).toBeGreaterThan(300);
    expect(new Set(busybox.map(({ ino }) => ino)).size).toBe(1);
  });

  describe.skipIf(umociProblem() !== undefined)('beside GNU ls over what umoci unpacked', () => {
    /** Folders are left out of size, links and time: these are the host's. Blanks between columns, too. */
    const lineOf = (line: string): string => {
      const words = line.split(/ +/u);
      if (!line.startsWith('d')) return words.join(' ');
      return [words[0], words[2], words[3], ...words.slice(8)].join(' ');
    };
    const block = (text: string): string[] =>
      text
        .split('\n')
        .filter((line) => !line.startsWith('total ') && !line.endsWith(' ..'))
        .map(lineOf);

    test.each(['derived/gzip-skopeo-dive-14layers', 'busybox/latest-glibc-amd64', 'apko/golden'])(
      '%s: ls -laR and ls -lS have the same lines',
      async (layout) => {
        const source = path.join(images, 'layouts', layout);
        const place = path.join(user.work, path.basename(layout));
        const root = `${place}-root`;
        mkdirSync(place);
        symlinkSync(path.join(source, 'blobs'), path.join(place, 'blobs'));
        writeFileSync(path.join(place, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
        const index = JSON.parse(readFileSync(path.join(source, 'index.json'), 'utf8')) as {
          manifests: { annotations?: object }[];
        };
        // The first is the one for linux/amd64; umoci chooses by tag.
        const manifests = index.manifests
          .slice(0, 1)
          .map((manifest) => ({ ...manifest, annotations: { 'org.opencontainers.image.ref.name': 'it' } }));
        writeFileSync(path.join(place, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
        execFileSync('umoci', ['raw', 'unpack', '--image', `${place}:it`, root], {
          stdio: 'ignore',
          timeout: 30_000,
        });
        for (const [ours, theirs] of [
          [['-laR'], ['-lanR']],
          [['-lS'], ['-lnS']],
          [['-ltr'], ['-lntr']],
          [['-lhA'], ['-lnhA']],
        ] as const) {
          // Sorted by time or size, folders stand where the host's time and size put them.
          const sorts = /[St]/u.test(ours[0]);
          const names = sorts
            ? ['bin', 'etc', 'root', 'dev', '.'].filter((name) => isFolder(root, name))
            : ['.'];
          for (const name of names) {
            const listed = execFileSync('ls', [...theirs, name], {
              cwd: root,
              env: { LC_ALL: 'C', TZ: 'UTC', PATH: process.env['PATH'] },
              encoding: 'utf8',
              timeout: 30_000,
              maxBuffer: 1 << 26,
            });
            const run = await user.run(['ls', ...AMD64, ...ours, source, name]);
            expect(run).toMatchObject({ status: 0, stderr: '' });
            const filter = (lines: string[]): string[] =>
              sorts ? lines.filter((line) => !line.startsWith('d')) : lines;
            expect(filter(block(run.stdout.toString('utf8')))).toEqual(filter(block(listed)));
          }
        }
      },
    );
  });
});

function isFolder(root: string, name: string): boolean {
  try {
    execFileSync('test', ['-d', path.join(root, name)], { timeout: 10_000 });
    return true;
  } catch {
    return false;
  }
}
