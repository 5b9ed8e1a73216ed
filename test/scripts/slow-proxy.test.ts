/** The slow line of the benchmarks: every byte arrives, none before it could have. */
import { createHash, randomBytes } from 'node:crypto';
import net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { slowProxy } from '../../scripts/slow-proxy.mjs';

const closers: (() => unknown)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A server that answers every connection with `answer` once it has got a byte. */
async function serverOf(answer: Buffer): Promise<string> {
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () => socket.end(answer));
  });
  closers.push(() => server.close());
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `127.0.0.1:${address.port}`;
}

async function proxyTo(upstream: string, line: { roundTripMs: number; megabits: number }) {
  const proxy = await slowProxy(upstream, line);
  closers.push(() => proxy.close());
  return proxy;
}

function fetchAll(address: string): Promise<{ bytes: Buffer; milliseconds: number }> {
  const [host = '', port = ''] = address.split(':');
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    const socket = net.connect({ host, port: Number(port) }, () => socket.write('x'));
    socket.on('data', (piece) => pieces.push(piece));
    socket.on('error', reject);
    socket.on('end', () =>
      resolve({ bytes: Buffer.concat(pieces), milliseconds: performance.now() - started }),
    );
  });
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

test('bytes arrive whole, in order, and counted', async () => {
  // More than a window, so that the sender has to wait for the line.
  const answer = randomBytes(6 << 20);
  const proxy = await proxyTo(await serverOf(answer), { roundTripMs: 1, megabits: 1000 });
  const { bytes } = await fetchAll(proxy.address);
  expect(sha256(bytes)).toBe(sha256(answer));
  expect(proxy.counts).toEqual({ connections: 1, bytes: answer.length });
  proxy.reset();
  expect(proxy.counts).toEqual({ connections: 0, bytes: 0 });
});

test('nothing arrives before the handshake and a round trip have passed', async () => {
  const proxy = await proxyTo(await serverOf(Buffer.from('y')), { roundTripMs: 60, megabits: 1000 });
  const { milliseconds } = await fetchAll(proxy.address);
  // A bound that physics gives, not one of speed: 60 of handshake, 30 there, 30 back; timers may be 1 ms early.
  expect(milliseconds).toBeGreaterThanOrEqual(120 - 4);
});

test('connections share the line: two at once take as long as their bytes together', async () => {
  const answer = randomBytes(250_000);
  const proxy = await proxyTo(await serverOf(answer), { roundTripMs: 0, megabits: 20 });
  const started = performance.now();
  const both = await Promise.all([fetchAll(proxy.address), fetchAll(proxy.address)]);
  const milliseconds = performance.now() - started;
  for (const { bytes } of both) expect(sha256(bytes)).toBe(sha256(answer));
  // 500,000 bytes at 20 Mbit/s.
  expect(milliseconds).toBeGreaterThanOrEqual(200 - 4);
});

test('a registry that is not there closes the connection', async () => {
  const gone = await serverOf(Buffer.from(''));
  for (const close of closers.splice(0)) close();
  const proxy = await proxyTo(gone, { roundTripMs: 0, megabits: 100 });
  const { bytes } = await fetchAll(proxy.address).catch(() => ({ bytes: Buffer.alloc(0) }));
  expect(bytes.length).toBe(0);
});
