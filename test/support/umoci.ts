/**
 * The reference for "apply" semantics: stacks of layers as images of one OCI layout, unpacked by umoci, and what
 * then lies on the disk as rows. Needs root, for owners and devices.
 */
import { execFile, execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { NodeKind } from '../../src/tree/node.ts';
import { sha256Hex } from './digests.ts';
import type { Row } from './listing.ts';

/** Of Debian's package attr. */
const XATTR_LISTER = 'getfattr';
const DEADLINE_MS = 20_000;

/** Why umoci cannot be the judge here, or undefined when it can. */
export function umociProblem(): string | undefined {
  if (process.getuid?.() !== 0) {
    return 'not root';
  }
  for (const [program, argument] of [
    ['umoci', '--version'],
    [XATTR_LISTER, '--version'],
  ] as const) {
    try {
      execFileSync(program, [argument], { stdio: 'ignore', timeout: DEADLINE_MS });
    } catch {
      return `no ${program}`;
    }
  }
  return undefined;
}

export class UmociLayout {
  readonly #folder: string;
  readonly #manifests: object[] = [];

  /** `folder` is there and empty. */
  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(path.join(folder, 'blobs', 'sha256'), { recursive: true });
    writeFileSync(path.join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  }

  /** Layers are tars, lowest first; every second one is compressed. */
  add(tag: string, layers: readonly Buffer[]): void {
    const diffIDs = layers.map((tar) => this.#store(tar, '').digest);
    const config = this.#store(
      Buffer.from(
        JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: diffIDs } }),
      ),
      'application/vnd.oci.image.config.v1+json',
    );
    const descriptors = layers.map((tar, index) =>
      index % 2 === 0
        ? this.#store(tar, 'application/vnd.oci.image.layer.v1.tar')
        : this.#store(gzipSync(tar, { level: 1 }), 'application/vnd.oci.image.layer.v1.tar+gzip'),
    );
    const mediaType = 'application/vnd.oci.image.manifest.v1+json';
    const manifest = { schemaVersion: 2, mediaType, config, layers: descriptors };
    this.#manifests.push({
      ...this.#store(Buffer.from(JSON.stringify(manifest)), mediaType),
      annotations: { 'org.opencontainers.image.ref.name': tag },
    });
    writeFileSync(
      path.join(this.#folder, 'index.json'),
      JSON.stringify({ schemaVersion: 2, manifests: this.#manifests }),
    );
  }

  #store(bytes: Buffer, mediaType: string): { mediaType: string; digest: string; size: number } {
    const hex = sha256Hex(bytes);
    writeFileSync(path.join(this.#folder, 'blobs', 'sha256', hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  }

  /** Unpacks into `target`, which is made. Resolves with what umoci said when it refused, else undefined. */
  async unpack(tag: string, target: string): Promise<string | undefined> {
    try {
      await promisify(execFile)('umoci', ['raw', 'unpack', '--image', `${this.#folder}:${tag}`, target], {
        timeout: DEADLINE_MS,
        killSignal: 'SIGKILL',
      });
      return undefined;
    } catch (error) {
      const failure = error as { killed?: boolean; code?: unknown; stderr?: string };
      if (failure.killed === true || typeof failure.code !== 'number') {
        throw error;
      }
      return failure.stderr ?? '';
    }
  }
}

const KIND_OF_FORMAT: Readonly<Record<number, NodeKind>> = {
  0o100000: 'file',
  0o040000: 'dir',
  0o120000: 'symlink',
  0o020000: 'char',
  0o060000: 'block',
  0o010000: 'fifo',
};

/**
 * What lies in a folder, itself as `/`, in the order of `rowsOf`. `xattrs` is that of `xattrsBelow`. `implied` is not to be seen on a disk and false.
 */
export function rowsOnDisk(folder: string, xattrs: ReadonlyMap<string, readonly string[]>): Row[] {
  const rows: Row[] = [];
  const firstPath = new Map<bigint, string>();
  const visit = (at: string): void => {
    const file = Buffer.from(`${folder}${at === '/' ? '' : at}`, 'latin1');
    const stat = lstatSync(file, { bigint: true });
    const kind = KIND_OF_FORMAT[Number(stat.mode & 0o170000n)];
    if (kind === undefined) {
      throw new Error(`${at}: mode ${stat.mode.toString(8)}`);
    }
    if (!firstPath.has(stat.ino)) {
      firstPath.set(stat.ino, at);
    }
    rows.push({
      path: at,
      kind,
      mode: Number(stat.mode & 0o7777n),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtime: `${stat.mtimeNs / 1_000_000_000n}.${String(stat.mtimeNs % 1_000_000_000n).padStart(9, '0')}`,
      size: Number(stat.size),
      content:
        kind === 'file'
          ? sha256Hex(readFileSync(file))
          : kind === 'symlink'
            ? readlinkSync(file, { encoding: 'buffer' }).toString('latin1')
            : kind === 'char' || kind === 'block'
              ? deviceNumbers(stat.rdev)
              : '',
      nlink: Number(stat.nlink),
      xattrs: xattrs.get(`${folder}${at === '/' ? '' : at}`) ?? [],
      inode: firstPath.get(stat.ino) ?? at,
      implied: false,
    });
    if (kind === 'dir') {
      const names = readdirSync(file, { encoding: 'buffer' }).map((name) => name.toString('latin1'));
      for (const name of names.sort()) {
        visit(at === '/' ? `/${name}` : `${at}/${name}`);
      }
    }
  };
  visit('/');
  return rows;
}

/** As makedev(3) of Linux packs them. */
function deviceNumbers(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

/** The `user.*` attributes of everything below a folder, as `name=hex`, by absolute path. */
export function xattrsBelow(folder: string): Map<string, string[]> {
  const output = execFileSync(
    XATTR_LISTER,
    ['-R', '-P', '-h', '-d', '-e', 'hex', '-m', '^user\\.', '--absolute-names', folder],
    { maxBuffer: 1 << 30, timeout: 60_000 },
  ).toString('latin1');
  const found = new Map<string, string[]>();
  for (const block of output.split('\n\n')) {
    const [title = '', ...lines] = block.split('\n').filter((line) => line !== '');
    if (title !== '') {
      const file = title
        .slice('# file: '.length)
        .replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
      found.set(file, lines.map((line) => line.replace(/=0x/, '=')).sort());
    }
  }
  return found;
}
