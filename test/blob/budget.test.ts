import { describe, expect, test } from 'vitest';
import { Budget } from '../../src/blob/budget.ts';

const never = new AbortController().signal;

describe('Budget', () => {
  test('who fits goes on, who does not waits until bytes are given back, in order', async () => {
    const budget = new Budget(10);
    const order: string[] = [];
    const first = await budget.acquire(6, never);
    const second = budget.acquire(6, never).then((release) => {
      order.push('second');
      return release;
    });
    // It would fit beside the first, but it came after the second.
    const third = budget.acquire(1, never).then((release) => {
      order.push('third');
      return release;
    });
    await Promise.resolve();
    expect(order).toEqual([]);
    first();
    (await second)();
    (await third)();
    expect(order).toEqual(['second', 'third']);
  });

  test('more than there ever is takes all there is', async () => {
    const budget = new Budget(10);
    const release = await budget.acquire(1000, never);
    release();
    release();
    (await budget.acquire(10, never))();
  });

  test('who gives up while waiting lets the next one through', async () => {
    const budget = new Budget(10);
    const holding = await budget.acquire(5, never);
    const leaving = new AbortController();
    const large = budget.acquire(10, leaving.signal);
    const small = budget.acquire(5, never);
    leaving.abort(new Error('gone'));
    await expect(large).rejects.toThrow('gone');
    (await small)();
    holding();
  });

  describe('ahead of readers', () => {
    const ahead = (): boolean => false;
    /** Settled by now, or still waiting. */
    const isIn = async (work: Promise<unknown>): Promise<boolean> => {
      let isSettled = false;
      void work.then(() => {
        isSettled = true;
      });
      await new Promise((resolve) => setImmediate(resolve));
      return isSettled;
    };

    test('work takes half of it, and four turns, at most', async () => {
      const budget = new Budget(100);
      const bytes = await budget.acquire(40, never, ahead);
      const tooMuch = budget.acquire(11, never, ahead);
      expect(await isIn(tooMuch)).toBe(false);
      bytes();
      (await tooMuch)();
      const small = [1, 2, 3, 4, 5].map(() => budget.acquire(1, never, ahead));
      expect(await Promise.all(small.map(isIn))).toEqual([true, true, true, true, false]);
      for (const one of small) (await one)();
    });

    test('one that is larger than its half goes when it is alone', async () => {
      const budget = new Budget(100);
      (await budget.acquire(1000, never, ahead))();
      expect(await isIn(budget.acquire(100, never))).toBe(true);
    });

    test('who is wanted passes those that came before, and who becomes wanted does too', async () => {
      const budget = new Budget(10);
      const holding = await budget.acquire(10, never);
      const order: string[] = [];
      const enter = (name: string, isWanted: () => boolean): Promise<void> =>
        budget.acquire(5, never, isWanted).then((release) => {
          order.push(name);
          release();
        });
      let isLateWanted = false;
      const all = [
        enter('ahead', ahead),
        enter('ahead, then wanted', () => isLateWanted),
        enter('wanted', () => true),
      ];
      isLateWanted = true;
      budget.reconsider();
      holding();
      await Promise.all(all);
      expect(order).toEqual(['ahead, then wanted', 'wanted', 'ahead']);
    });
  });
});
