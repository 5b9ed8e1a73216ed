/**
 * The readers of hostile input, one for each form that it comes in, and what they say: what is accepted is what an
 * independent reader says, and went through the readers behind it; anything else is a documented refusal.
 */
import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import { isPeelError } from '../../src/errors.ts';
import { buildToc } from '../../src/layer/build-toc.ts';
import { StoredFormError } from '../../src/layer/byte-reader.ts';
import { tocOfChunks } from '../../src/layer/chunks/chunk-toc.ts';
import { decodeToc } from '../../src/layer/decode-toc.ts';
import { encodeToc, sealToc } from '../../src/layer/encode-toc.ts';
import type { Entry, Toc } from '../../src/layer/toc.ts';
import { UnusableIndex } from '../../src/layer/unusable-index.ts';
import { entriesOfTarSplit } from '../../src/layer/zstd-chunked/tar-split.ts';
import { parseConfig } from '../../src/reference/parse-config.ts';
import { parseDocument } from '../../src/reference/parse-document.ts';
import { parseJson } from '../../src/reference/parse-json.ts';
import { parseSaveManifest } from '../../src/source/archive/parse-save-manifest.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Digest } from '../../src/units.ts';
import { rowsOf } from '../support/listing.ts';

/**
 * `tar`: a layer, read as its entries. `tree`: the same, merged. `blob`: a layer, compressed or not, read as its
 * diffID. The documents, and the kinds of index.
 */
export type Form = 'tar' | 'tree' | 'blob' | 'document' | 'config' | 'save' | 'chunks' | 'tar-split' | 'toc';

/** What an accepted input says, line by line; or the word for a documented refusal. */
export type Outcome = readonly string[] | string;

/** @throws whatever is neither: a finding. */
export async function outcomeOf(form: Form, bytes: Buffer): Promise<Outcome> {
  try {
    return await READERS[form](bytes);
  } catch (error) {
    if (isPeelError(error)) return error.code;
    if (error instanceof UnusableIndex) return 'unusable index';
    if (error instanceof StoredFormError) return 'unusable TOC';
    throw error;
  }
}

const READERS: Readonly<Record<Form, (bytes: Buffer) => Promise<readonly string[]> | readonly string[]>> = {
  tar: readTar,
  tree: async (bytes) => treeRows((await tocOf(bytes)).entries),
  blob: readBlob,
  document: (bytes) => readDocument(bytes, parseDocument),
  config: (bytes) => readDocument(bytes, parseConfig),
  save: (bytes) => readDocument(bytes, (json) => parseSaveManifest(json, 'a hostile manifest.json')),
  chunks: readChunks,
  'tar-split': readTarSplit,
  toc: readStored,
};

/** Its entries, and whether they make a tree; in gzip it says the same. */
async function readTar(tar: Buffer): Promise<string[]> {
  const toc = await tocOf(tar);
  const rows = toc.entries.map(entryRow);
  // Damage can make it look compressed.
  if (toc.compression === 'none') mustBe(toc.diffID ?? '', digestOf(tar), 'diffID of');
  const compressed = toc.compression === 'none' ? await tocOf(gzipSync(tar)) : toc;
  mustBe(compressed.entries.map(entryRow).join('\n'), rows.join('\n'), 'entries of, in gzip,');
  try {
    mergeLayers([toc.entries]);
  } catch (error) {
    if (!isPeelError(error)) throw error;
    rows.push('no tree');
  }
  return rows;
}

async function readBlob(blob: Buffer): Promise<string[]> {
  const toc = await tocOf(blob);
  const garbage = Number(/^(\d+) bytes after the end/.exec(toc.warnings.at(-1) ?? '')?.[1] ?? 0);
  if (toc.compression === 'none') mustBe(toc.diffID ?? '', digestOf(blob), 'diffID of');
  if (toc.compression === 'gzip') {
    const tar = gunzipSync(blob.subarray(0, blob.length - garbage));
    mustBe(toc.diffID ?? '', digestOf(tar), 'diffID of');
  }
  mergeLayers([toc.entries]);
  return [toc.diffID ?? ''];
}

function readDocument(bytes: Buffer, parse: (bytes: Buffer) => unknown): string[] {
  const value = parseJson(bytes, 'a hostile document');
  mustBe(JSON.stringify(value), JSON.stringify(JSON.parse(bytes.toString('utf8'))), 'JSON of');
  parse(bytes);
  return [];
}

