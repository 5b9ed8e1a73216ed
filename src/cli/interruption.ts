/** What a signal does to a command: the first one aborts it, with a PeelError as the reason. */
import { PeelError } from '../errors.ts';
import type { Signal, SignalSource } from '../fuse/serve.ts';

export interface Interruption {
  /** Aborted by the first signal; the reason is a PeelError ERR_INTERRUPTED. */
  readonly signal: AbortSignal;
  /** Rejects with that reason. */
  readonly interrupted: Promise<never>;
  /** Listens no more. */
  end(): void;
}

export interface InterruptionOptions {
  /** The signals that interrupt. */
  readonly by: readonly Signal[];
  /** Those that do nothing; without a listener Node would do something by itself. */
  readonly ignored?: readonly Signal[];
  /** Called at every interrupting signal after the first. */
  readonly again?: () => void;
}

export function listenForInterruption(signals: SignalSource, options: InterruptionOptions): Interruption {
  const controller = new AbortController();
  const interrupted = new Promise<never>((_resolve, reject) => {
    controller.signal.addEventListener('abort', () => reject(controller.signal.reason as Error), {
      once: true,
    });
  });
  interrupted.catch(() => undefined); // whoever waits for it is told; nobody has to
  const interrupt = (name: Signal): void => {
    if (controller.signal.aborted) options.again?.();
    else controller.abort(new PeelError('ERR_INTERRUPTED', `interrupted by ${name}`));
  };
  const listeners: readonly [Signal, () => void][] = [
    ...options.by.map((name): [Signal, () => void] => [name, () => interrupt(name)]),
    ...(options.ignored ?? []).map((name): [Signal, () => void] => [name, () => undefined]),
  ];
  for (const [name, listener] of listeners) signals.on(name, listener);
  return {
    signal: controller.signal,
    interrupted,
    end: () => {
      for (const [name, listener] of listeners) signals.off(name, listener);
    },
  };
}
