/**
 * A small tar writer for tests: names, targets and attribute values are bytes and stand in the archive exactly as
 * given (`./a`, `/a`, `../a`, any byte but NUL). USTAR, with a PAX header where USTAR has no room.
 */
import type { ByteString } from '../../src/units.ts';

export type MemberType = 'file' | 'dir' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo';

export interface Member {
  readonly name: ByteString;
  readonly type: MemberType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  readonly target?: ByteString;
  readonly rdev?: readonly [number, number];
  readonly xattrs?: ReadonlyMap<ByteString, Buffer>;
  readonly content?: Buffer;
}

export interface Tar {
  readonly bytes: Buffer;
  /** Where each member's content begins. */
  readonly dataOffsets: readonly number[];
}

const BLOCK = 512;
const FLAG_OF: Readonly<Record<MemberType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  dir: '5',
  fifo: '6',
};
const MAX_OCTAL_OWNER = 0o7777777;

export function writeTar(members: readonly Member[]): Tar {
  const parts: Buffer[] = [];
  const dataOffsets: number[] = [];
  let length = 0;
  const push = (bytes: Buffer): void => {
    const padding = (BLOCK - (bytes.length % BLOCK)) % BLOCK;
    parts.push(bytes, Buffer.alloc(padding));
    length += bytes.length + padding;
  };
  for (const member of members) {
    const records = paxRecords(member);
    if (records.length > 0) {
      push(header({ name: './PaxHeaders/x', flag: 'x', size: records.length, mode: 0o644 }));
      push(records);
    }
    const content = member.type === 'file' ? (member.content ?? Buffer.alloc(0)) : Buffer.alloc(0);
    push(
      header({
        name: member.name.slice(0, 100),
        flag: FLAG_OF[member.type],
        size: content.length,
        mode: member.mode,
        uid: member.uid <= MAX_OCTAL_OWNER ? member.uid : 0,
        gid: member.gid <= MAX_OCTAL_OWNER ? member.gid : 0,
        mtime: Math.max(member.mtimeSec, 0),
        target: member.target?.slice(0, 100),
        rdev: member.rdev,
      }),
    );
    dataOffsets.push(length);
    push(content);
  }
  parts.push(Buffer.alloc(2 * BLOCK));
  return { bytes: Buffer.concat(parts), dataOffsets };
}

interface HeaderFields {
  readonly name: string;
  readonly flag: string;
  readonly size: number;
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly target?: string | undefined;
  readonly rdev?: readonly [number, number] | undefined;
}

function header(fields: HeaderFields): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number): void => {
    block.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1');
  };
  block.write(fields.name, 0, 100, 'latin1');
  octal(fields.mode, 100, 7);
  octal(fields.uid ?? 0, 108, 7);
  octal(fields.gid ?? 0, 116, 7);
  octal(fields.size, 124, 11);
  octal(fields.mtime ?? 0, 136, 11);
  block.write('        ', 148, 'latin1');
  block.write(fields.flag, 156, 'latin1');
  block.write(fields.target ?? '', 157, 100, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  octal(fields.rdev?.[0] ?? 0, 329, 7);
  octal(fields.rdev?.[1] ?? 0, 337, 7);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function paxRecords(member: Member): Buffer {
  const records: [string, string | Buffer][] = [];
  if (member.name.length > 100) {
    records.push(['path', member.name]);
  }
  if (member.target !== undefined && member.target.length > 100) {
    records.push(['linkpath', member.target]);
  }
  if (member.mtimeNsec !== 0 || member.mtimeSec < 0) {
    records.push(['mtime', decimalTime(member.mtimeSec, member.mtimeNsec)]);
  }
  if (member.uid > MAX_OCTAL_OWNER) {
    records.push(['uid', String(member.uid)]);
  }
  if (member.gid > MAX_OCTAL_OWNER) {
    records.push(['gid', String(member.gid)]);
  }
  for (const [name, value] of member.xattrs ?? []) {
    records.push([`SCHILY.xattr.${name}`, value]);
  }
  return Buffer.concat(records.map(([key, value]) => paxRecord(key, value)));
}

/** Seconds (rounded down) and nanoseconds as one signed decimal. */
function decimalTime(sec: number, nsec: number): string {
  const total = BigInt(sec) * 1_000_000_000n + BigInt(nsec);
  const size = total < 0n ? -total : total;
  const fraction = String(size % 1_000_000_000n).padStart(9, '0');
  return `${total < 0n ? '-' : ''}${size / 1_000_000_000n}.${fraction}`;
}

/** `LENGTH KEY=VALUE\n`, where the length counts its own digits. */
function paxRecord(key: string, value: string | Buffer): Buffer {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value, 'latin1');
  const rest = key.length + bytes.length + 3;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) {
    length = rest + String(length).length;
  }
  return Buffer.concat([Buffer.from(`${length} ${key}=`, 'latin1'), bytes, Buffer.from('\n')]);
}
