/** `-o` of `peel mount`: mount(8)'s comma-separated spelling. */
import { PeelError } from '../errors.ts';

export interface ParsedMountOptions {
  readonly allowOther: boolean;
  readonly suid: boolean;
  readonly dev: boolean;
  readonly nonEmpty: boolean;
  readonly uid?: number;
  readonly gid?: number;
}

/** What every mount is anyway, so that an fstab line may say it. */
const ALWAYS = new Set(['ro', 'noatime', 'default_permissions']);
/** 2^32 - 1 means "no user": setuid(2). */
const MAX_ID = 2 ** 32 - 2;

/** The last word on an option wins, as with mount(8). @throws PeelError ERR_USAGE naming the option. */
export function parseMountOptions(lists: readonly string[]): ParsedMountOptions {
  const switches = { allowOther: false, suid: false, dev: false, nonEmpty: false };
  const ids: { uid?: number; gid?: number } = {};
  for (const option of lists.flatMap((list) => list.split(',')).filter(Boolean)) {
    const [name, value] = splitOnce(option);
    if ((name === 'uid' || name === 'gid') && value !== undefined) ids[name] = parseId(name, value);
    else if (value !== undefined) throw unknown(option);
    else if (name === 'allow_other') switches.allowOther = true;
    else if (name === 'suid' || name === 'nosuid') switches.suid = name === 'suid';
    else if (name === 'dev' || name === 'nodev') switches.dev = name === 'dev';
    else if (name === 'nonempty') switches.nonEmpty = true;
    else if (name === 'rw') throw new PeelError('ERR_USAGE', '-o rw: an image is mounted read-only');
    else if (!ALWAYS.has(name)) throw unknown(option);
  }
  return { ...switches, ...ids };
}

function splitOnce(option: string): readonly [string, string | undefined] {
  const equals = option.indexOf('=');
  return equals === -1 ? [option, undefined] : [option.slice(0, equals), option.slice(equals + 1)];
}

function parseId(name: string, value: string): number {
  const id = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
  if (id <= MAX_ID) return id;
  throw new PeelError('ERR_USAGE', `-o ${name}=${value}: not a number from 0 to ${MAX_ID}`);
}

function unknown(option: string): PeelError {
  return new PeelError(
    'ERR_USAGE',
    `-o ${option}: not an option of peel (allow_other, suid, dev, nonempty, uid=N, gid=N)`,
  );
}
