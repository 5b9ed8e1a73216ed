/**
 * The environment of a container, in the order in which later ones win (as docker run has it):
 * PATH, HOSTNAME and TERM of ours, the image's, files of --env-file, -e; HOME where none of them says it.
 */
import { PeelError } from '../errors.ts';
import { checkWords } from './image-defaults.ts';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface EnvironmentParts {
  readonly image: readonly string[];
  /** `NAME=value`; a name alone takes a variable away. Later ones win. */
  readonly user: readonly string[];
  readonly hostname: string;
  readonly hasTerminal: boolean;
  readonly home: string;
}

/** @throws PeelError ERR_LIMIT_EXCEEDED, ERR_DOCUMENT_INVALID for what the kernel does not take. */
export function environmentOf(parts: EnvironmentParts): string[] {
  const variables = new Map<string, string>([
    ['PATH', DEFAULT_PATH],
    ['HOSTNAME', parts.hostname],
    ...(parts.hasTerminal ? [['TERM', 'xterm'] as const] : []),
  ]);
  for (const word of [...parts.image, ...parts.user]) {
    const equals = word.indexOf('=');
    // Without a name no program can ask for it.
    if (equals === 0 || word === '') continue;
    if (equals === -1) variables.delete(word);
    else variables.set(word.slice(0, equals), word.slice(equals + 1));
  }
  if (!variables.has('HOME')) variables.set('HOME', parts.home);
  const environment = [...variables].map(([name, value]) => `${name}=${value}`);
  checkWords(environment, 'the environment of the container');
  return environment;
}

/**
 * One of -e: `NAME=value` as it stands; `NAME` alone is the caller's own variable, and nothing where it has none.
 * @throws PeelError ERR_USAGE for one without a name.
 */
export function parseVariable(word: string, own: NodeJS.ProcessEnv, where: string): readonly string[] {
  const name = word.split('=', 1)[0] ?? '';
  if (name === '' || /\s/u.test(name)) {
    throw new PeelError('ERR_USAGE', `${where}: '${word.slice(0, 80)}' is not NAME=VALUE`);
  }
  if (word !== name) return [word];
  const value = own[name];
  // As docker: what the image sets under this name is taken away, too.
  return [value === undefined ? name : `${name}=${value}`];
}

/** The lines of an --env-file: no quotes, no expansion; empty lines and those with # in front are left out. */
export function parseEnvironmentFile(text: string, own: NodeJS.ProcessEnv, file: string): string[] {
  return text.split('\n').flatMap((line, at) => {
    const trimmed = line.replace(/\r$/, '').trimStart();
    if (trimmed === '' || trimmed.startsWith('#')) return [];
    return parseVariable(trimmed, own, `${file}, line ${at + 1}`);
  });
}
