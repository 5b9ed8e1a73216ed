import { setMaxListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { type Flight, SpanFlights } from '../../src/blob/single-flight.ts';
import { PeelError } from '../../src/errors.ts';

const never = new AbortController().signal;
setMaxListeners(0, never);
const bytes = Buffer.from('span');

function flightOf(flights: SpanFlights, span: number): Flight {
  const flight = flights.find(span);
  if (flight === undefined) throw new Error(`span ${span} is not in flight`);
  return flight;
}

describe('SpanFlights', () => {
  test('all who wait for a span get the bytes that came once', async () => {
    const flights = new SpanFlights();
    const job = flights.begin([7]);
    const waits = Array.from({ length: 1000 }, () => flightOf(flights, 7).wait(never));
    job.land(7, bytes);
    expect(await Promise.all(waits)).toEqual(Array.from({ length: 1000 }, () => bytes));
  });

  test('a span that has landed or failed is in flight no more', () => {
    const flights = new SpanFlights();
    const job = flights.begin([1, 2]);
    job.land(1, bytes);
    job.fail(2, new Error('no'));
    expect([flights.find(1), flights.find(2)]).toEqual([undefined, undefined]);
  });

  test('a waiter whose signal aborts leaves at once, the others stay', async () => {
    const flights = new SpanFlights();
    const job = flights.begin([1]);
    const leaving = new AbortController();
    const stays = flightOf(flights, 1).wait(never);
    const leaves = flightOf(flights, 1).wait(leaving.signal);
    leaving.abort(new PeelError('ERR_DEADLINE', 'too late'));
    await expect(leaves).rejects.toMatchObject({ code: 'ERR_DEADLINE' });
    expect(job.signal.aborted).toBe(false);
    job.land(1, bytes);
    expect(await stays).toBe(bytes);
  });

  test('the job is cancelled when the last waiter left', async () => {
    const flights = new SpanFlights();
    const job = flights.begin([1, 2]);
    const first = new AbortController();
    const second = new AbortController();
    const waits = [flightOf(flights, 1).wait(first.signal), flightOf(flights, 2).wait(second.signal)];
    const outcomes = Promise.allSettled(waits);
    first.abort(new Error('gone'));
    expect(job.signal.aborted).toBe(false);
    second.abort(new Error('gone'));
    expect(job.signal.aborted).toBe(true);
    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect([flights.find(1), flights.find(2)]).toEqual([undefined, undefined]);
  });

  test('a job whose waiters were all served goes on: it reads ahead', async () => {
    const flights = new SpanFlights();
    const job = flights.begin([1, 2]);
    const served = flightOf(flights, 1).wait(never);
    job.land(1, bytes);
    await served;
    expect(job.signal.aborted).toBe(false);
    expect(job.isPending(2)).toBe(true);
  });

  test('a span that one job brings is not taken on by another, but may be landed by it', async () => {
    const flights = new SpanFlights();
    const first = flights.begin([5]);
    const second = flights.begin([6]);
    second.adopt(5);
    expect(second.isPending(5)).toBe(false);
    const waiting = flightOf(flights, 5).wait(never);
    flights.land(5, bytes);
    expect(await waiting).toBe(bytes);
    expect(first.isPending(5)).toBe(false);
  });

  test('ending a job fails what has not landed', async () => {
    const flights = new SpanFlights();
    const job = flights.begin([1]);
    const waiting = flightOf(flights, 1).wait(never);
    job.end(new PeelError('ERR_IO', 'no'));
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_IO' });
  });
});
