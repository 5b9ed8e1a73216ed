/**
 * What an image says about how it is started: `config` of its config document (image-spec config.md), parsed into
 * values that cannot be malformed. It comes from a stranger: sizes are bounded, and what no kernel takes is refused
 * here, by name, before a runtime says it in other words.
 */
import { PeelError } from '../errors.ts';
import type { ImageConfig } from '../reference/documents.ts';
import { JsonFields } from '../reference/json-fields.ts';
import type { JsonValue } from '../reference/parse-json.ts';

/** One string of argv or environ, its NUL included: MAX_ARG_STRLEN of Linux, 32 pages. */
export const MAX_WORD_BYTES = 128 * 1024;
/** All of them: a quarter of the stack's usual limit of 8 MiB (execve(2)). */
const MAX_WORDS_BYTES = 2 * 1024 * 1024;

export interface ImageDefaults {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value`, in the image's order. */
  readonly env: readonly string[];
  /** `user[:group]` by name or number; empty for root. */
  readonly user: string;
  /** Absolute; empty for the root. */
  readonly workingDir: string;
  /** `SIGTERM`, `15`, `SIGRTMIN+3`; empty where the image names none. */
  readonly stopSignal: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `80/tcp` */
  readonly exposedPorts: readonly string[];
}

const FIELDS = [
  'Entrypoint',
  'Cmd',
  'Env',
  'User',
  'WorkingDir',
  'StopSignal',
  'Labels',
  'ExposedPorts',
] as const;

/** @throws PeelError ERR_DOCUMENT_INVALID, ERR_LIMIT_EXCEEDED. */
export function imageDefaultsOf(config: ImageConfig): ImageDefaults {
  // `runtime` is an object that parseJson made.
  const fields = new JsonFields(config.runtime as JsonValue, 'config, config', FIELDS);
  const defaults = {
    entrypoint: fields.texts('Entrypoint'),
    cmd: fields.texts('Cmd'),
    env: fields.texts('Env'),
    user: fields.text('User') ?? '',
    workingDir: fields.text('WorkingDir') ?? '',
    stopSignal: fields.text('StopSignal') ?? '',
    labels: fields.textMap('Labels'),
    exposedPorts: Object.keys(fields.object('ExposedPorts')),
  };
  checkWords([...defaults.entrypoint, ...defaults.cmd], 'the command of the image');
  checkWords(defaults.env, 'the environment of the image');
  checkWords([defaults.user, defaults.workingDir], 'user and working directory of the image');
  return defaults;
}

/**
 * That the kernel takes these strings for argv or environ.
 * @throws PeelError ERR_DOCUMENT_INVALID for NUL, ERR_LIMIT_EXCEEDED.
 */
export function checkWords(words: readonly string[], what: string): void {
  let total = 0;
  for (const word of words) {
    const name = word.slice(0, 40);
    if (word.includes('\0')) {
      throw new PeelError('ERR_DOCUMENT_INVALID', `${what}: '${name}' holds a NUL character`);
    }
    const bytes = Buffer.byteLength(word) + 1;
    total += bytes;
    if (bytes > MAX_WORD_BYTES || total > MAX_WORDS_BYTES) {
      const [found, most] = bytes > MAX_WORD_BYTES ? [bytes, MAX_WORD_BYTES] : [total, MAX_WORDS_BYTES];
      throw new PeelError(
        'ERR_LIMIT_EXCEEDED',
        `${what}: ${found} bytes at '${name}', and Linux gives a program at most ${most}`,
      );
    }
  }
}