function readChunks(json: Buffer): string[] {
  const digest = digestOf(json);
  const layer = {
    digest,
    size: 1 << 20,
    format: 'estargz',
    compression: 'gzip',
    indexDigest: digest,
  } as const;
  const file = encodeToc(sealToc(tocOfChunks(json, layer), Buffer.alloc(0)));
  try {
    return readStored(file);
  } catch (error) {
    // It was taken for good, and would be refused on every later start.
    throw error instanceof StoredFormError
      ? new Error('an index made a TOC that is none', { cause: error })
      : error;
  }
}

/** Its entries; those of the tar with these headers and files of zeros, where that is one, are the same. */
async function readTarSplit(lines: Buffer): Promise<string[]> {
  const rows: string[] = [];
  for await (const entry of entriesOfTarSplit(storedAsZstd(lines), lines.length)) rows.push(entryRow(entry));
  const tar = tarOfSplit(lines);
  const pass = tar === undefined ? undefined : await tocOf(tar).catch(() => undefined);
  // The pass looks at more: sums, the padding that its digest has anyway.
  if (pass !== undefined) mustBe(rows.join('\n'), pass.entries.map(entryRow).join('\n'), 'entries of');
  return rows;
}

const MAX_SPLIT_TAR_BYTES = 4 * 1024 * 1024;

/** undefined for one that is too large. */
function tarOfSplit(lines: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  let length = 0;
  for (const line of lines.toString('utf8').replace(/\n$/, '').split('\n')) {
    const { type, size = 0, payload } = JSON.parse(line) as { type: number; size?: number; payload: string };
    length += type === 1 ? size : payload.length;
    if (length > MAX_SPLIT_TAR_BYTES) return undefined;
    parts.push(type === 1 ? Buffer.alloc(size) : Buffer.from(payload, 'base64'));
  }
  return Buffer.concat(parts);
}

/** One frame of raw blocks, which no compressor is needed for (RFC 8878). */
function storedAsZstd(bytes: Buffer): Buffer {
  const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0]);
  header.writeUInt32LE(bytes.length, 5);
  const parts: Buffer[] = [header];
  for (let at = 0; at === 0 || at < bytes.length; at += MAX_ZSTD_BLOCK) {
    const block = bytes.subarray(at, at + MAX_ZSTD_BLOCK);
    const isLast = at + MAX_ZSTD_BLOCK >= bytes.length;
    const blockHeader = Buffer.alloc(3);
    blockHeader.writeUIntLE((block.length << 3) | (isLast ? 1 : 0), 0, 3);
    parts.push(blockHeader, block);
  }
  return Buffer.concat(parts);
}

const MAX_ZSTD_BLOCK = 128 * 1024;

function readStored(file: Buffer): string[] {
  const sealed = decodeToc(file);
  mergeLayers([sealed.toc.entries]);
  decodeToc(encodeToc(sealed));
  return sealed.toc.entries.map(entryRow);
}

async function tocOf(blob: Buffer): Promise<Toc> {
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let at = 0; at < blob.length; at += 4096) yield blob.subarray(at, at + 4096);
  }
  return (await buildToc(pieces(), { digest: digestOf(blob), size: blob.length })).toc;
}

/** `TYPE PATH SIZE`, and what is not as `rawMember` has it where nothing is said. */
function entryRow(entry: Entry): string {
  const { type, path, size, target, mode, uid, gid, mtimeSec, mtimeNsec, rdev, xattrs } = entry;
  return [
    `${type} ${path} ${size}`,
    ...(target === undefined ? [] : [`-> ${target}`]),
    ...(mode === 0o644 ? [] : [`mode=${mode.toString(8)}`]),
    ...(uid === 0 ? [] : [`uid=${uid}`]),
    ...(gid === 0 ? [] : [`gid=${gid}`]),
    ...(mtimeSec === 0 && mtimeNsec === 0 ? [] : [`mtime=${mtimeSec}.${String(mtimeNsec).padStart(9, '0')}`]),
    ...(rdev === undefined || rdev.join() === '0,0' ? [] : [`device=${rdev.join(':')}`]),
    ...(xattrs === undefined ? [] : [`attributes=${xattrs.size}`]),
  ].join(' ');
}

/** `KIND PATH`, the target of a link, the number of names where there are several. */
function treeRows(entries: readonly Entry[]): string[] {
  return rowsOf(mergeLayers([entries]), () => Buffer.alloc(0)).map(({ kind, path, content, nlink }) =>
    [
      `${kind} ${path}`,
      ...(kind === 'symlink' ? [`-> ${content}`] : []),
      ...(kind !== 'dir' && nlink > 1 ? [`names=${nlink}`] : []),
    ].join(' '),
  );
}

function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}

function mustBe(found: string, wanted: string, what: string): void {
  if (found !== wanted) throw new Error(`${what} a hostile input: ${found}, want ${wanted}`);
}
