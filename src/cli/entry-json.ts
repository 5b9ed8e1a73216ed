/**
 * An entry of the tree as JSON: the fields of docs/OUTPUT.md, the same in every command.
 * Names are bytes: one that is not UTF-8 stands as base64 in a field of its own, never as replacement characters.
 */
import type { Node } from '../tree/node.ts';
import { type ByteString, bufferOfBytes, textOfBytes } from '../units.ts';

/** Raised when a field changes its meaning or goes away; new fields do not count. */
export const SCHEMA_VERSION = 1;

const ASCII = /^[\x00-\x7f]*$/u;

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

/**
 * `path` is absolute inside the image. Fields are set one after the other: spreading objects together gives
 * each of a million entries a hidden class of its own, and that costs a kilobyte each.
 */
export function entryJSON(path: ByteString, node: Node): EntryJSON {
  const entry: Partial<Mutable<EntryJSON>> = {};
  const pathText = textOrUndefined(path);
  if (pathText === undefined) entry.pathBase64 = base64(path);
  else entry.path = pathText;
  entry.type = node.kind;
  entry.mode = node.mode.toString(8);
  entry.uid = node.uid;
  entry.gid = node.gid;
  entry.size = node.size;
  entry.mtime = decimalTime(node.mtimeSec, node.mtimeNsec);
  if (node.target !== undefined) {
    const targetText = textOrUndefined(node.target);
    if (targetText === undefined) entry.targetBase64 = base64(node.target);
    else entry.target = targetText;
  }
  if (node.rdev !== undefined) entry.rdev = node.rdev;
  entry.nlink = node.nlink;
  entry.ino = node.ino;
  if (node.xattrs !== undefined && node.xattrs.size > 0) Object.assign(entry, xattrsJSON(node.xattrs));
  entry.layer = node.layer;
  return entry as EntryJSON;
}

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** `sec` is rounded down, so -1.5 s comes as (-2, 500000000). */
export function decimalTime(sec: number, nsec: number): string {
  const isNegative = sec < 0;
  const whole = isNegative && nsec > 0 ? sec + 1 : sec;
  const fraction = isNegative && nsec > 0 ? 1_000_000_000 - nsec : nsec;
  return `${isNegative ? '-' : ''}${Math.abs(whole)}.${String(fraction).padStart(9, '0')}`;
}

/** ASCII is UTF-8 as it stands; two buffers for each of a million names would keep the collector busy. */
function textOrUndefined(bytes: ByteString): string | undefined {
  return ASCII.test(bytes) ? bytes : textOfBytes(bytes);
}

function base64(bytes: ByteString): string {
  return bufferOfBytes(bytes).toString('base64');
}

function xattrsJSON(xattrs: NonNullable<Node['xattrs']>): Pick<EntryJSON, 'xattrs' | 'xattrsBase64'> {
  const texts: [string, string][] = [];
  const others: [string, string][] = [];
  for (const [name, value] of xattrs) {
    const text = textOfBytes(name);
    const encoded = value.toString('base64');
    if (text === undefined) others.push([base64(name), encoded]);
    else texts.push([text, encoded]);
  }
  // fromEntries defines own properties, so that a name like `__proto__` stays a name.
  return {
    ...(texts.length === 0 ? {} : { xattrs: Object.fromEntries(texts) }),
    ...(others.length === 0 ? {} : { xattrsBase64: Object.fromEntries(others) }),
  };
}
