/**
 * One entry of a TOC in JSON, as eStargz and zstd:chunked have it, with every field checked: what a file is, or one
 * more chunk of the file before. Numbers that no layer can have, names that JSON could not carry and links without a
 * target make the index unusable.
 */
import { type ByteString, bytesOfText, type Digest, isDigest } from '../../units.ts';
import { MAX_PATH } from '../clean-path.ts';
import { checkRoot, indexedPath, MAX_UINT32, permissionsOf, typeNamed } from '../index-entry.ts';
import { xattrNameProblem, xattrSizeProblem } from '../pax.ts';
import type { EntryType } from '../toc.ts';
import { UnusableIndex } from '../unusable-index.ts';
import { parseGoTime } from './go-time.ts';

/** One chunk: `length` bytes of a file, from `chunkOffset` on. */
export interface Chunk {
  readonly chunkOffset: number;
  /** As the index has it: 0 means up to the end of the file. */
  readonly length: number;
  /** The gzip member or zstd frame that it lies in: where that begins in the blob. */
  readonly offset: number;
  /** Where it begins in what that member decompresses to. */
  readonly innerOffset: number;
  /** Where the member of a file's last chunk ends, if the index says so. */
  readonly endOffset: number | undefined;
  /** sha256 of its bytes. */
  readonly digest: Digest | undefined;
  /** Nothing but zeros: not worth a fetch. */
  readonly isZeros: boolean;
}

/** An entry of the layer, its chunk included where it is a file. */
export interface ChunkEntry {
  readonly path: ByteString;
  readonly type: EntryType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  readonly target: ByteString | undefined;
  readonly rdev: readonly [number, number] | undefined;
  readonly xattrs: ReadonlyMap<ByteString, Buffer> | undefined;
  /** sha256 of the whole file. */
  readonly digest: Digest | undefined;
  readonly chunk: Chunk;
}

/** A further chunk of the entry before; `path` is undefined where the index leaves it out. */
export interface FurtherChunk {
  readonly type: 'chunk';
  readonly path: ByteString | undefined;
  readonly chunk: Chunk;
}

/** Go's encoder writes it for bytes that are no UTF-8: the name is lost. */
const REPLACEMENT = '\ufffd';
/** A character that UTF-8 has no bytes for, alone. */
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

/** @throws UnusableIndex */
export function parseChunkEntry(value: unknown): ChunkEntry | FurtherChunk {
  const fields = new Fields(value);
  const type = fields.text('type');
  if (type === 'chunk') {
    const name = fields.text('name');
    return { type, path: name === '' ? undefined : pathOf(name), chunk: chunkOf(fields) };
  }
  const entryType = typeNamed(type);
  const path = pathOf(fields.text('name'));
  checkRoot(path, entryType);
  const mtime = parseGoTime(fields.text('modtime'));
  if (mtime === undefined) throw fields.unusable('modtime', 'is no time');
  const target = targetOf(fields, entryType);
  return {
    path,
    type: entryType,
    mode: permissionsOf(fields.number('mode')),
    uid: fields.number('uid', MAX_UINT32 - 1),
    gid: fields.number('gid', MAX_UINT32 - 1),
    size: entryType === 'file' ? fields.number('size') : entryType === 'symlink' ? (target?.length ?? 0) : 0,
    mtimeSec: mtime.sec,
    mtimeNsec: mtime.nsec,
    target,
    rdev:
      entryType === 'char' || entryType === 'block'
        ? [fields.number('devMajor', MAX_UINT32), fields.number('devMinor', MAX_UINT32)]
        : undefined,
    xattrs: xattrsOf(fields),
    digest: fields.digest('digest'),
    chunk: chunkOf(fields),
  };
}

function chunkOf(fields: Fields): Chunk {
  const kind = fields.text('chunkType');
  if (kind !== '' && kind !== 'zeros') throw fields.unusable('chunkType', 'is unknown');
  return {
    chunkOffset: fields.number('chunkOffset'),
    length: fields.number('chunkSize'),
    offset: fields.number('offset'),
    innerOffset: fields.number('innerOffset'),
    endOffset: fields.number('endOffset') || undefined,
    digest: fields.digest('chunkDigest'),
    isZeros: kind === 'zeros',
  };
}

function pathOf(name: string): ByteString {
  return indexedPath(bytesOfName(name));
}

function targetOf(fields: Fields, type: EntryType): ByteString | undefined {
  if (type !== 'symlink' && type !== 'hardlink') return undefined;
  const target = bytesOfName(fields.text('linkName'));
  if (target === '' || target.length > MAX_PATH)
    throw fields.unusable('linkName', `is no target of a ${type}`);
  return target;
}

function bytesOfName(name: string): ByteString {
  if (name.includes(REPLACEMENT) || LONE_SURROGATE.test(name) || name.includes('\0')) {
    throw new UnusableIndex(`the name ${JSON.stringify(name)} stands for bytes that JSON cannot hold`);
  }
  return bytesOfText(name);
}

function xattrsOf(fields: Fields): ReadonlyMap<ByteString, Buffer> | undefined {
  const value = fields.value('xattrs');
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || value === null) throw fields.unusable('xattrs', 'is no object');
  const xattrs = new Map<ByteString, Buffer>();
  let total = 0;
  for (const [name, encoded] of Object.entries(value)) {
    const bytes = typeof encoded === 'string' ? Buffer.from(encoded, 'base64') : undefined;
    if (bytes === undefined || bytes.toString('base64') !== encoded)
      throw fields.unusable('xattrs', 'is no base64');
    // An empty value deletes a PAX record: no tar could have given it.
    if (bytes.length === 0) continue;
    const key = bytesOfName(name);
    total += key.length + bytes.length;
    const problem = xattrNameProblem(key) ?? xattrSizeProblem(bytes.length, total);
    if (problem !== undefined) throw new UnusableIndex(problem);
    xattrs.set(key, bytes);
  }
  return xattrs.size === 0 ? undefined : xattrs;
}

/** The fields of one entry, by type; absent and null are the zero value, as in Go. */
class Fields {
  readonly #object: object;

  constructor(value: unknown) {
    if (typeof value !== 'object' || value === null) throw new UnusableIndex('an entry that is no object');
    this.#object = value;
  }

  value(name: string): unknown {
    if (!Object.hasOwn(this.#object, name)) return undefined;
    return (this.#object as Readonly<Record<string, unknown>>)[name] ?? undefined;
  }

  text(name: string): string {
    const value = this.value(name) ?? '';
    if (typeof value !== 'string') throw this.unusable(name, 'is no string');
    return value;
  }

  number(name: string, most = Number.MAX_SAFE_INTEGER): number {
    const value = this.value(name) ?? 0;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > most) {
      throw this.unusable(name, `is no integer from 0 to ${most}`);
    }
    // -0 is one.
    return value + 0;
  }

  /** sha256 only: chunks are verified by it. */
  digest(name: string): Digest | undefined {
    const text = this.text(name);
    if (text === '') return undefined;
    if (!isDigest(text) || !text.startsWith('sha256:')) throw this.unusable(name, 'is no sha256 digest');
    return text;
  }

  unusable(name: string, why: string): UnusableIndex {
    return new UnusableIndex(`${name} of an entry ${why}: ${JSON.stringify(this.value(name))?.slice(0, 80)}`);
  }
}
