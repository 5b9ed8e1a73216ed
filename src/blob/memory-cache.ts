/**
 * Verified spans in memory, least recently used out first, bounded by bytes. One for a process, shared by
 * the readers of all layers.
 */
import { LRUCache } from 'lru-cache';
import type { Digest } from '../units.ts';

const DEFAULT_MEMORY_BYTES = 64 * 1024 * 1024;

export class MemoryCache {
  readonly maxBytes: number;
  readonly #spans: LRUCache<string, Buffer> | undefined;

  /** `maxBytes` 0 keeps nothing. */
  constructor(maxBytes: number = DEFAULT_MEMORY_BYTES) {
    this.maxBytes = maxBytes;
    this.#spans =
      maxBytes > 0
        ? new LRUCache({ maxSize: maxBytes, sizeCalculation: (bytes) => Math.max(1, bytes.length) })
        : undefined;
  }

  /** Whoever gets the bytes must not write into them. */
  read(layer: Digest, span: number): Buffer | undefined {
    return this.#spans?.get(`${layer}/${span}`);
  }

  has(layer: Digest, span: number): boolean {
    return this.#spans?.has(`${layer}/${span}`) ?? false;
  }

  keep(layer: Digest, span: number, bytes: Buffer): void {
    this.#spans?.set(`${layer}/${span}`, bytes);
  }

  get usedBytes(): number {
    return this.#spans?.calculatedSize ?? 0;
  }

  clear(): void {
    this.#spans?.clear();
  }
}
