/**
 * Who a container runs as: `user[:group]` by name or number, looked up in the image's own /etc/passwd and
 * /etc/group, which are data of a stranger (bounded, numbers checked: CVE-2024-40635).
 */
import { PeelError } from '../errors.ts';
import { type ImageFiles, readTextFile } from './image-files.ts';

export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  /** In rising order, `gid` among them: a group may be refused what others are allowed (CVE-2022-2989). */
  readonly additionalGids: readonly number[];
  readonly home: string;
}

/** 2^32 - 1 means "unchanged" to the kernel. */
const MAX_ID = 2 ** 32 - 2;
/** NGROUPS_MAX of Linux is 65536; no account is in so many. */
const MAX_GROUPS = 1024;

interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

function idOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

/** passwd(5). Lines that do not look as documented are left out. */
function parseAccounts(text: string): Account[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , uidText, gidText, , home = ''] = line.trim().split(':');
    const uid = idOf(uidText);
    const gid = idOf(gidText);
    return name === '' || uid === undefined || gid === undefined ? [] : [{ name, uid, gid, home }];
  });
}

/** group(5). */
function parseGroups(text: string): Group[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , gidText, members = ''] = line.trim().split(':');
    const gid = idOf(gidText);
    return name === '' || gid === undefined ? [] : [{ name, gid, members: members.split(',') }];
  });
}

function unknown(what: string, name: string, file: string): PeelError {
  return new PeelError(
    'ERR_CONTAINER',
    `the container's ${what} '${name.slice(0, 80)}': not in ${file} of the image, and not a number from 0 to ${MAX_ID}`,
  );
}

/** @throws PeelError ERR_CONTAINER where the image knows no such user or group. */
export async function findUser(image: ImageFiles, spec: string): Promise<ContainerUser> {
  const accounts = parseAccounts((await readTextFile(image, '/etc/passwd')) ?? '');
  const groups = parseGroups((await readTextFile(image, '/etc/group')) ?? '');
  const colon = spec.indexOf(':');
  const userName = (colon === -1 ? spec : spec.slice(0, colon)) || '0';
  const groupName = colon === -1 ? '' : spec.slice(colon + 1);

  // A name that looks like a number is looked for as a name first, as docker does.
  const number = idOf(userName);
  const account =
    accounts.find((each) => each.name === userName) ?? accounts.find((each) => each.uid === number);
  const uid = account?.uid ?? number;
  if (uid === undefined) throw unknown('user', userName, '/etc/passwd');
  const home = account?.home.startsWith('/') === true ? latin1ToText(account.home) : '/';

  if (groupName !== '') {
    // A group that is named is the only one.
    const gid = groups.find((each) => each.name === groupName)?.gid ?? idOf(groupName);
    if (gid === undefined) throw unknown('group', groupName, '/etc/group');
    return { uid, gid, additionalGids: [gid], home };
  }
  const gid = account?.gid ?? 0;
  const memberOf =
    account === undefined ? [] : groups.filter(({ members }) => members.includes(account.name));
  const additionalGids = [...new Set([gid, ...memberOf.map((group) => group.gid)])].sort((a, b) => a - b);
  if (additionalGids.length > MAX_GROUPS) {
    throw new PeelError(
      'ERR_LIMIT_EXCEEDED',
      `the container's user '${userName}' is in ${additionalGids.length} groups of the image: at most ${MAX_GROUPS} are taken`,
    );
  }
  return { uid, gid, additionalGids, home };
}

/** The file was read with one character a byte. */
function latin1ToText(text: string): string {
  return Buffer.from(text, 'latin1').toString('utf8');
}
