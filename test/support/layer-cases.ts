/**
 * Layers written in a line a member, as the merge cases are (`test/cases/merge-cases.json`):
 *
 *   d a/ 0700 u:1:2      directory with mode and owner        l a->b     symbolic link
 *   f a=foo              file with content                    h a=>b     hard link
 *   c a 1:3   b a 8:0    devices                              p a        fifo
 *   d a/ x:user.k=v      with an extended attribute           f a=1 t:12.5   with an mtime
 *
 * Names stand in the tar as they are written, and go through the real reader from there.
 */
import { type ByteString, bytesOfText } from '../../src/units.ts';
import type { Member, MemberType } from './tar-bytes.ts';

/** What members have where the line does not say it. */
export const DEFAULT_MTIME = 1_600_000_000;

const TYPE_OF_LETTER: Readonly<Record<string, MemberType>> = {
  d: 'dir',
  f: 'file',
  l: 'symlink',
  h: 'hardlink',
  c: 'char',
  b: 'block',
  p: 'fifo',
};

function parseMember(line: string): Member {
  const [letter = '', spec = '', ...attributes] = line.split(' ');
  const type = TYPE_OF_LETTER[letter];
  if (type === undefined || spec === '') {
    throw new TypeError(`no member: ${line}`);
  }
  const separator = { file: '=', symlink: '->', hardlink: '=>' }[type as 'file'] as string | undefined;
  const split = separator === undefined ? -1 : spec.indexOf(separator);
  const name = split === -1 ? spec : spec.slice(0, split);
  const value = split === -1 || separator === undefined ? '' : spec.slice(split + separator.length);
  let mode = type === 'dir' ? 0o755 : type === 'symlink' ? 0o777 : 0o644;
  let [uid, gid] = [0, 0];
  let [mtimeSec, mtimeNsec] = [DEFAULT_MTIME, 0];
  let rdev: [number, number] | undefined;
  const xattrs = new Map<ByteString, Buffer>();
  for (const attribute of attributes) {
    const pair = /^(?<kind>u:|t:|)(?<first>\d+)[:.](?<second>\d+)$/.exec(attribute)?.groups;
    if (/^0\d+$/.test(attribute)) {
      mode = Number.parseInt(attribute, 8);
    } else if (attribute.startsWith('x:')) {
      const [key = '', text = ''] = attribute.slice(2).split('=');
      xattrs.set(bytesOfText(key), Buffer.from(text));
    } else if (pair?.['kind'] === 'u:') {
      [uid, gid] = [Number(pair['first']), Number(pair['second'])];
    } else if (pair?.['kind'] === 't:') {
      [mtimeSec, mtimeNsec] = [Number(pair['first']), Number(pair['second']?.padEnd(9, '0'))];
    } else if (pair?.['kind'] === '') {
      rdev = [Number(pair['first']), Number(pair['second'])];
    } else {
      throw new TypeError(`no attribute: ${attribute} in ${line}`);
    }
  }
  return {
    name: bytesOfText(name),
    type,
    mode,
    uid,
    gid,
    mtimeSec,
    mtimeNsec,
    ...(type === 'symlink' || type === 'hardlink' ? { target: bytesOfText(value) } : {}),
    ...(rdev === undefined ? {} : { rdev }),
    ...(xattrs.size === 0 ? {} : { xattrs }),
    ...(type === 'file' ? { content: Buffer.from(value) } : {}),
  };
}

export function parseLayer(lines: readonly string[]): Member[] {
  return lines.map(parseMember);
}
