/** The options that say what a container is like, shared by `run` and `bundle`: their table, and what they say. */
import { readFileSync } from 'node:fs';
import { parseEnvironmentFile, parseVariable } from '../container/environment.ts';
import type { Network } from '../container/network-files.ts';
import type { ContainerOptions } from '../container/oci-config.ts';
import { parseTmpfs, parseVolume } from '../container/user-mounts.ts';
import { PeelError, systemCodeOf } from '../errors.ts';
import type { Flags } from './command.ts';

export const CONTAINER_OPTIONS = {
  tty: { type: 'boolean', short: 't', summary: 'give the container a terminal' },
  env: {
    type: 'string',
    short: 'e',
    multiple: true,
    value: 'NAME[=VALUE]',
    summary: "set a variable; NAME alone takes the caller's value",
  },
  'env-file': {
    type: 'string',
    multiple: true,
    value: 'FILE',
    summary: 'set the variables of a file, one a line',
  },
  workdir: { type: 'string', short: 'w', value: 'DIR', summary: 'working directory; made if it is missing' },
  user: {
    type: 'string',
    short: 'u',
    value: 'USER[:GROUP]',
    summary: "by number, or by a name of the image's passwd and group",
  },
  volume: {
    type: 'string',
    short: 'v',
    multiple: true,
    value: 'HOST:DIR[:ro]',
    summary: 'show a file or folder of the host in the container',
  },
  tmpfs: { type: 'string', multiple: true, value: 'DIR[:OPT,...]', summary: 'an empty folder in memory' },
  entrypoint: {
    type: 'string',
    value: 'PROGRAM',
    summary: "in place of the image's; its command does not count then; empty for none",
  },
  'read-only': { type: 'boolean', summary: 'the root file system cannot be written to' },
  network: { type: 'string', value: 'host|none', summary: "the host's network, or none (default: host)" },
  hostname: {
    type: 'string',
    value: 'NAME',
    summary: "default: the host's, without network the container's id",
  },
  memory: { type: 'string', short: 'm', value: 'SIZE', summary: 'limit: bytes, or with k, m, g' },
  cpus: { type: 'string', value: 'N', summary: 'limit: processors, such as 1.5' },
  'cap-add': { type: 'string', multiple: true, value: 'CAP', summary: 'give a capability, or ALL' },
  'cap-drop': { type: 'string', multiple: true, value: 'CAP', summary: 'take a capability, or ALL' },
  privileged: {
    type: 'boolean',
    summary: 'all capabilities and devices, nothing hidden or refused: as root of the host',
  },
} as const;

/** As docker: less does not start anything. */
const MIN_MEMORY_BYTES = 6 * 1024 * 1024;
const MIN_CPUS = 0.01;
const MAX_CPUS = 10_000;
/** HOST_NAME_MAX of Linux. */
const HOSTNAME = /^[A-Za-z0-9][A-Za-z0-9.-]{0,62}[A-Za-z0-9]$|^[A-Za-z0-9]$/;

/** @throws PeelError ERR_USAGE, ERR_CONTAINER for a place of the host that is not there. */
export function readContainerFlags(
  flags: Flags<typeof CONTAINER_OPTIONS>,
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  terminalSize: ContainerOptions['terminalSize'],
): ContainerOptions {
  const { entrypoint, hostname } = flags;
  if (hostname !== undefined && !HOSTNAME.test(hostname)) {
    throw new PeelError('ERR_USAGE', `--hostname: '${hostname}' is not a host name of at most 64 characters`);
  }
  return {
    command,
    entrypoint: entrypoint === undefined ? undefined : [entrypoint].filter(Boolean),
    env: [
      ...flags['env-file'].flatMap((file) => parseEnvironmentFile(readEnvFile(file), env, file)),
      ...flags.env.flatMap((word) => parseVariable(word, env, '--env')),
    ],
    user: flags.user,
    workingDir: parseWorkdir(flags.workdir),
    hasTerminal: flags.tty,
    terminalSize: flags.tty ? terminalSize : undefined,
    isReadOnly: flags['read-only'],
    network: parseNetwork(flags.network ?? 'host'),
    hostname,
    memory: flags.memory === undefined ? undefined : parseMemory(flags.memory),
    cpus: flags.cpus === undefined ? undefined : parseCpus(flags.cpus),
    capabilities: { add: flags['cap-add'], drop: flags['cap-drop'], privileged: flags.privileged },
    mounts: [...flags.volume.map(parseVolume), ...flags.tmpfs.map(parseTmpfs)],
  };
}

function readEnvFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new PeelError('ERR_USAGE', `--env-file ${file}: ${systemCodeOf(error) ?? String(error)}`, {
      cause: error,
    });
  }
}

function parseWorkdir(text: string | undefined): string | undefined {
  if (text === undefined || text.startsWith('/')) return text;
  throw new PeelError('ERR_USAGE', `--workdir: '${text}' is not an absolute path`);
}

function parseNetwork(text: string): Network {
  if (text === 'host' || text === 'none') return text;
  throw new PeelError(
    'ERR_USAGE',
    `--network: '${text}' is neither host nor none, which is all that peel has`,
  );
}

function parseMemory(text: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,15})([bkmg]?)b?$/i.exec(text) ?? [];
  const bytes = Number(digits) * 1024 ** Math.max(0, 'bkmg'.indexOf(unit.toLowerCase() || 'b'));
  if (digits !== '' && bytes >= MIN_MEMORY_BYTES && Number.isSafeInteger(bytes)) return bytes;
  throw new PeelError('ERR_USAGE', `--memory: '${text}' is no size of at least 6m (bytes, or with k, m, g)`);
}

function parseCpus(text: string): number {
  const cpus = /^\d{0,5}(\.\d{1,9})?$/.test(text) ? Number(text) : Number.NaN;
  if (cpus >= MIN_CPUS && cpus <= MAX_CPUS) return cpus;
  throw new PeelError('ERR_USAGE', `--cpus: '${text}' is not a number of processors from ${MIN_CPUS} on`);
}
