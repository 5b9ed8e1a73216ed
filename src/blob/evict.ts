/**
 * Keeps the cache below its size (P13): spans and backing files least recently used anywhere go first, by punching
 * holes and by removing; when that is not enough, whole layers (their TOCs) go, oldest first.
 *
 * A span's map entry is cleared before its bytes go. A reader that saw the entry just before reads zeros,
 * finds that their sha256 is wrong, and fetches the span again: eviction needs no lock against readers (F43).
 *
 *   write ─► makeRoom(bytes) ─► headroom left? ── yes ─► go on
 *                                    └─ no ─► measure all layers, evict down to 95 % ─► go on, or skip the write
 */
import { rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { log } from '../log.ts';
import { punchHole } from '../native/system-calls.ts';
import { makeFolders } from '../storage/make-folders.ts';
import { openOwnFile, READ_WRITE, writeFully } from '../storage/own-file.ts';
import {
  type CachedLayer,
  listCachedLayers,
  listCachedTrees,
  loadMap,
  MAP_FILE,
  SPANS_FILE,
} from './cached-layer.ts';
import { tryEvictLock } from './evict-lock.ts';
import { entryPosition, type SpanMap } from './span-map.ts';

/** Evicting down to this share of the limit lets writers go on for a while before the next time. */
const LOW_WATER = 0.95;
const MAX_SPARE_BYTES = 512 * 1024 * 1024;
/** Others write at the same time and measure for themselves: nobody takes more than this part of the room at once, */
const PROCESSES = 16;
/** nor more than this. */
const MAX_UNMEASURED_BYTES = 64 * 1024 * 1024;
/** Another process evicts, or nothing can be freed: writes are skipped for so long. */
const RETRY_AFTER_MS = 1000;
const TELL_EVERY_MS = 60_000;
/** A backing file of more than this part of the cache would push out the very spans that it is made from. */
const MAX_BACKING_SHARE = 1 / 4;
/** What file systems allocate in. */
const PAGE_BYTES = 4096;

export interface EvictionLimits {
  /** Bytes on disk. */
  readonly maxSize: number;
  /** Share of the file system that stays free: 0 to 1. */
  readonly minFreeShare: number;
}

export class Evictor {
  readonly #versionDir: string;
  readonly #limits: EvictionLimits;
  /** Bytes that may be written before the next measurement. */
  #headroom = 0;
  #skipUntilMs = Number.NEGATIVE_INFINITY;
  #toldMs = Number.NEGATIVE_INFINITY;
  #running: Promise<number> | undefined;

  constructor(versionDir: string, limits: EvictionLimits) {
    this.#versionDir = versionDir;
    this.#limits = limits;
  }

  /** Before each write to the cache: false where there is no room to be had, and the write is better left out. */
  async makeRoom(bytes: number): Promise<boolean> {
    // Twice: the eviction that was under way may have made room for somebody else's smaller write.
    for (let attempt = 0; attempt < 2 && this.#headroom < bytes; attempt += 1) {
      if (performance.now() < this.#skipUntilMs) return false;
      await this.evict(bytes);
    }
    if (this.#headroom < bytes) {
      this.#skipUntilMs = performance.now() + RETRY_AFTER_MS;
      this.#tellNowAndThen();
      return false;
    }
    this.#headroom -= bytes;
    return true;
  }

  /** Whether a backing file of so many bytes is to be made at all. */
  isWorth(backingBytes: number): boolean {
    return backingBytes <= this.#limits.maxSize * MAX_BACKING_SHARE;
  }

  /** A cache far below its load becomes full again and again: one warning a minute is enough. */
  #tellNowAndThen(): void {
    const now = performance.now();
    if (now - this.#toldMs < TELL_EVERY_MS) return;
    this.#toldMs = now;
    log().warn(
      { directory: this.#versionDir, ...this.#limits },
      'the cache has no room, by its limits or that of the disk: going on without it',
    );
  }

  /** Measures the cache and brings it below its limits, with room for `atLeast`; bytes freed. One at a time; never rejects. */
  evict(atLeast = 0): Promise<number> {
    this.#running ??= this.#evict(atLeast)
      .catch((error: unknown) => {
        log().debug({ err: error }, 'the cache could not be brought below its limits');
        this.#headroom = 0;
        return 0;
      })
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  async close(): Promise<void> {
    await this.#running;
  }

  async #evict(atLeast: number): Promise<number> {
    const spare = Math.min(this.#limits.maxSize * (1 - LOW_WATER), MAX_SPARE_BYTES);
    const wanted = Math.max(spare, atLeast);
    const layers = await listCachedLayers(this.#versionDir);
    let room = await this.#room(layers);
    let freed = 0;
    if (room.bySize < wanted || room.byDisk < atLeast) {
      const release = await tryEvictLock(this.#versionDir);
      if (release !== undefined) {
        try {
          freed = await evictContentOf(layers, Math.max(wanted - room.bySize, atLeast - room.byDisk));
          // A disk that others filled is no reason to throw indexes away: only the cache's own size is.
          if (freed < wanted - room.bySize)
            freed += await evictIndexes(this.#versionDir, wanted - room.bySize - freed);
        } finally {
          await release();
        }
        room = await this.#room(await listCachedLayers(this.#versionDir));
      }
    }
    const all = Math.max(0, Math.min(room.bySize, room.byDisk));
    const share = Math.min(all / PROCESSES, MAX_UNMEASURED_BYTES);
    this.#headroom = Math.min(all, Math.max(share, atLeast));
    return freed;
  }

  /** Bytes that may be added by each limit; negative where there is too much already. */
  async #room(layers: readonly CachedLayer[]): Promise<{ bySize: number; byDisk: number }> {
    const trees = await listCachedTrees(this.#versionDir);
    const used =
      layers.reduce((sum, layer) => sum + layer.totalBytes, 0) +
      trees.reduce((sum, tree) => sum + tree.bytes, 0);
    // The cache may have been removed while we run (F44); it is made anew.
    await makeFolders(this.#versionDir);
    const disk = await statfs(this.#versionDir);
    const keepFree = disk.blocks * disk.bsize * this.#limits.minFreeShare;
    return { bySize: this.#limits.maxSize - used, byDisk: disk.bavail * disk.bsize - keepFree };
  }
}

interface Victim {
  readonly layer: number;
  /** A span by its number, a backing file by its name. */
  readonly what: number | string;
  readonly bytes: number;
  readonly lastUse: number;
}

/**
 * Evicts spans and backing files, least recently used first, until `wanted` bytes are free or none is left; bytes
 * freed. A file that is open somewhere takes its room until it is closed.
 */
export async function evictContentOf(layers: readonly CachedLayer[], wanted: number): Promise<number> {
  const maps = await Promise.all(layers.map((layer) => loadMap(layer.directory)));
  const victims: Victim[] = [];
  maps.forEach((map, layer) => {
    map?.lastUse.forEach((lastUse, span) => {
      if (lastUse !== 0) victims.push({ layer, what: span, bytes: map.lengths[span] ?? 0, lastUse });
    });
  });
  layers.forEach(({ backingFiles }, layer) => {
    for (const { name, bytes, lastUse } of backingFiles) victims.push({ layer, what: name, bytes, lastUse });
  });
  victims.sort((a, b) => a.lastUse - b.lastUse);

  let freed = 0;
  const chosen = new Map<number, number[]>();
  for (const { layer, what, bytes } of victims) {
    if (freed >= wanted) break;
    freed += bytes;
    if (typeof what === 'string') {
      await rm(path.join(layers[layer]?.directory ?? '', what), { force: true });
      continue;
    }
    const spans = chosen.get(layer);
    if (spans === undefined) chosen.set(layer, [what]);
    else spans.push(what);
  }
  for (const [index, spans] of chosen) {
    const layer = layers[index];
    const map = maps[index];
    if (layer === undefined || map === undefined) continue;
    try {
      await evictSpans(layer, map, spans);
    } catch (error) {
      log().debug(
        { err: error, layer: layer.digest },
        'spans could not be evicted one by one: all of them go',
      );
      await rm(path.join(layer.directory, MAP_FILE), { recursive: true, force: true });
      await rm(path.join(layer.directory, SPANS_FILE), { recursive: true, force: true });
    }
  }
  return freed;
}

/**
 * Removes trees, then whole layers, the oldest first, until `wanted` bytes are free or none is left; bytes freed.
 * A tree costs a merge to make again, the TOC of a layer a download.
 */
export async function evictIndexes(versionDir: string, wanted: number): Promise<number> {
  let freed = 0;
  for (const tree of (await listCachedTrees(versionDir)).sort(byAge)) {
    if (freed >= wanted) return freed;
    freed += tree.bytes;
    await rm(tree.file, { force: true });
  }
  for (const layer of (await listCachedLayers(versionDir)).sort(byAge)) {
    if (freed >= wanted) return freed;
    freed += layer.totalBytes;
    await rm(layer.directory, { recursive: true, force: true });
  }
  return freed;
}

function byAge(a: { readonly modifiedMs: number }, b: { readonly modifiedMs: number }): number {
  return a.modifiedMs - b.modifiedMs;
}

/** Clears the entries, then punches out the bytes, of these spans of one layer. */
async function evictSpans(layer: CachedLayer, map: SpanMap, spans: number[]): Promise<void> {
  spans.sort((a, b) => a - b);
  const none = Buffer.alloc(4);
  const { handle: mapFile } = await openOwnFile(path.join(layer.directory, MAP_FILE), READ_WRITE);
  try {
    for (const span of spans) {
      await writeFully(mapFile, none, entryPosition(map.lengths.length, span));
      map.lastUse[span] = 0;
    }
  } finally {
    await mapFile.close();
  }
  const { handle: spansFile } = await openOwnFile(path.join(layer.directory, SPANS_FILE), READ_WRITE);
  try {
    for (const { start, end } of freeRanges(map, new Set(spans))) {
      if (!punchHole(spansFile.fd, start, end - start)) {
        // A file system without holes: all of the layer's spans go.
        await rm(path.join(layer.directory, MAP_FILE), { force: true });
        await spansFile.truncate(0);
        return;
      }
    }
  } finally {
    await spansFile.close();
  }
}

/**
 * The byte ranges of `evicted` spans, neighbours joined, widened to whole pages where the span beside is not
 * there either: else the page that two evicted spans share would stay allocated for ever.
 */
function freeRanges(map: SpanMap, evicted: ReadonlySet<number>): { start: number; end: number }[] {
  const ranges: { start: number; end: number }[] = [];
  let start = 0;
  map.lengths.forEach((length, span) => {
    const end = start + length;
    if (evicted.has(span)) {
      const last = ranges.at(-1);
      const isBeforeFree = span > 0 && map.lastUse[span - 1] === 0;
      const isAfterFree = map.lastUse[span + 1] === 0 || span + 1 === map.lengths.length;
      const from = isBeforeFree ? Math.floor(start / PAGE_BYTES) * PAGE_BYTES : start;
      const to = isAfterFree ? Math.ceil(end / PAGE_BYTES) * PAGE_BYTES : end;
      if (last !== undefined && from <= last.end) last.end = to;
      else ranges.push({ start: from, end: to });
    }
    start = end;
  });
  return ranges;
}
