/** Work in the background rests while somebody reads, and does not starve. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { Demand } from '../../src/image/demand.ts';
import { parseDigest } from '../../src/reference/digest.ts';
import { compressed } from '../../src/units.ts';
import { sha256Digest } from '../support/digests.ts';

const RANGE = { start: compressed(0), end: compressed(3) };

/** A blob of three bytes that come one by one. */
function source() {
  const bytes = Buffer.from('abc');
  return {
    digest: parseDigest(sha256Digest(bytes)),
    size: bytes.length,
    async *fetch() {
      yield* [bytes.subarray(0, 1), bytes.subarray(1, 2), bytes.subarray(2)];
    },
  };
}

/** How much has come of it. */
function reading(demand: Demand, signal?: AbortSignal) {
  const state = { text: '', done: Promise.resolve() };
  state.done = (async () => {
    for await (const chunk of demand.yielding(source()).fetch(RANGE, signal)) state.text += chunk.toString();
  })();
  return state;
}

test('a blob in the background comes as long as nobody reads, and goes on when the last reader is done (F24)', async () => {
  const demand = new Demand();
  const free = reading(demand);
  await free.done;
  expect(free.text).toBe('abc');
  const readers = [0, 1].map(() => {
    let end = (): void => {};
    const done = demand.during(() => new Promise<void>((resolve) => (end = resolve)));
    return { end: () => end(), done };
  });
  const waiting = reading(demand);
  await sleep(20);
  readers[0]?.end();
  await sleep(20);
  expect(waiting.text).toBe('');
  readers[1]?.end();
  await waiting.done;
  expect(waiting.text).toBe('abc');
  await Promise.all(readers.map(({ done }) => done));
});

test('a reader that fails is done, too', async () => {
  const demand = new Demand();
  await expect(demand.during(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  const after = reading(demand);
  await after.done;
  expect(after.text).toBe('abc');
});

test('below readers without end it comes all the same, a piece every two seconds', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const demand = new Demand();
    void demand.during(() => new Promise(() => {}));
    const slow = reading(demand);
    for (const text of ['', 'a', 'ab', 'abc']) {
      expect(slow.text).toBe(text);
      await vi.advanceTimersByTimeAsync(2000);
    }
    await slow.done;
  } finally {
    vi.useRealTimers();
  }
});
