/**
 * The OCI runtime that starts a container: crun or runc, found on PATH, told where its state lies.
 *
 *   RUNTIME --root DIR --log FILE --log-format json run --bundle DIR ID
 *
 * Its exit status is the container's; whether it failed itself is told by what it logged.
 */
import { type ChildProcess, execFile, type StdioOptions, spawn } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { type ErrorCode, PeelError } from '../errors.ts';
import { cgroupLayout } from './host-cgroups.ts';

export interface Runtime {
  readonly name: 'crun' | 'runc';
  readonly program: string;
  /** Where it keeps its state. */
  readonly root: string;
}

/** Where runtimes are installed that a user's PATH may lack. */
const MORE_FOLDERS = ['/usr/local/bin', '/usr/local/sbin', '/usr/bin', '/usr/sbin', '/sbin'];
const DELETE_DEADLINE_MS = 10_000;
/** What a runtime says before it gives up is short. */
const MAX_LOG_BYTES = 256 * 1024;

function findProgram(name: string, env: NodeJS.ProcessEnv): string | undefined {
  if (name.includes('/')) return isProgram(path.resolve(name)) ? path.resolve(name) : undefined;
  const folders = [
    ...(env['PATH'] ?? '').split(':').filter((folder) => path.isAbsolute(folder)),
    ...MORE_FOLDERS,
  ];
  return folders.map((folder) => path.join(folder, name)).find(isProgram);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/**
 * The runtime to use. `choice`: a name or a path whose last part says which it is; undefined: crun where it works,
 * since it starts faster, else runc. With a terminal runc comes first: crun 1.8 tells a container of no new size.
 * @throws PeelError ERR_CONTAINER with what to install.
 */
export function findRuntime(
  choice: string | undefined,
  runtimeDir: string,
  { env, hasTerminal }: { readonly env: NodeJS.ProcessEnv; readonly hasTerminal: boolean },
): Runtime {
  const layout = cgroupLayout();
  const order =
    layout === 'hybrid' || hasTerminal ? (['runc', 'crun'] as const) : (['crun', 'runc'] as const);
  for (const name of order) {
    if (choice !== undefined && !path.basename(choice).startsWith(name)) continue;
    const program = findProgram(choice ?? name, env);
    if (program === undefined) continue;
    if (name === 'crun' && layout === 'hybrid') {
      throw new PeelError(
        'ERR_CONTAINER',
        `${program}: crun refuses hosts with cgroups of version 1 and controllers in version 2 as this one; ` +
          (choice === undefined ? 'install runc' : 'use --runtime runc'),
      );
    }
    return { name, program, root: path.join(runtimeDir, name) };
  }
  throw new PeelError(
    'ERR_CONTAINER',
    choice === undefined
      ? 'neither crun nor runc is installed: install one of these packages'
      : `--runtime ${choice}: no such program, or neither a crun nor a runc`,
  );
}

export interface RuntimeCall {
  readonly id: string;
  readonly bundle: string;
  readonly logFile: string;
}

/** Nothing of ours: a NOTIFY_SOCKET would be handed to the container. */
function environmentFor(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    ['PATH', 'HOME', 'LANG', 'XDG_RUNTIME_DIR'].flatMap((name) =>
      env[name] === undefined ? [] : [[name, env[name]]],
    ),
  );
}

/** `isDetached`: in a session of its own, so that the keys of a terminal signal it through us alone. */
export function startRuntime(
  { program, root }: Runtime,
  { id, bundle, logFile }: RuntimeCall,
  options: { readonly env: NodeJS.ProcessEnv; readonly stdio: StdioOptions; readonly isDetached: boolean },
): ChildProcess {
  const args = ['--root', root, '--log', logFile, '--log-format', 'json', 'run', '--bundle', bundle, id];
  return spawn(program, args, {
    cwd: bundle,
    env: environmentFor(options.env),
    stdio: options.stdio,
    detached: options.isDetached,
  });
}

/** Ends the container and removes its state and cgroups. Nothing happens where there is none. */
export function deleteContainer({ program, root }: Runtime, id: string): Promise<void> {
  return new Promise((resolve) => {
    // It fails where the container is gone, which is what is wanted.
    execFile(
      program,
      ['--root', root, 'delete', '--force', id],
      { timeout: DELETE_DEADLINE_MS, env: environmentFor(process.env) },
      () => resolve(),
    );
  });
}

/** The last error that the runtime logged. */
function lastError(logFile: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(logFile, 'utf8').slice(-MAX_LOG_BYTES);
  } catch {
    return undefined;
  }
  let last: string | undefined;
  for (const line of text.split('\n')) {
    try {
      const { level, msg } = JSON.parse(line) as { level?: unknown; msg?: unknown };
      if ((level === 'error' || level === 'fatal') && typeof msg === 'string') last = msg;
    } catch {
      // a line that was cut, or of another form
    }
  }
  return last;
}

/** What kept the command from being started, by what runc and crun write. */
const REASONS: readonly (readonly [RegExp, ErrorCode])[] = [
  [
    /executable file .*not found|exec: .*no such file or directory|open executable: No such file/i,
    'ERR_COMMAND_NOT_FOUND',
  ],
  [
    /exec: .*(permission denied|is a directory)|exec format error|open executable|permission denied: .*exec/i,
    'ERR_COMMAND_NOT_EXECUTABLE',
  ],
];

/** What runc puts in front of the reason. */
const WRAPPERS =
  /^runc run failed: (?:unable to start container process: )?(?:error during container init: )?/;

/** Why there was no container: undefined where there was one, and its exit status is its own. */
export function failureOf(runtime: Runtime, logFile: string, command: string): PeelError | undefined {
  const said = lastError(logFile);
  if (said === undefined) return undefined;
  const code = REASONS.find(([pattern]) => pattern.test(said))?.[1] ?? 'ERR_CONTAINER';
  return new PeelError(
    code,
    `starting '${command.slice(0, 200)}' with ${runtime.name}: ${said.replace(WRAPPERS, '').slice(0, 1000)}`,
  );
}
