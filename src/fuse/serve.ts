/**
 * The life of a mount between ready and gone, as signals steer it (CLI.md, "The mount as a daemon"):
 *
 *   TERM, INT  -> waiting reads end with EIO, unmount; in use: detach, and serve until the last user leaves
 *   again      -> stop at once: who still reads gets ENOTCONN
 *   HUP        -> credentials are read again        USR1 -> statistics go to the log
 */
import { isPeelError } from '../errors.ts';
import { log, prepareLog } from '../log.ts';

export interface Served {
  readonly mountPoint: string;
  readonly closed: Promise<void>;
  interruptReads(): void;
  unmount(options: { readonly lazy: boolean }): Promise<void>;
  statistics(): Readonly<Record<string, unknown>>;
  /** Reads credentials again. */
  reload(): Promise<void>;
}

export type Signal = 'SIGTERM' | 'SIGINT' | 'SIGHUP' | 'SIGUSR1';

/** The part of `process` that is needed. */
export interface SignalSource {
  on(signal: Signal, listener: () => void): unknown;
  off(signal: Signal, listener: () => void): unknown;
}

export interface ServeOptions {
  readonly signals: SignalSource;
  /** Messages for whoever watches a mount in the foreground. */
  readonly tell: (message: string) => void;
}

/** Resolves when the mount is gone, or at once after the second TERM or INT: the caller then ends the process. */
export async function serve(served: Served, options: ServeOptions): Promise<void> {
  prepareLog();
  let force: () => void = () => undefined;
  const forced = new Promise<void>((resolve) => {
    force = resolve;
  });
  const say = (message: string): void => {
    log().info({ mountPoint: served.mountPoint }, message);
    options.tell(message);
  };

  let isStopping = false;
  const stop = (): void => {
    if (isStopping) {
      say('stopping at once');
      force();
      return;
    }
    isStopping = true;
    unmountOrDetach(served, say).catch((error: unknown) => {
      // Nothing keeps the mount in the tree any more but us: ending the process ends it.
      say(`unmounting failed: ${error instanceof Error ? error.message : String(error)}`);
      force();
    });
  };
  const reload = (): void => {
    served.reload().then(
      () => log().info('credentials read again'),
      (error: unknown) => log().error({ err: error }, 'reading credentials again failed'),
    );
  };
  const listeners: readonly [Signal, () => void][] = [
    ['SIGTERM', stop],
    ['SIGINT', stop],
    ['SIGHUP', reload],
    ['SIGUSR1', () => tellStatistics(served)],
  ];
  for (const [signal, listener] of listeners) options.signals.on(signal, listener);
  try {
    await Promise.race([served.closed, forced]);
  } finally {
    for (const [signal, listener] of listeners) options.signals.off(signal, listener);
  }
}

export function tellStatistics(served: Served): void {
  log().warn(served.statistics(), 'statistics');
}

async function unmountOrDetach(served: Served, say: (message: string) => void): Promise<void> {
  served.interruptReads();
  try {
    await served.unmount({ lazy: false });
  } catch (error) {
    if (!isPeelError(error, 'ERR_MOUNT_POINT_BUSY')) throw error;
    await served.unmount({ lazy: true });
    say(
      `${served.mountPoint} is in use: detached, and served until the last user leaves; the signal again stops it`,
    );
  }
}
