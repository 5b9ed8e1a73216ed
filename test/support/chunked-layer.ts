/**
 * Layers that bring their own index, made for a test from tar members: eStargz (gzip members, a TOC, a footer) and
 * zstd:chunked (frames, a TOC and a footer in skippable frames). Decompressed, each is the tar that a reader without
 * the index sees. Files can share a member; chunks of zeros can be left to the index.
 */
import { execFileSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import { sha256Digest } from './digests.ts';
import { type Member, writeTar } from './tar-bytes.ts';
import { INDEX_NAME_OF_TYPE } from './type-names.ts';

export interface ChunkedLayerOptions {
  readonly format: 'estargz' | 'zstd-chunked';
  /** Default 65,536. */
  readonly chunkSize?: number;
  /** So many chunks in one gzip member or zstd frame (`innerOffset`); default 1. */
  readonly chunksPerMember?: number;
  /** What becomes of the TOC before it is written; the digests are of what comes out. */
  readonly change?: ((toc: TocJson) => unknown) | undefined;
  /** What makes a frame; default: the program zstd. */
  readonly zstd?: (part: Buffer) => Buffer;
  /** Default `current`. */
  readonly footer?: 'current' | 'legacy' | 'external' | 'none' | '40' | '56' | '64';
  /** zstd:chunked: what becomes of the lines of its tar-split before it is written; default: it has none. */
  readonly tarSplit?: (lines: string[]) => readonly string[];
  /** Where the digest of that stands; default `toc`. */
  readonly tarSplitDigestIn?: 'toc' | 'annotations' | 'nowhere';
  /** Written into the footer in place of the right one. */
  readonly tocOffset?: number;
}

export interface TocJson {
  version: number;
  tarSplitDigest?: string;
  entries: JsonEntry[];
}

export interface JsonEntry {
  [field: string]: unknown;
  name?: string;
  type: string;
}

export interface ChunkedLayer {
  readonly blob: Buffer;
  /** What the blob decompresses to. */
  readonly tar: Buffer;
  readonly json: Buffer;
  readonly tocOffset: number;
  /** zstd:chunked, where it was asked for: the lines of its tar-split. */
  readonly tarSplit?: Buffer | undefined;
  readonly mediaType: string;
  /** As the tools that make such layers write them. */
  readonly annotations: Readonly<Record<string, string>>;
}

const BLOCK = 512;
const END = 2 * BLOCK;
/** Where a chunk lies in the tar, and the entry that tells of it. */
interface Place {
  readonly at: number;
  readonly entry: JsonEntry;
}

export function chunkedLayer(members: readonly Member[], options: ChunkedLayerOptions): ChunkedLayer {
  const { bytes, dataOffsets } = writeTar(members);
  const body = Buffer.from(bytes).subarray(0, -END);
  const entries: JsonEntry[] = [];
  const places: Place[] = [];
  members.forEach((member, index) => {
    entries.push(...entriesOf(member, dataOffsets[index] ?? 0, options.chunkSize ?? 65_536, places));
  });
  const compress = options.format === 'estargz' ? (part: Buffer) => gzipSync(part) : (options.zstd ?? zstd);
  const data = compressMembers(body, places, options.chunksPerMember ?? 1, compress);
  const toc: TocJson = { version: 1, entries };
  const tarSplit = options.tarSplit && tarSplitOf(members, dataOffsets, Buffer.from(bytes), options.tarSplit);
  const storedSplit = tarSplit && (options.zstd ?? zstd)(tarSplit);
  if (storedSplit !== undefined && (options.tarSplitDigestIn ?? 'toc') === 'toc') {
    toc.tarSplitDigest = sha256Digest(storedSplit);
  }
  const json = Buffer.from(JSON.stringify(options.change?.(toc) ?? toc, undefined, '\t'));
  return options.format === 'estargz'
    ? estargz(body, data, json, options)
    : zstdChunked(body, data, json, options, { plain: tarSplit, stored: storedSplit });
}

/** JSON has no names that are not UTF-8; and a layer whose root is no directory has no index that is used. */
export function isSaidByIndex(members: readonly Member[]): boolean {
  return members.every(
    ({ name, target = '', type }) =>
      isUtf8(name) && isUtf8(target) && (type === 'dir' || !/^[./]*$/.test(name)),
  );
}

function isUtf8(bytes: string): boolean {
  return !Buffer.from(bytes, 'latin1').toString('utf8').includes('\ufffd');
}

function entriesOf(member: Member, at: number, chunkSize: number, places: Place[]): JsonEntry[] {
  const { type, xattrs, rdev, content = Buffer.alloc(0) } = member;
  const text = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('utf8');
  const name = text(member.name);
  const main: JsonEntry = {
    name: type === 'dir' ? `${name}/` : name,
    type: INDEX_NAME_OF_TYPE[type],
    mode: member.mode,
    uid: member.uid,
    gid: member.gid,
    modtime: new Date(member.mtimeSec * 1000).toISOString(),
    ...(member.target === undefined ? {} : { linkName: text(member.target) }),
    ...(rdev === undefined ? {} : { devMajor: rdev[0], devMinor: rdev[1] }),
    ...(xattrs === undefined
      ? {}
      : { xattrs: Object.fromEntries([...xattrs].map(([key, value]) => [key, value.toString('base64')])) }),
  };
  if (type !== 'file') return [main];
  main['size'] = content.length;
  main['digest'] = sha256Digest(content);
  const entries = [main];
  for (let offset = 0; offset < content.length; offset += chunkSize) {
    const chunk = content.subarray(offset, offset + chunkSize);
    const isLast = offset + chunkSize >= content.length;
    const entry: JsonEntry = offset === 0 ? main : { name, type: 'chunk', chunkOffset: offset };
    // The last chunk may leave its size out.
    if (!isLast) entry['chunkSize'] = chunk.length;
    entry['chunkDigest'] = sha256Digest(chunk);
    if (offset > 0) entries.push(entry);
    places.push({ at: at + offset, entry });
  }
  return entries;
}

/** A member begins at each chunk, or at every so manieth; what lies before the first is one of its own. */
function compressMembers(
  body: Buffer,
  places: readonly Place[],
  perMember: number,
  compress: (part: Buffer) => Buffer,
): Buffer {
  const parts: Buffer[] = [];
  let length = 0;
  const push = (from: number, to: number): void => {
    const part = compress(body.subarray(from, to));
    parts.push(part);
    length += part.length;
  };
  push(0, places[0]?.at ?? body.length);
  for (let first = 0; first < places.length; first += perMember) {
    const start = places[first]?.at ?? 0;
    for (const { at, entry } of places.slice(first, first + perMember)) {
      entry['offset'] = length;
      if (at > start) entry['innerOffset'] = at - start;
    }
    push(start, places[first + perMember]?.at ?? body.length);
  }
  return Buffer.concat(parts);
}

function estargz(body: Buffer, data: Buffer, json: Buffer, options: ChunkedLayerOptions): ChunkedLayer {
  const tocTar = Buffer.from(
    writeTar([
      {
        name: 'stargz.index.json' as Member['name'],
        type: 'file',
        mode: 0o444,
        uid: 0,
        gid: 0,
        mtimeSec: 0,
        mtimeNsec: 0,
        content: json,
      },
    ]).bytes,
  );
  const isInBlob = options.footer !== 'external' && options.footer !== 'none';
  const parts = [data, ...(isInBlob ? [gzipSync(tocTar)] : [gzipSync(Buffer.alloc(END))])];
  parts.push(estargzFooter(options.footer ?? 'current', options.tocOffset ?? data.length));
  return {
    blob: Buffer.concat(parts),
    tar: Buffer.concat([body, isInBlob ? tocTar : Buffer.alloc(END)]),
    json,
    tocOffset: data.length,
    mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
    annotations: { 'containerd.io/snapshot/stargz/toc.digest': sha256Digest(json) },
  };
}

/** An empty gzip member: its extra field, one empty deflate block, checksum and length of nothing. */
function estargzFooter(kind: ChunkedLayerOptions['footer'], tocOffset: number): Buffer {
  const offset = `${tocOffset.toString(16).padStart(16, '0')}STARGZ`;
  const extraOf = { current: `SG\x16\0${offset}`, legacy: offset, external: 'SG\x11\0STARGZEXTERNALTOC' };
  const extra = Object.entries(extraOf).find(([name]) => name === kind)?.[1];
  if (extra === undefined) return Buffer.alloc(0);
  const header = Buffer.from('1f8b08040000000000ff', 'hex');
  const length = Buffer.from([extra.length, 0]);
  const rest = Buffer.from('010000ffff0000000000000000', 'hex');
  return Buffer.concat([header, length, Buffer.from(extra, 'latin1'), rest]);
}

/** As the writers do it: a segment up to each content, a line for each member, what is left at the end. */
function tarSplitOf(
  members: readonly Member[],
  dataOffsets: readonly number[],
  tar: Buffer,
  change: (lines: string[]) => readonly string[],
): Buffer {
  const lines: string[] = [];
  const push = (line: object): void => void lines.push(JSON.stringify({ ...line, position: lines.length }));
  let at = 0;
  members.forEach(({ name, content }, index) => {
    const start = dataOffsets[index] ?? 0;
    push({ type: 2, payload: tar.toString('base64', at, start) });
    push({ type: 1, name, size: content?.length || undefined, payload: null });
    at = start + (content?.length ?? 0);
  });
  push({ type: 2, payload: tar.toString('base64', at) });
  return Buffer.from(change(lines).join('\n'));
}

interface TarSplit {
  readonly plain: Buffer | undefined;
  readonly stored: Buffer | undefined;
}

function zstdChunked(
  body: Buffer,
  data: Buffer,
  json: Buffer,
  options: ChunkedLayerOptions,
  split: TarSplit,
): ChunkedLayer {
  const compress = options.zstd ?? zstd;
  const end = compress(Buffer.alloc(END));
  const stored = compress(json);
  const tocOffset = data.length + end.length + 8;
  const splitPlace = [tocOffset + stored.length + 8, split.stored?.length ?? 0, split.plain?.length ?? 0];
  const footer = zstdFooter(options.footer ?? '64', [
    options.tocOffset ?? tocOffset,
    stored.length,
    json.length,
    1,
    ...(split.stored === undefined ? [] : splitPlace),
  ]);
  const frames = [stored, split.stored, footer].filter((frame) => frame !== undefined);
  const parts = [data, end, ...frames.map(skippable)];
  const prefix = 'io.github.containers.zstd-chunked.';
  return {
    blob: Buffer.concat(parts),
    tar: Buffer.concat([body, Buffer.alloc(END)]),
    json,
    tarSplit: split.plain,
    tocOffset,
    mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd',
    annotations: {
      [`${prefix}manifest-position`]: `${tocOffset}:${stored.length}:${json.length}:1`,
      [`${prefix}manifest-checksum`]: sha256Digest(stored),
      ...(split.stored === undefined ? {} : { [`${prefix}tarsplit-position`]: splitPlace.join(':') }),
      ...(split.stored === undefined || options.tarSplitDigestIn !== 'annotations'
        ? {}
        : { [`${prefix}tarsplit-checksum`]: sha256Digest(split.stored) }),
    },
  };
}

/** The three generations of footers; all numbers 64 bits, little-endian. */
function zstdFooter(kind: ChunkedLayerOptions['footer'], numbers: readonly number[]): Buffer | undefined {
  const all = Buffer.alloc(56);
  numbers.forEach((number, index) => all.writeBigUInt64LE(BigInt(number), 8 * index));
  const bytes = all.subarray(0, 32);
  if (kind === '64') return Buffer.concat([all, Buffer.from('GNUlInUx')]);
  if (kind === '56') return Buffer.concat([bytes, Buffer.from('GnUlInUx'), Buffer.alloc(16)]);
  return kind === '40' ? Buffer.concat([bytes, Buffer.from('GnUlInUx')]) : undefined;
}

function skippable(content: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x184d2a50);
  header.writeUInt32LE(content.length, 4);
  return Buffer.concat([header, content]);
}

function zstd(bytes: Buffer): Buffer {
  return execFileSync('zstd', ['-3', '-c', '-q'], { input: bytes, maxBuffer: 1 << 30, timeout: 60_000 });
}
