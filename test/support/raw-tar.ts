/**
 * Writes tar headers field by field, right or wrong: every dialect, every malformed number, any checksum. Meant
 * for tests of how headers are understood; `tar-bytes.ts` writes whole well-formed archives.
 */
import type { TarFrame } from '../../src/native.ts';

const BLOCK = 512;
export const USTAR = 'ustar\x0000';
export const GNU = 'ustar  \0';
export const V7 = '';

/** A number is written in octal with a closing NUL; text (one character a byte) and bytes stand as they are. */
type Field = number | string | Uint8Array;

export interface RawHeader {
  readonly name?: Field;
  readonly mode?: Field;
  readonly uid?: Field;
  readonly gid?: Field;
  readonly size?: Field;
  readonly mtime?: Field;
  readonly type?: string;
  readonly link?: Field;
  /** Eight bytes: magic and version. Default USTAR. */
  readonly magic?: string;
  readonly major?: Field;
  readonly minor?: Field;
  readonly prefix?: Field;
  /** Bytes to write last, by offset: anything that has no name above. */
  readonly patches?: readonly (readonly [number, Field])[];
  /** Default: the right one. */
  readonly checksum?: Field;
  /** The right one as old programs summed it: bytes as signed characters. */
  readonly isSumSigned?: boolean;
}

export function rawHeader(fields: RawHeader = {}): Buffer {
  const block = Buffer.alloc(BLOCK);
  put(block, 0, 100, fields.name ?? 'file');
  put(block, 100, 8, fields.mode ?? 0o644);
  put(block, 108, 8, fields.uid ?? 0);
  put(block, 116, 8, fields.gid ?? 0);
  put(block, 124, 12, fields.size ?? 0);
  put(block, 136, 12, fields.mtime ?? 0);
  put(block, 156, 1, fields.type ?? '0');
  put(block, 157, 100, fields.link ?? '');
  put(block, 257, 8, fields.magic ?? USTAR);
  if ((fields.magic ?? USTAR) !== V7) {
    put(block, 329, 8, fields.major ?? 0);
    put(block, 337, 8, fields.minor ?? 0);
  }
  if (fields.prefix !== undefined) put(block, 345, 155, fields.prefix);
  for (const [offset, value] of fields.patches ?? []) put(block, offset, BLOCK - offset, value);
  if (fields.checksum === undefined) writeChecksum(block, fields.isSumSigned ?? false);
  else put(block, 148, 8, fields.checksum);
  return block;
}

function put(block: Buffer, at: number, room: number, value: Field): void {
  const bytes =
    typeof value === 'number'
      ? Buffer.from(`${value.toString(8).padStart(room - 1, '0')}\0`, 'latin1')
      : typeof value === 'string'
        ? Buffer.from(value, 'latin1')
        : value;
  if (bytes.length > room) throw new RangeError(`${bytes.length} bytes for a field of ${room}`);
  block.set(bytes, at);
}

function writeChecksum(block: Buffer, isSigned: boolean): void {
  block.fill(' ', 148, 156);
  let sum = 0;
  for (const byte of block) sum += isSigned && byte > 127 ? byte - 256 : byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

/** Big-endian two's complement with the mark bit, as GNU writes what octal cannot hold. */
export function base256(value: bigint, room: number): Buffer {
  const bytes = Buffer.alloc(room);
  let rest = BigInt.asUintN(8 * room, value);
  for (let at = room - 1; at >= 0; at--) {
    bytes[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  return bytes;
}

function padded(payload: Uint8Array): Buffer {
  const length = Math.ceil(payload.length / BLOCK) * BLOCK;
  return Buffer.concat([payload, Buffer.alloc(length - payload.length)]);
}

/** Header and payload; the size is the payload's unless the fields say otherwise. */
export function rawMember(fields: RawHeader, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([rawHeader({ size: payload.length, ...fields }), padded(payload)]);
}

type Value = string | Uint8Array;

/** `LENGTH KEY=VALUE\n`, where the length counts its own digits. */
export function paxRecord(key: string, value: Value): Buffer {
  const rest = Buffer.concat([
    Buffer.from(` ${key}=`, 'latin1'),
    typeof value === 'string' ? Buffer.from(value, 'latin1') : value,
    Buffer.from('\n'),
  ]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

export function paxRecords(records: readonly (readonly [string, Value])[]): Buffer {
  return Buffer.concat(records.map(([key, value]) => paxRecord(key, value)));
}

export function paxMember(records: readonly (readonly [string, Value])[], type: 'x' | 'g' = 'x'): Buffer {
  return rawMember({ name: 'PaxHeaders/x', type }, paxRecords(records));
}

export function longMember(type: 'L' | 'K', value: Value): Buffer {
  const payload = typeof value === 'string' ? Buffer.from(`${value}\0`, 'latin1') : value;
  return rawMember({ name: '././@LongLink', type, magic: GNU }, payload);
}

/** The pieces and the end marker. */
export function tarOf(...pieces: readonly Uint8Array[]): Buffer {
  return Buffer.concat([...pieces, Buffer.alloc(2 * BLOCK)]);
}

/** A frame as the scanner would cut it, for tests of what a header means by itself. */
export function frameOf(
  header: Buffer,
  extra: { parts?: TarFrame['parts']; storedSize?: number; headerOffset?: number } = {},
): TarFrame {
  const headerOffset = extra.headerOffset ?? 4096;
  return {
    header,
    parts: extra.parts ?? [],
    storedSize: extra.storedSize ?? 0,
    headerOffset,
    dataOffset: headerOffset + BLOCK,
  };
}
