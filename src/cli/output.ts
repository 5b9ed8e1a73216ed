/**
 * Where a command writes: standard output, standard error, or memory in a test. Small writes are gathered
 * into large ones; a full pipe holds the writer back instead of filling memory.
 */
import type { Writable } from 'node:stream';
import { PeelError, systemCodeOf } from '../errors.ts';

/** Bytes gathered before they go down as one write. */
const GATHER_BYTES = 64 * 1024;

export interface Output {
  /** True where a person looks: names are quoted, columns and colours are used. */
  readonly isTerminal: boolean;
  /** Width of the terminal, 80 where that is unknown. */
  readonly columns: number;
  /** True where ANSI colours are wanted. */
  readonly hasColor: boolean;
  /** Text goes out as UTF-8; bytes must not change any more. Resolves when more may come. Rejects with EPIPE where the reader has gone. */
  write(chunk: string | Uint8Array): Promise<void>;
  /** Resolves when everything is with the kernel. */
  flush(): Promise<void>;
}

/** An Output over a stream of the process. `gather: false` sends every write at once: for standard error. */
export class StreamOutput implements Output {
  readonly isTerminal: boolean;
  readonly hasColor: boolean;
  readonly #stream: Writable & { readonly columns?: number };
  readonly #gather: boolean;
  readonly #name: string;
  #parts: Buffer[] = [];
  /** Text after the last part: short lines are joined as text, and turned into bytes once. */
  #text = '';
  #gathered = 0;
  #failure: Error | undefined;

  constructor(
    stream: Writable & { readonly columns?: number },
    options: { name: string; isTerminal: boolean; hasColor: boolean; gather: boolean },
  ) {
    this.#stream = stream;
    this.isTerminal = options.isTerminal;
    this.hasColor = options.hasColor;
    this.#gather = options.gather;
    // Without a listener an EPIPE would end the process with a stack trace.
    stream.on('error', (error) => this.#fail(error));
    this.#name = options.name;
  }

  /** Why writing failed, EPIPE where the reader has gone. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  get columns(): number {
    return this.#stream.columns ?? 80;
  }

  async write(chunk: string | Uint8Array): Promise<void> {
    if (typeof chunk === 'string') {
      this.#text += chunk;
      this.#gathered += chunk.length;
    } else {
      this.#closeText();
      this.#parts.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
      this.#gathered += chunk.length;
    }
    if (!this.#gather || this.#gathered >= GATHER_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#gathered === 0) return;
    this.#closeText();
    const [only] = this.#parts;
    const bytes = this.#parts.length === 1 && only !== undefined ? only : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#gathered = 0;
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(bytes, (error) => {
        if (!error) return resolve();
        return reject(this.#fail(error));
      });
    });
  }

  #closeText(): void {
    if (this.#text === '') return;
    this.#parts.push(Buffer.from(this.#text, 'utf8'));
    this.#text = '';
  }

  /** EPIPE stays itself, for the caller to tell; all else is an error for the user to read. */
  #fail(error: Error): Error {
    this.#failure ??=
      systemCodeOf(error) === 'EPIPE'
        ? error
        : new PeelError('ERR_IO', `writing ${this.#name}: ${error.message}`, { cause: error });
    return this.#failure;
  }
}
