/**
 * Credential helpers: `docker-credential-NAME get`, the registry's name on standard input, JSON on standard
 * output. Source: docker/docker-credential-helpers README.
 *
 * A helper's name comes from a configuration file and its answer from a program: the name is a plain word,
 * the program is looked up in fixed absolute folders and run without a shell, with the environment variables
 * that helpers need and no others, within a time and an output limit. Its whole process group ends with it.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import path from 'node:path';
import { PeelError } from '../../errors.ts';
import { isRecord } from '../is-record.ts';

export interface HelperAnswer {
  readonly username: string;
  readonly secret: string;
}

export interface HelperOptions {
  readonly folders: readonly string[];
  readonly limitMs: number;
  readonly env: NodeJS.ProcessEnv;
}

export const HELPER_FOLDERS = [
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
] as const;
const HELPER_NAME = /^[A-Za-z0-9._-]+$/;
const MAX_OUTPUT_BYTES = 64 * 1024;

/** What desktop key rings, pass, gpg and the clouds' helpers read. Never PATH, NODE_OPTIONS or LD_PRELOAD. */
const PASSED_ON =
  /^(?:HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TMPDIR|XDG_[A-Z_]+|DBUS_SESSION_BUS_ADDRESS|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|GNUPGHOME|GPG_TTY|PASSWORD_STORE_DIR|DOCKER_CONFIG|(?:AWS|AZURE|GOOGLE|CLOUDSDK)_[A-Z0-9_]+)$/;

/** docker-credential-helpers, credentials/error.go: said on standard output, with exit status 1. */
const NOT_FOUND = 'credentials not found in native keychain';

/**
 * The credentials that helper `name` has for `server`, or undefined where it has none.
 *
 * @throws PeelError ERR_AUTH_REFUSED when the helper is missing, fails, or takes too long. What it printed is
 * never repeated: it may hold the secret.
 */
export async function askHelper(
  name: string,
  server: string,
  options: HelperOptions,
): Promise<HelperAnswer | undefined> {
  const program = `docker-credential-${name}`;
  if (!HELPER_NAME.test(name)) {
    throw failure(`${JSON.stringify(program.slice(0, 100))} is not the name of a program`);
  }
  const file = await findProgram(program, options.folders);
  if (file === undefined) {
    throw failure(`${program} is not in ${options.folders.join(':')}`);
  }
  const { status, output } = await run(file, server, options);
  if (status !== 0) {
    if (output.trim() === NOT_FOUND) {
      return undefined;
    }
    throw failure(`${program} failed with exit status ${status}`);
  }
  let answer: unknown;
  try {
    answer = JSON.parse(output);
  } catch {
    // The parser's message quotes the text.
  }
  const username = isRecord(answer) ? answer['Username'] : undefined;
  const secret = isRecord(answer) ? answer['Secret'] : undefined;
  if (typeof username !== 'string' || typeof secret !== 'string') {
    throw failure(`${program} did not answer {"Username": ..., "Secret": ...}`);
  }
  return username === '' && secret === '' ? undefined : { username, secret };
}

async function findProgram(program: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    const file = path.join(folder, program);
    if (!path.isAbsolute(folder)) {
      continue;
    }
    try {
      await access(file, constants.X_OK);
      return file;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

interface HelperRun {
  readonly status: number | string;
  readonly output: string;
}

function run(file: string, input: string, options: HelperOptions): Promise<HelperRun> {
  const program = path.basename(file);
  return new Promise((resolve, reject) => {
    const child = spawn(file, ['get'], {
      cwd: '/',
      env: scrubbed(options.env, options.folders),
      stdio: ['pipe', 'pipe', 'ignore'],
      shell: false,
      // A process group of its own, so that what the helper starts ends with it.
      detached: true,
    });
    const endGroup = (): void => {
      try {
        if (child.pid !== undefined) {
          process.kill(-child.pid, 'SIGKILL');
        }
      } catch {
        // It has ended by itself.
      }
    };
    const give = (error: PeelError): void => {
      clearTimeout(timer);
      endGroup();
      child.stdout.destroy();
      reject(error);
    };
    const timer = setTimeout(
      () => give(failure(`${program} did not answer within ${options.limitMs / 1000} s`)),
      options.limitMs,
    );
    const chunks: Buffer[] = [];
    let length = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      length += chunk.length;
      chunks.push(chunk);
      if (length > MAX_OUTPUT_BYTES) {
        give(failure(`${program} answered with more than ${MAX_OUTPUT_BYTES} bytes`));
      }
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      give(failure(`${program} could not be started (${error.code ?? 'unknown reason'})`));
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      endGroup();
      resolve({ status: code ?? signal ?? 'unknown', output: Buffer.concat(chunks).toString('utf8') });
    });
    // A helper that does not read its input is no reason to fail.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

function scrubbed(env: NodeJS.ProcessEnv, folders: readonly string[]): NodeJS.ProcessEnv {
  const kept: NodeJS.ProcessEnv = { PATH: [...new Set([...folders, ...HELPER_FOLDERS])].join(':') };
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && PASSED_ON.test(name)) {
      kept[name] = value;
    }
  }
  return kept;
}

function failure(why: string): PeelError {
  return new PeelError('ERR_AUTH_REFUSED', `credential helper: ${why}`);
}
