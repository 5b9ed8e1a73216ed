/**
 * Ztocs made for a test, as the SOCI tools write them: a FlatBuffer (ztoc.fbs of version 0.9) with the files of a tar,
 * restart points with whole windows, and a digest of each span as it is stored. The restart points are those that the
 * scanner found; windows and digests are cut out of the tar and the blob here.
 */
import type { Toc } from '../../src/layer/toc.ts';
import { sha256Digest } from './digests.ts';
import { INDEX_NAME_OF_TYPE } from './type-names.ts';

export interface ZtocOptions {
  /** 1 leaves out the first restart point, as SOCI did before 0.3. */
  readonly zinfoVersion?: 1 | 2;
  /** So many spans of the scanner in one; default 4. */
  readonly every?: number;
  /** Where the deflate data of the layer begin; default 10. */
  readonly headerBytes?: number;
  /** What becomes of the parts before they are written. */
  readonly change?: (parts: ZtocParts) => void;
}

export interface ZtocParts {
  compressedSize: number;
  uncompressedSize: number;
  algorithm: number;
  files: FileParts[];
  digests: string[];
  checkpoints: Buffer;
}

export interface FileParts {
  name: string;
  type: string;
  offset: number;
  size: number;
  linkName: string;
  mode: number;
  uid: number;
  gid: number;
  time: string;
  rdev: readonly [number, number];
  records: readonly (readonly [string, Buffer])[];
}

const WINDOW = 32_768;
/** `toc` is the scanner's of `blob`, a gzip layer that decompresses to `tar`. */
export function ztocOf(toc: Toc, blob: Buffer, tar: Buffer, options: ZtocOptions = {}): Buffer {
  const points = pointsOf(toc, options);
  const digests = points.map(({ in: start, bits }, index) => {
    const end = points[index + 1]?.in ?? blob.length;
    return sha256Digest(blob.subarray(start - (bits > 0 ? 1 : 0), end));
  });
  const parts: ZtocParts = {
    compressedSize: blob.length,
    uncompressedSize: tar.length,
    algorithm: 1,
    files: filesOf(toc),
    digests,
    checkpoints: zinfoOf(points, tar, options.zinfoVersion ?? 2),
  };
  options.change?.(parts);
  return flatZtoc(parts);
}

interface Point {
  readonly in: number;
  readonly out: number;
  readonly bits: number;
}

function pointsOf(toc: Toc, { every = 3, headerBytes = 10 }: ZtocOptions): Point[] {
  const points: Point[] = [{ in: headerBytes, out: 0, bits: 0 }];
  toc.checkpoints.forEach(({ compressedOffset, uncompressedOffset, bits }, index) => {
    if (index === 0 || index % every !== 0) return;
    // Ours is the byte that the blocks share, and the bits of it that are the earlier one's.
    points.push({
      in: compressedOffset + (bits > 0 ? 1 : 0),
      out: uncompressedOffset,
      bits: bits > 0 ? 8 - bits : 0,
    });
  });
  return points;
}

function zinfoOf(points: readonly Point[], tar: Buffer, version: 1 | 2): Buffer {
  const header = Buffer.alloc(12);
  header.writeInt32LE(points.length);
  header.writeBigInt64LE(4n * 1024n * 1024n, 4);
  const stored = version === 1 ? points.slice(1) : points;
  const packed = stored.map((point) => {
    const bytes = Buffer.alloc(17 + WINDOW);
    bytes.writeBigInt64LE(BigInt(point.in), 0);
    bytes.writeBigInt64LE(BigInt(point.out), 8);
    bytes.writeUInt8(point.bits, 16);
    const window = tar.subarray(Math.max(0, point.out - WINDOW), point.out);
    window.copy(bytes, bytes.length - window.length);
    return bytes;
  });
  return Buffer.concat([header, ...packed]);
}

function filesOf({ entries }: Toc): FileParts[] {
  let end = 0;
  return entries.map((entry) => {
    const offset = entry.type === 'file' ? entry.dataOffset : end;
    end = entry.type === 'file' ? offset + entry.size : end;
    return {
      name: entry.path,
      type: INDEX_NAME_OF_TYPE[entry.type],
      offset,
      size: entry.type === 'file' ? entry.size : 0,
      linkName: entry.target ?? '',
      mode: entry.mode,
      uid: entry.uid,
      gid: entry.gid,
      time: new Date(entry.mtimeSec * 1000).toISOString(),
      rdev: entry.rdev ?? [0, 0],
      records: [...(entry.xattrs ?? [])].map(([name, value]) => [`SCHILY.xattr.${name}`, value] as const),
    };
  });
}

