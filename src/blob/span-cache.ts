/**
 * The cached spans of one layer on disk: one sparse file of uncompressed bytes and a map of what is there.
 * Any number of processes share them without locks: bytes are written before their map entry, so a crash at
 * any point leaves a span that is whole or counts as missing (P12).
 *
 * What comes out of `read` is unverified: the caller compares the sha256 and tells `forget` when it is wrong.
 * Nothing here rejects. Where the disk fails (full, read-only, no descriptors, removed under our feet), spans
 * are missing and are not kept, one warning is logged, and it is tried again after a pause.
 */
import { type FileHandle, lstat, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCodeOf } from '../errors.ts';
import type { Toc } from '../layer/toc.ts';
import { log } from '../log.ts';
import {
  NotOurFile,
  type OpenedFile,
  openOwnFile,
  READ_ONLY,
  READ_WRITE,
  READ_WRITE_CREATE,
  readFully,
  writeFully,
} from '../storage/own-file.ts';
import { prepareFolder, replaceFile } from '../storage/replace-file.ts';
import type { UncompressedRange } from '../units.ts';
import { MAP_FILE, SPANS_FILE } from './cached-layer.ts';
import type { Evictor } from './evict.ts';
import { spanOf } from './plan.ts';
import { decodeNumbers, encodeMapHeader, entryPosition, useNow } from './span-map.ts';

/** After a failure the disk is left alone for so long. */
const PAUSE_MS = 3000;
/** How often it is looked whether the files are still the ones that their names lead to (F44). */
const LOOK_EVERY_MS = 1000;
/** Spans that wait to be written; beyond that the reader waits a little, then they are not kept (F39). */
const MAX_QUEUED_BYTES = 16 * 1024 * 1024;
const MAX_QUEUE_WAIT_MS = 250;
/** A last use that is this old is written anew. */
const TOUCH_AFTER_S = 60;
/** Closing waits so long for spans to be written. */
const CLOSE_WAIT_MS = 10_000;

type Purpose = 'read' | 'write';

interface Files {
  readonly spans: OpenedFile;
  readonly map: OpenedFile;
  readonly writable: boolean;
}

export class SpanCache {
  readonly #directory: string;
  readonly #toc: Pick<Toc, 'digest' | 'spans'>;
  readonly #evictor: Evictor;
  #files: Files | undefined;
  #opening: Promise<Files | undefined> | undefined;
  #lookedMs = 0;
  #noReadUntilMs = Number.NEGATIVE_INFINITY;
  #noWriteUntilMs = Number.NEGATIVE_INFINITY;
  #isFailing = false;
  #state: 'open' | 'closing' | 'closed' = 'open';
  #queuedBytes = 0;
  #writes: Promise<void> = Promise.resolve();
  /** 1 for each span that was verified in this process while it lay on disk; it may have been evicted since. */
  readonly #verified: Uint8Array;
  readonly #watchers: ((span: number) => void)[] = [];

  constructor(directory: string, toc: Pick<Toc, 'digest' | 'spans'>, evictor: Evictor) {
    this.#directory = directory;
    this.#toc = toc;
    this.#evictor = evictor;
    this.#verified = new Uint8Array(toc.spans.length);
  }

  /** Where the bytes and the map lie; neither need exist. */
  get paths(): { readonly spans: string; readonly map: string } {
    return { spans: path.join(this.#directory, SPANS_FILE), map: path.join(this.#directory, MAP_FILE) };
  }

  /** Calls `onVerified` with each span that lies on disk and was verified in this process, so far and from now on. */
  watch(onVerified: (span: number) => void): void {
    this.#watchers.push(onVerified);
    this.#verified.forEach((isVerified, span) => {
      if (isVerified !== 0) onVerified(span);
    });
  }

