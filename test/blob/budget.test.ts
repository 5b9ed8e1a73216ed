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
});
