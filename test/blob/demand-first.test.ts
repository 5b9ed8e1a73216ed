/**
 * A reader's miss is asked of the registry before what is read ahead for another: through the registry client, against
 * a registry that counts requests and holds their answers. Spans of 256 KiB, one a request, of a tar that is not packed.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LayerReader } from '../../src/blob/layer-reader.ts';
import { MemoryCache } from '../../src/blob/memory-cache.ts';
import type { Descriptor } from '../../src/reference/descriptor.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { uncompressed } from '../../src/units.ts';
import { openBare } from '../support/registry-reader.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { type MadeLayer, madeLayer } from './made-layer.ts';

const SPAN = 256 * 1024;
const AHEAD_SPANS = 12;
/** Of what is read ahead, this many requests are made at once: half the connections to one registry. */
const AHEAD_REQUESTS = 4;

let layer: MadeLayer;
let server: ScriptedServer;
let source: ImageSource;
let reader: LayerReader;
let release: () => void;

beforeEach(async () => {
  layer = await madeLayer('none', 24 * SPAN);
  server = await startScriptedServer();
  const blob = server.addBlob('app', layer.blob) as Descriptor;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  server.rule({
    path: /\/blobs\//,
    reply: async (request) => {
      await released;
      return server.content(request);
    },
  });
  source = openBare(`${server.address}/app:v1`);
  reader = new LayerReader({
    stored: layer.index,
    source: source.openBlob(blob),
    cache: undefined,
    memory: new MemoryCache(64 * SPAN),
    limits: { maxRequestBytes: SPAN, maxReadaheadBytes: AHEAD_SPANS * SPAN },
  });
});
afterEach(async () => {
  release();
  await reader.close();
  await source.close();
  await server.close();
});

/** The spans that were asked for, in the order in which the registry saw them. */
const asked = (): number[] =>
  server.requests
    .filter(({ path }) => path.includes('/blobs/'))
    .map(({ headers }) => Number(/^bytes=(\d+)-/.exec(headers['range'] ?? '')?.[1]) / SPAN);

const readSpan = (span: number, willReadTo?: number): Promise<Buffer> =>
  reader.read(
    { start: uncompressed(span * SPAN), end: uncompressed((span + 1) * SPAN) },
    undefined,
    willReadTo === undefined ? undefined : uncompressed(willReadTo * SPAN),
  );

/** A reader of span 0 says that it will go on: it waits for that one, what follows is read ahead as far as may be. */
async function startAhead(): Promise<{ first: Promise<Buffer> }> {
  const first = readSpan(0, 24);
  await expect.poll(() => asked().toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4]);
  expect(asked()).toHaveLength(1 + AHEAD_REQUESTS);
  return { first };
}

function expectBytes(bytes: Buffer, span: number): void {
  expect(bytes.equals(layer.tar.subarray(span * SPAN, (span + 1) * SPAN))).toBe(true);
}

test('while read-ahead is in flight and queued, the miss of another reader is sent first', async () => {
  const { first } = await startAhead();
  const miss = readSpan(20);
  await expect.poll(asked).toHaveLength(6);
  expect(asked()[5]).toBe(20);
  release();
  expectBytes(await miss, 20);
  expectBytes(await first, 0);
  // All of the rest comes after it, and nothing twice.
  await expect.poll(asked).toHaveLength(2 + AHEAD_SPANS);
  expect(new Set(asked()).size).toBe(2 + AHEAD_SPANS);
});

test('what is queued as read-ahead is sent first once a reader wants it', async () => {
  const { first } = await startAhead();
  const wanted = readSpan(11);
  await expect.poll(asked).toHaveLength(6);
  expect(asked()[5]).toBe(11);
  release();
  expectBytes(await wanted, 11);
  expectBytes(await first, 0);
});

test('readers who wait have all connections to themselves but those that read-ahead has', async () => {
  const { first } = await startAhead();
  const misses = [20, 22, 18].map((span) => readSpan(span));
  await expect.poll(asked).toHaveLength(8);
  expect(
    asked()
      .slice(5)
      .toSorted((a, b) => a - b),
  ).toEqual([18, 20, 22]);
  release();
  await Promise.all([first, ...misses]);
});