  /** The bytes that `read` gave have the digest of the span. */
  confirm(span: number): void {
    this.#verified[span] = 1;
    for (const onVerified of this.#watchers) onVerified(span);
  }

  /** Whether somebody watches, and was told of this span. */
  isWatched(span: number): boolean {
    return this.#watchers.length > 0 && this.#verified[span] !== 0;
  }

  /** When each span from `first` to `last` was used last; 0 for those that are not there. */
  async lastUses(first: number, last: number): Promise<Uint32Array> {
    const count = last - first + 1;
    const none = new Uint32Array(count);
    try {
      const files = await this.#open('read');
      if (files === undefined) return none;
      const bytes = Buffer.alloc(4 * count);
      const length = await readFully(files.map.handle, bytes, entryPosition(this.#toc.spans.length, first));
      return decodeNumbers(bytes.subarray(0, length), count);
    } catch (error) {
      this.#suffer(error, 'read');
      return none;
    }
  }

  /** The bytes that lie where the span should be, or undefined where there are too few. */
  async read(span: number): Promise<Buffer | undefined> {
    const { start, end } = spanOf(this.#toc.spans, span);
    try {
      const files = await this.#open('read');
      if (files === undefined) return undefined;
      const bytes = Buffer.allocUnsafeSlow(end - start);
      return (await readFully(files.spans.handle, bytes, start)) === bytes.length ? bytes : undefined;
    } catch (error) {
      this.#suffer(error, 'read');
      return undefined;
    }
  }

  /** Notes that a span with this last use was used again. */
  async touch(span: number, lastUse: number): Promise<void> {
    const now = useNow();
    if (now - lastUse >= TOUCH_AFTER_S || lastUse > now) await this.#writeEntry(span, now);
  }

  /** The bytes of a span were found to be wrong. */
  async forget(span: number): Promise<void> {
    log().debug(
      { layer: this.#toc.digest, span },
      'a cached span was damaged or evicted: it is fetched again',
    );
    this.#verified[span] = 0;
    await this.#writeEntry(span, 0);
  }

  /**
   * Keeps the verified bytes of a span. Written behind the caller's back; resolves at once, or within a
   * quarter of a second where the disk does not keep up.
   */
  async store(span: number, bytes: Buffer): Promise<void> {
    if (this.#state !== 'open' || this.#isPaused('write') || this.#queuedBytes > MAX_QUEUED_BYTES) return;
    this.#queuedBytes += bytes.length;
    this.#writes = this.#writes
      .then(() => this.#write(span, bytes))
      .finally(() => {
        this.#queuedBytes -= bytes.length;
      });
    if (this.#queuedBytes > MAX_QUEUED_BYTES) await withinMs(this.#writes, MAX_QUEUE_WAIT_MS);
  }

  /** Resolves when all that was stored before is written, or was given up. */
  flush(): Promise<void> {
    return this.#writes;
  }

  /** Bytes of `range` (default: the whole layer) in spans that are in the cache. */
  async cachedBytes(range?: UncompressedRange): Promise<number> {
    const { spans } = this.#toc;
    if (spans.length === 0) return 0;
    const from = range?.start ?? 0;
    const to = range?.end ?? Number.POSITIVE_INFINITY;
    const uses = await this.lastUses(0, spans.length - 1);
    return spans.reduce((sum, { start, end }, index) => {
      const overlap = Math.min(end, to) - Math.max(start, from);
      return uses[index] !== 0 && overlap > 0 ? sum + overlap : sum;
    }, 0);
  }

  /** Whether every span is in the cache, so that the layer can be read offline. */
  async isComplete(): Promise<boolean> {
    const { spans } = this.#toc;
    return spans.length === 0 || (await this.lastUses(0, spans.length - 1)).every((lastUse) => lastUse !== 0);
  }

  /** Waits for what is being written, then closes the files. Idempotent. */
  async close(): Promise<void> {
    if (this.#state === 'open') this.#state = 'closing';
    await withinMs(this.#writes, CLOSE_WAIT_MS);
    this.#state = 'closed';
    await this.#opening?.catch(() => {});
    await this.#closeFiles();
  }

  async #write(span: number, bytes: Buffer): Promise<void> {
    if (this.#isPaused('write')) return;
    try {
      if (!(await this.#evictor.makeRoom(bytes.length))) return;
      const files = await this.#open('write');
      if (files === undefined) return;
      if (!files.writable) throw Object.assign(new Error('opened for reading only'), { code: 'EROFS' });
      await writeFully(files.spans.handle, bytes, spanOf(this.#toc.spans, span).start);
      await this.#putEntry(files, span, useNow());
      this.confirm(span);
      if (this.#isFailing) log().info({ layer: this.#toc.digest }, 'the cache can be written again');
      this.#isFailing = false;
    } catch (error) {
      this.#suffer(error, 'write');
    }
  }

  async #writeEntry(span: number, value: number): Promise<void> {
    try {
      const files = await this.#open('read');
      if (files?.writable === true) await this.#putEntry(files, span, value);
    } catch (error) {
      this.#suffer(error, 'write');
    }
  }

  async #putEntry(files: Files, span: number, value: number): Promise<void> {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    await writeFully(files.map.handle, bytes, entryPosition(this.#toc.spans.length, span));
  }

  #isPaused(purpose: Purpose): boolean {
    return performance.now() < (purpose === 'read' ? this.#noReadUntilMs : this.#noWriteUntilMs);
  }

  /** The disk failed: it is left alone for a while. One warning for an outage, however long. */
  #suffer(error: unknown, purpose: Purpose): void {
    const until = performance.now() + PAUSE_MS;
    this.#noWriteUntilMs = until;
    if (purpose === 'read') {
      this.#noReadUntilMs = until;
      // Whatever is wrong may be with these files; they are opened again after the pause.
      void this.#closeFiles();
    }
    if (this.#isFailing) return;
    this.#isFailing = true;
    const errno = systemCodeOf(error) ?? String(error);
    log().warn(
      { layer: this.#toc.digest, directory: this.#directory, err: error },
      `the cache cannot be ${purpose === 'read' ? 'read' : 'written'} (${errno}): going on without it`,
    );
  }

  /** The files, opened where they are not; undefined where there are none (or the disk is left alone). */
  async #open(purpose: Purpose): Promise<Files | undefined> {
    await this.#look();
    while (this.#files === undefined && !this.#isPaused(purpose) && this.#state !== 'closed') {
      const underWay = this.#opening;
      if (underWay !== undefined) {
        // An opening for reading creates nothing: who wants to write then opens anew.
        if ((await underWay) === undefined && purpose === 'read') return undefined;
        continue;
      }
      const opening = this.#openFiles(purpose).finally(() => {
        this.#opening = undefined;
      });
      this.#opening = opening;
      this.#files = await opening;
      this.#lookedMs = performance.now();
      return this.#files;
    }
    return this.#files;
  }

  /** Lets go of files that were removed or replaced under their names. */
  async #look(): Promise<void> {
    const files = this.#files;
    if (files === undefined || performance.now() - this.#lookedMs < LOOK_EVERY_MS) return;
    this.#lookedMs = performance.now();
    const areSame =
      (await isStill(path.join(this.#directory, MAP_FILE), files.map)) &&
      (await isStill(path.join(this.#directory, SPANS_FILE), files.spans));
    if (!areSame && this.#files === files) await this.#closeFiles();
  }

  async #openFiles(purpose: Purpose): Promise<Files | undefined> {
    try {
      return await this.#openOnce(purpose);
    } catch (error) {
      if (error instanceof NotOurFile) {
        // Something else lies in the place of one of the files: both go, and are made anew.
        log().warn({ err: error, layer: this.#toc.digest }, 'a damaged part of the cache was removed');
        await this.#removeFiles();
        return purpose === 'write' ? await this.#openOnce('write') : undefined;
      }
      if (purpose === 'read' && systemCodeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async #openOnce(purpose: Purpose): Promise<Files> {
    if (purpose === 'write') await prepareFolder(this.#directory);
    const map = await this.#openMap(purpose);
    try {
      const access = map.writable ? READ_WRITE_CREATE : READ_ONLY;
      const spans = await openOwnFile(path.join(this.#directory, SPANS_FILE), access);
      return { spans, map: map.file, writable: map.writable };
    } catch (error) {
      await map.file.handle.close();
      throw error;
    }
  }

  async #openMap(purpose: Purpose): Promise<{ file: OpenedFile; writable: boolean }> {
    const name = path.join(this.#directory, MAP_FILE);
    const header = encodeMapHeader(this.#toc.spans);
    let opened: { file: OpenedFile; writable: boolean };
    try {
      opened = await openAsPossible(name);
    } catch (error) {
      if (purpose !== 'write' || systemCodeOf(error) !== 'ENOENT') throw error;
      await this.#createMap(header);
      opened = { file: await openOwnFile(name, READ_WRITE), writable: true };
    }
    const bytes = Buffer.alloc(header.length);
    const length = await readFully(opened.file.handle, bytes, 0).catch(() => 0);
    if (length === header.length && bytes.equals(header)) return opened;
    await opened.file.handle.close();
    throw new NotOurFile(`${name}: not the map of this layer's spans`);
  }

  /** Whole or not at all: another process may open it at any time. */
  async #createMap(header: Buffer): Promise<void> {
    const entries = Buffer.alloc(4 * this.#toc.spans.length);
    const file = await replaceFile(this.#directory, MAP_FILE, [header, entries], { isHint: true });
    await file.close();
  }

  async #removeFiles(): Promise<void> {
    for (const name of [MAP_FILE, SPANS_FILE]) {
      await rm(path.join(this.#directory, name), { recursive: true, force: true });
    }
  }

  async #closeFiles(): Promise<void> {
    const files = this.#files;
    this.#files = undefined;
    // Waits for reads and writes that are under way on them.
    await Promise.all([quietly(files?.map.handle), quietly(files?.spans.handle)]);
  }
}

async function openAsPossible(name: string): Promise<{ file: OpenedFile; writable: boolean }> {
  try {
    return { file: await openOwnFile(name, READ_WRITE), writable: true };
  } catch (error) {
    const code = systemCodeOf(error);
    if (code !== 'EROFS' && code !== 'EACCES' && code !== 'EPERM') throw error;
    return { file: await openOwnFile(name, READ_ONLY), writable: false };
  }
}

async function isStill(name: string, opened: OpenedFile): Promise<boolean> {
  try {
    const found = await lstat(name);
    return found.ino === opened.found.ino && found.dev === opened.found.dev;
  } catch {
    return false;
  }
}

async function quietly(handle: FileHandle | undefined): Promise<void> {
  await handle?.close().catch(() => {});
}

async function withinMs(work: Promise<void>, ms: number): Promise<void> {
  const timer = new AbortController();
  const waiting = delay(ms, undefined, { signal: timer.signal, ref: false }).catch(() => {});
  await Promise.race([work, waiting]);
  timer.abort();
}