function flatZtoc(parts: ZtocParts): Buffer {
  const flat = new FlatBuilder();
  const files = parts.files.map((file) => {
    const records = file.records.map(([key, value]) =>
      flat.table([flat.bytes(Buffer.from(key, 'latin1')), flat.bytes(value)]),
    );
    return flat.table([
      flat.text(file.name),
      flat.text(file.type),
      int64(file.offset),
      int64(file.size),
      flat.text(file.linkName),
      int64(file.mode),
      uint32(file.uid),
      uint32(file.gid),
      flat.text('root'),
      flat.text('root'),
      flat.text(file.time),
      int64(file.rdev[0]),
      int64(file.rdev[1]),
      flat.offsets(records),
    ]);
  });
  const toc = flat.table([flat.offsets(files)]);
  const digests = flat.offsets(parts.digests.map((digest) => flat.text(digest)));
  const compression = flat.table([
    // Gzip is the default and left out.
    parts.algorithm === 1 ? undefined : { bytes: Buffer.from([parts.algorithm]) },
    uint32(parts.digests.length - 1),
    digests,
    flat.bytes(parts.checkpoints),
  ]);
  return flat.finish(
    flat.table([
      flat.text('0.9'),
      flat.text('a test'),
      int64(parts.compressedSize),
      int64(parts.uncompressedSize),
      toc,
      compression,
    ]),
  );
}

function int64(value: number): Field {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt(value));
  return { bytes };
}

function uint32(value: number): Field {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return { bytes };
}

/** A number as it stands in a table, or a part that lies elsewhere. */
type Field = { readonly bytes: Buffer } | { readonly part: number };

/** Parts are made children first and laid out parents first, since offsets point forward. */
class FlatBuilder {
  readonly #parts: Buffer[] = [];
  readonly #strings = new Map<string, Field>();
  readonly #links: { readonly part: number; readonly at: number; readonly target: number }[] = [];

  text(text: string): Field {
    return this.bytes(Buffer.from(text, 'latin1'));
  }

  /** Strings that are the same are one part, as writers of FlatBuffers may have it. */
  bytes(bytes: Buffer): Field {
    const text = bytes.toString('latin1');
    const known = this.#strings.get(text) ?? this.#writeBytes(bytes);
    this.#strings.set(text, known);
    return known;
  }

  #writeBytes(bytes: Buffer): Field {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return { part: this.#push(Buffer.concat([length, bytes, Buffer.alloc(1)])) };
  }

  offsets(fields: readonly Field[]): Field {
    const vector = Buffer.alloc(4 + 4 * fields.length);
    vector.writeUInt32LE(fields.length);
    const part = this.#push(vector);
    fields.forEach((field, index) => this.#link(part, 4 + 4 * index, field));
    return { part };
  }

  /** The vtable stands in front of its table, in one part. */
  table(fields: readonly (Field | undefined)[]): Field {
    const vtable = Buffer.alloc(4 + 2 * fields.length);
    let size = 4;
    fields.forEach((field, index) => {
      if (field === undefined) return;
      vtable.writeUInt16LE(size, 4 + 2 * index);
      size += 'bytes' in field ? field.bytes.length : 4;
    });
    vtable.writeUInt16LE(vtable.length, 0);
    vtable.writeUInt16LE(size, 2);
    const table = Buffer.alloc(size);
    table.writeInt32LE(vtable.length, 0);
    const part = this.#push(Buffer.concat([vtable, table]));
    this.#starts.set(part, vtable.length);
    fields.forEach((field, index) => {
      const offset = vtable.readUInt16LE(4 + 2 * index);
      if (field === undefined) return;
      if ('bytes' in field) field.bytes.copy(this.#parts[part] ?? table, vtable.length + offset);
      else this.#link(part, vtable.length + offset, field);
    });
    return { part };
  }

  finish(root: Field): Buffer {
    const head = this.#push(Buffer.alloc(4));
    this.#link(head, 0, root);
    const places = new Map<number, number>();
    let length = 0;
    for (let part = this.#parts.length - 1; part >= 0; part -= 1) {
      places.set(part, length);
      length += this.#parts[part]?.length ?? 0;
    }
    const file = Buffer.concat([...this.#parts].reverse());
    for (const { part, at, target } of this.#links) {
      const from = (places.get(part) ?? 0) + at;
      const to = (places.get(target) ?? 0) + (this.#starts.get(target) ?? 0);
      file.writeUInt32LE(to - from, from);
    }
    return file;
  }

  /** Where a table begins in its part. */
  readonly #starts = new Map<number, number>();

  #push(bytes: Buffer): number {
    return this.#parts.push(bytes) - 1;
  }

  #link(part: number, at: number, field: Field): void {
    if ('part' in field) this.#links.push({ part, at, target: field.part });
  }
}
