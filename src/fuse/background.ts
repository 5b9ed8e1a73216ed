/**
 * A mount in the background: the same command line runs again in a process of its own session, and says over
 * a pipe whether the mount answers.
 *
 *   parent                               child (PEEL_READY_FD=3)
 *     spawn ------------------------------> opens the image
 *     copies its standard error             ... progress lines
 *     <------------- {"state":"mounting"}   the deadline runs
 *     <------------- {"state":"mounted"}    and no more: the mount answers
 *                                           waits until all layers are known, unless it is not to
 *     <------------- {"state":"ready", "mountPoint": ...}   or {"state":"failed", "code", "message"}
 *     prints, ends                          serves
 *
 * Only the part from "mounting" to "mounted" has a deadline here: how long indexing takes depends on the image, and
 * what it waits for has deadlines of its own. A child that ends without a word has failed as well.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { type ErrorCode, EXIT_STATUS_OF, PeelError } from '../errors.ts';

const READY_FD = 3;
const READY_VARIABLE = 'PEEL_READY_FD';
/** A message is a few hundred bytes; more is not ours. */
const MAX_MESSAGE_BYTES = 64 * 1024;
/** After TERM, before KILL. */
const GRACE_MS = 3000;

type Message =
  | { readonly state: 'mounting' }
  | { readonly state: 'mounted' }
  | { readonly state: 'ready'; readonly mountPoint: string }
  | { readonly state: 'failed'; readonly code: ErrorCode; readonly message: string };

export interface BackgroundOptions {
  /** The arguments of this process after the program: the child runs the same. */
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** The child gets our standard input: the image comes from there. */
  readonly needsStdin: boolean;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** What the child writes to its standard error until it is ready. */
  readonly onStderr: (chunk: Buffer) => void;
}

/** The child's end of the pipe. Every method does nothing once the parent has gone. */
export class ReadyPipe {
  /** The pipe that the parent left us, or undefined in a process that nobody waits for. Closes on exec. */
  static inherited(env: NodeJS.ProcessEnv): ReadyPipe | undefined {
    return env[READY_VARIABLE] === String(READY_FD) ? new ReadyPipe() : undefined;
  }

  #isOpen = true;

  mounting(): void {
    this.#send({ state: 'mounting' });
  }

  mounted(): void {
    this.#send({ state: 'mounted' });
  }

  /** False where the parent has gone without a word: nobody knows of the mount. */
  ready(mountPoint: string): boolean {
    this.#send({ state: 'ready', mountPoint });
    const isTold = this.#isOpen;
    this.#close();
    return isTold;
  }

  failed(error: unknown): void {
    const code = error instanceof PeelError ? error.code : 'ERR_MOUNT';
    this.#send({ state: 'failed', code, message: error instanceof Error ? error.message : String(error) });
    this.#close();
  }

  #send(message: Message): void {
    if (!this.#isOpen) return;
    try {
      writeSync(READY_FD, `${JSON.stringify(message)}\n`);
    } catch {
      this.#close();
    }
  }

  #close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(READY_FD);
  }
}

function parseMessage(line: string): Message {
  const value = JSON.parse(line) as Partial<Record<string, unknown>>;
  const { state, mountPoint, code, message } = value;
  if (state === 'mounting' || state === 'mounted') return { state };
  if (state === 'ready' && typeof mountPoint === 'string') return { state, mountPoint };
  if (state === 'failed' && typeof code === 'string' && Object.hasOwn(EXIT_STATUS_OF, code)) {
    return { state, code: code as ErrorCode, message: String(message) };
  }
  throw new PeelError('ERR_MOUNT', `the background process said ${JSON.stringify(line.slice(0, 200))}`);
}

async function* messagesOf(pipe: Readable): AsyncGenerator<Message> {
  let text = '';
  for await (const chunk of pipe) {
    text += String(chunk);
    if (text.length > MAX_MESSAGE_BYTES)
      throw new PeelError('ERR_MOUNT', 'the background process says too much');
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n')) {
      yield parseMessage(text.slice(0, end));
      text = text.slice(end + 1);
    }
  }
}

/** Ends the child and waits until it is gone, so that it leaves no mount behind. */
async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  await new Promise<void>((resolve) => {
    const kill = setTimeout(() => child.kill('SIGKILL'), GRACE_MS);
    child.once('exit', () => {
      clearTimeout(kill);
      resolve();
    });
    child.kill('SIGTERM');
  });
}

/**
 * Resolves with the mount point when it answers; the child then lives on by itself.
 * @throws PeelError what the child failed with; ERR_DEADLINE; ERR_INTERRUPTED when `signal` is aborted. The
 * child is gone in all these cases.
 */
export async function mountInBackground(
  options: BackgroundOptions,
): Promise<{ mountPoint: string; pid: number }> {
  options.signal.throwIfAborted();
  const child = spawn(process.execPath, [...process.execArgv, ...options.argv], {
    detached: true,
    stdio: [options.needsStdin ? 'inherit' : 'ignore', 'ignore', 'pipe', 'pipe'],
    env: { ...options.env, [READY_VARIABLE]: String(READY_FD) },
  });
  let giveUp: (reason: unknown) => void = () => undefined;
  const givenUp = new Promise<never>((_resolve, reject) => {
    giveUp = reject;
  });
  givenUp.catch(() => undefined); // awaited in the race below, if it comes to that
  const onAbort = (): void => giveUp(options.signal.reason);
  options.signal.addEventListener('abort', onAbort);
  child.on('error', (error) => {
    giveUp(new PeelError('ERR_MOUNT', `starting the background process: ${error.message}`, { cause: error }));
  });
  const { stderr } = child;
  stderr?.on('data', options.onStderr);
  const pipe = child.stdio[READY_FD] as Readable;
  let timer: NodeJS.Timeout | undefined;
  try {
    const mountPoint = await Promise.race([
      givenUp,
      untilReady(messagesOf(pipe), (state) => {
        clearTimeout(timer);
        if (state === 'mounted') return;
        timer = setTimeout(() => {
          const seconds = options.timeoutMs / 1000;
          giveUp(new PeelError('ERR_DEADLINE', `the mount did not answer within ${seconds} s (--timeout)`));
        }, options.timeoutMs);
      }),
    ]);
    child.unref();
    return { mountPoint, pid: child.pid ?? 0 };
  } catch (error) {
    await stopChild(child);
    throw error;
  } finally {
    clearTimeout(timer);
    options.signal.removeEventListener('abort', onAbort);
    pipe.destroy();
    stderr?.destroy();
  }
}

async function untilReady(
  messages: AsyncIterable<Message>,
  onStep: (state: 'mounting' | 'mounted') => void,
): Promise<string> {
  for await (const message of messages) {
    if (message.state === 'ready') return message.mountPoint;
    if (message.state === 'failed') throw new PeelError(message.code, message.message);
    onStep(message.state);
  }
  throw new PeelError('ERR_MOUNT', 'the background process ended before the mount answered');
}
