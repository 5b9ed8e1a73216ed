/**
 * An entry of the tree as JSON: the fields of docs/OUTPUT.md, the same in every command.
 * Names are bytes: one that is not UTF-8 stands as base64 in a field of its own, never as replacement characters.
 */
import type { Node } from '../tree/node.ts';
import { type ByteString, bufferOfBytes, textOfBytes } from '../units.ts';

/** Raised when a field changes its meaning or goes away; new fields do not count. */
export const SCHEMA_VERSION = 1;

export interface EntryJSON {
  readonly path?: string;
  readonly pathBase64?: string;
  readonly type: Node['kind'];
  /** Octal digits of the twelve mode bits: `755`, `4755`. */
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Seconds since 1970, always with nine decimals: `1700000000.000000000`. */
  readonly mtime: string;
  readonly target?: string;
  readonly targetBase64?: string;
  readonly rdev?: readonly [number, number];
  readonly nlink: number;
  readonly ino: number;
  /** Name to value in base64. */
  readonly xattrs?: Readonly<Record<string, string>>;
  /** The same for names that are not UTF-8; the name is base64 too. */
  readonly xattrsBase64?: Readonly<Record<string, string>>;
  /** 0 = lowest. */
  readonly layer: number;
}

/** `path` is absolute inside the image. */
export function entryJSON(path: ByteString, node: Node): EntryJSON {
  return {
    ...named('path', path),
    type: node.kind,
    mode: node.mode.toString(8),
    uid: node.uid,
    gid: node.gid,
    size: node.size,
    mtime: decimalTime(node.mtimeSec, node.mtimeNsec),
    ...(node.target === undefined ? {} : named('target', node.target)),
    ...(node.rdev === undefined ? {} : { rdev: node.rdev }),
    nlink: node.nlink,
    ino: node.ino,
    ...xattrsJSON(node),
    layer: node.layer,
  };
}

/** `sec` is rounded down, so -1.5 s comes as (-2, 500000000). */
export function decimalTime(sec: number, nsec: number): string {
  const isNegative = sec < 0;
  const whole = isNegative && nsec > 0 ? sec + 1 : sec;
  const fraction = isNegative && nsec > 0 ? 1_000_000_000 - nsec : nsec;
  return `${isNegative ? '-' : ''}${Math.abs(whole)}.${String(fraction).padStart(9, '0')}`;
}

function named(field: 'path' | 'target', bytes: ByteString): Record<string, string> {
  const text = textOfBytes(bytes);
  return text === undefined
    ? { [`${field}Base64`]: bufferOfBytes(bytes).toString('base64') }
    : { [field]: text };
}

function xattrsJSON(node: Node): Pick<EntryJSON, 'xattrs' | 'xattrsBase64'> {
  if (node.xattrs === undefined || node.xattrs.size === 0) return {};
  const texts: [string, string][] = [];
  const others: [string, string][] = [];
  for (const [name, value] of node.xattrs) {
    const text = textOfBytes(name);
    const encoded = value.toString('base64');
    if (text === undefined) others.push([bufferOfBytes(name).toString('base64'), encoded]);
    else texts.push([text, encoded]);
  }
  // fromEntries defines own properties, so that a name like `__proto__` stays a name.
  return {
    ...(texts.length === 0 ? {} : { xattrs: Object.fromEntries(texts) }),
    ...(others.length === 0 ? {} : { xattrsBase64: Object.fromEntries(others) }),
  };
}
