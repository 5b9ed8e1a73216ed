/** A layer blob in memory that counts what it is asked for and can fail as a registry does. */
import type { RangeSource } from '../../src/blob/range-source.ts';
import type { CompressedRange, Digest } from '../../src/units.ts';
import { sha256Digest } from '../support/digests.ts';

/** What becomes of one request, by its number (0 = first). */
export interface Fault {
  /** Replaces the bytes; they may be fewer or more. */
  readonly change?: (bytes: Buffer, range: CompressedRange) => Buffer;
  /** Throws after so many bytes. */
  readonly failAfter?: number;
  /** Stalls after so many bytes until the signal aborts. */
  readonly stallAfter?: number;
}

export class MemorySource implements RangeSource {
  readonly digest: Digest;
  readonly size: number;
  readonly requests: CompressedRange[] = [];
  bytes = 0;
  /** Requests that were ended before all their bytes had come. */
  cancelled = 0;
  chunkSize = 64 * 1024;
  fault: (request: number, range: CompressedRange) => Fault | undefined = () => undefined;
  /** Requests wait for it before their first byte. */
  gate: Promise<void> | undefined;
  readonly #blob: Buffer;

  constructor(blob: Buffer) {
    this.#blob = blob;
    this.digest = sha256Digest(blob);
    this.size = blob.length;
  }

  async *fetch(range: CompressedRange, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    if (range.start < 0 || range.end > this.size || range.start >= range.end) {
      throw new RangeError(`asked for ${range.start}-${range.end} of ${this.size}`);
    }
    const fault = this.fault(this.requests.length, range) ?? {};
    this.requests.push(range);
    let isDone = false;
    try {
      if (this.gate !== undefined) await orAbort(this.gate, signal);
      const plain = this.#blob.subarray(range.start, range.end);
      const bytes = fault.change?.(Buffer.from(plain), range) ?? plain;
      for (let at = 0; at < bytes.length; ) {
        if (fault.failAfter !== undefined && at >= fault.failAfter) throw new Error('connection reset');
        if (fault.stallAfter !== undefined && at >= fault.stallAfter)
          await orAbort(new Promise(() => {}), signal);
        const limit = Math.min(fault.failAfter ?? bytes.length, fault.stallAfter ?? bytes.length);
        const end = at < limit ? Math.min(at + this.chunkSize, limit) : at + this.chunkSize;
        const chunk = bytes.subarray(at, end);
        at += chunk.length;
        this.bytes += chunk.length;
        await Promise.resolve();
        signal?.throwIfAborted();
        yield chunk;
      }
      isDone = true;
    } finally {
      if (!isDone) this.cancelled += 1;
    }
  }
}

function orAbort(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal?.reason as Error);
    if (signal?.aborted === true) {
      abort();
      return;
    }
    signal?.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject);
  });
}

/** Turns one bit of the byte at `offset` of the blob, where a request holds it. */
export function flipAt(offset: number): Fault {
  return {
    change: (bytes, range) => {
      const at = offset - range.start;
      if (at >= 0 && at < bytes.length) bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
      return bytes;
    },
  };
}
