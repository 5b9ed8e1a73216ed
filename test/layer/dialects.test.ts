/**
 * Real archives of every dialect (Go's, node-tar's and tar-stream's test vectors) against what Go's archive/tar
 * reads in them, field for field.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import type { Entry } from '../../src/layer/toc.ts';
import { bytesOfText } from '../../src/units.ts';
import { sha256Hex } from '../support/digests.ts';
import { imagesDir } from '../support/images.ts';
import { contentOf, tocOfBlob } from '../support/layer-toc.ts';
import { TYPE_OF_FLAG } from '../support/type-names.ts';

interface GoEntry {
  readonly name: string | { readonly b64: string };
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: number;
  readonly ns: number;
  readonly size: number;
  readonly link?: string | { readonly b64: string };
  readonly sha256?: string;
  readonly dev?: readonly [number, number];
  readonly xattrs_b64?: Readonly<Record<string, string>>;
}

/** Where we differ from Go's reader on purpose. */
const REFUSED_BY_US: Readonly<Record<string, string>> = {
  'node-tar/excessively-deep.tar': 'a path longer than any system call takes (FAULTS section 7)',
  'node-tar/links-invalid.tar': 'a hard link to nothing, which no engine can make',
  'node-tar/path-missing.tar': 'its file has an empty name: it would be the root of the image (E59)',
};
/** Of a file that is larger than a test should hold, Go wrote no sum either. */
const LARGEST_READ = 600_000_000;

const folder = imagesDir();
const listings = folder === undefined ? '' : path.join(folder, 'listings', 'dialects');
const archives = folder === undefined ? '' : path.join(folder, 'dialects', 'tar');
const SUFFIX = '.golist.jsonl';
const names =
  folder === undefined
    ? []
    : ['go', 'node-tar', 'tar-stream'].flatMap((group) =>
        readdirSync(path.join(listings, group))
          .filter((name) => name.endsWith(SUFFIX))
          .map((name) => `${group}/${name.slice(0, -SUFFIX.length)}`),
      );

function listingOf(name: string): { entries: GoEntry[]; error: string | undefined } {
  const lines = readFileSync(path.join(listings, name + SUFFIX), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as GoEntry | { error: string });
  const entries = lines.filter((line): line is GoEntry => !('error' in line));
  const failure = lines.find((line): line is { error: string } => 'error' in line);
  return { entries, error: failure?.error };
}

function bytesOf(text: string | { readonly b64: string }): string {
  return typeof text === 'string' ? bytesOfText(text) : Buffer.from(text.b64, 'base64').toString('latin1');
}

/** As POSIX normalises a path below a root. */
function cleaned(name: string): string {
  return path.posix.normalize(`/${name}`).replace(/^\/+|\/+$/g, '');
}

/** What both sides say, in one shape. */
function expectedOf(entry: GoEntry) {
  const type = TYPE_OF_FLAG[entry.type];
  const isLink = type === 'symlink' || type === 'hardlink';
  return {
    path: cleaned(bytesOf(entry.name)),
    type,
    mode: entry.mode & 0o7777,
    uid: entry.uid,
    gid: entry.gid,
    mtime: [entry.mtime, entry.ns],
    size: type === 'file' ? entry.size : undefined,
    target: isLink ? bytesOf(entry.link ?? '') : undefined,
    rdev: type === 'char' || type === 'block' ? entry.dev : undefined,
    xattrs: entry.xattrs_b64,
    sha256: type === 'file' && entry.size <= LARGEST_READ ? (entry.sha256 ?? sha256Hex('')) : undefined,
  };
}

function foundOf(tar: Buffer, entry: Entry) {
  const isFile = entry.type === 'file';
  return {
    path: entry.path,
    type: entry.type,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtime: [entry.mtimeSec, entry.mtimeNsec],
    size: isFile ? entry.size : undefined,
    target: entry.target,
    rdev: entry.rdev,
    xattrs:
      entry.xattrs === undefined
        ? undefined
        : Object.fromEntries([...entry.xattrs].map(([name, value]) => [name, value.toString('base64')])),
    sha256: isFile && entry.size <= LARGEST_READ ? sha256Hex(contentOf(tar, entry)) : undefined,
  };
}

describe.skipIf(folder === undefined)('archives of every dialect', () => {
  test('are all here', () => {
    expect(names.length).toBeGreaterThan(120);
  });

  const good = names.filter((name) => listingOf(name).error === undefined && !(name in REFUSED_BY_US));
  test.each(good)('%s reads as Go reads it', async (name) => {
    const blob = readFileSync(path.join(archives, name));
    const { toc } = await tocOfBlob(blob);
    const tar = toc.compression === 'gzip' ? gunzipSync(blob) : blob;
    const known = listingOf(name).entries.filter((entry) => entry.type !== 'g');
    expect(toc.entries.map((entry) => foundOf(tar, entry))).toEqual(
      known.filter((entry) => entry.type in TYPE_OF_FLAG).map(expectedOf),
    );
    const skipped = known.filter((entry) => !(entry.type in TYPE_OF_FLAG));
    expect(toc.warnings.filter((warning) => warning.includes('skipped'))).toHaveLength(skipped.length);
  });

  const bad = names.filter((name) => listingOf(name).error !== undefined);
  test.each(bad)('%s is refused, as Go refuses it', async (name) => {
    const error: unknown = await tocOfBlob(readFileSync(path.join(archives, name))).catch((e: unknown) => e);
    const isRefused = isPeelError(error, 'ERR_LAYER_INVALID') || isPeelError(error, 'ERR_LIMIT_EXCEEDED');
    expect(isRefused ? 'refused' : error).toBe('refused');
  });

  test.each(Object.entries(REFUSED_BY_US))('%s is refused: %s', async (name) => {
    const error: unknown = await tocOfBlob(readFileSync(path.join(archives, name))).catch((e: unknown) => e);
    expect(isPeelError(error, 'ERR_LAYER_INVALID') ? 'refused' : error).toBe('refused');
  });
});
