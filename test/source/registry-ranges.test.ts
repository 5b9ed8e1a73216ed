/** Ranges, resets, stalls, retries and redirects, against a server that does as the case says. */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RegistryOptions } from '../../src/source/registry/registry-source.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { compressed } from '../../src/units.ts';
import { failureOf, openBare, readRange } from '../support/registry-reader.ts';
import {
  type RecordedRequest,
  type Reply,
  type ScriptedServer,
  type ServedDescriptor,
  startScriptedServer,
} from '../support/scripted-server.ts';

const BYTES = randomBytes(200_000);
const BLOBS = /\/blobs\//;

let server: ScriptedServer;
let layer: ServedDescriptor;
let sources: ImageSource[];
const others: ScriptedServer[] = [];

beforeEach(async () => {
  server = await startScriptedServer();
  layer = server.addBlob('app', BYTES);
  sources = [];
});
afterEach(async () => {
  await Promise.all(sources.map((source) => source.close()));
  await Promise.all([server, ...others.splice(0)].map((one) => one.close()));
});

function open(options: RegistryOptions = {}, address = server.address): ImageSource {
  const source = openBare(`${address}/app:v1`, options);
  sources.push(source);
  return source;
}

async function another(host = '127.0.0.2'): Promise<ScriptedServer> {
  const one = await startScriptedServer({ host });
  others.push(one);
  return one;
}

const spoil = (
  change: Partial<Reply> | ((reply: Reply, request: RecordedRequest) => Partial<Reply>),
  times = 1,
): void =>
  server.rule({
    path: BLOBS,
    times,
    reply: (request) => {
      const reply = server.content(request);
      return { ...reply, ...(typeof change === 'function' ? change(reply, request) : change) };
    },
  });
const spoilHeaders = (headers: Record<string, string>, rest: Partial<Reply> = {}, times = 99): void =>
  spoil((reply) => ({ headers: { ...reply.headers, ...headers }, ...rest }), times);

describe('ranges', () => {
  test('a part is asked for with one range, identity encoding and no more (E196, E204)', async () => {
    const source = open();
    expect((await readRange(source, layer, 10, 20)).equals(BYTES.subarray(10, 20))).toBe(true);
    const [request] = server.requests;
    expect(request?.headers).toMatchObject({ range: 'bytes=10-19', 'accept-encoding': 'identity' });
    expect(server.requests.length).toBe(1);
    expect(source.stats).toEqual({ requests: 1, bytesFetched: 10 });
  });

  test('the whole is asked for without a range', async () => {
    expect((await readRange(open(), layer)).equals(BYTES)).toBe(true);
    expect(server.requests[0]?.headers['range']).toBeUndefined();
  });

  test('an empty range and an empty blob need no request (E199)', async () => {
    const source = open();
    expect((await readRange(source, layer, 5, 5)).length).toBe(0);
    expect((await readRange(source, { ...layer, size: 0 })).length).toBe(0);
    expect(source.stats.requests).toBe(0);
  });

  test('a range outside the blob is the caller’s mistake', async () => {
    expect(await failureOf(readRange(open(), layer, 0, layer.size + 1))).toBeInstanceOf(RangeError);
  });

  test('the whole blob instead of the part is cut to the part, and ended behind it (F12, E197)', async () => {
    const whole = randomBytes(8 << 20);
    const big = server.addBlob('app', whole);
    server.rule({ path: BLOBS, reply: { body: whole } });
    const source = open();
    expect((await readRange(source, big, 1000, 2000)).equals(whole.subarray(1000, 2000))).toBe(true);
    expect((await readRange(source, big, 100_000, 100_001)).equals(whole.subarray(100_000, 100_001))).toBe(
      true,
    );
    expect(source.stats.bytesFetched).toBeLessThan(whole.length);
  });

  test.each<[string, () => void]>([
    ['another start (E198)', () => spoilHeaders({ 'content-range': 'bytes 11-20/200000' })],
    ['a later end', () => spoilHeaders({ 'content-range': 'bytes 10-20/200000' })],
    ['an earlier end', () => spoilHeaders({ 'content-range': 'bytes 10-18/200000' })],
    ['another size of the blob', () => spoilHeaders({ 'content-range': 'bytes 10-19/200001' })],
    ['no Content-Range', () => spoil((reply) => ({ headers: {}, body: reply.body ?? '' }), 99)],
    ['an unreadable Content-Range', () => spoilHeaders({ 'content-range': 'bytes 10-19' })],
    [
      'two Content-Ranges',
      () =>
        spoil(
          (reply) => ({
            headers: { ...reply.headers, 'content-range': ['bytes 10-19/200000', 'bytes 10-19/200000'] },
          }),
          99,
        ),
    ],
    ['several parts (E201)', () => spoilHeaders({ 'content-type': 'Multipart/byteranges; boundary="x:y"' })],
    ['a gzip encoding (E204)', () => spoilHeaders({ 'content-encoding': 'gzip' })],
    ['two encodings', () => spoilHeaders({ 'content-encoding': 'identity, br' })],
    ['a Content-Length that lies low', () => spoilHeaders({ 'content-length': '9' })],
    ['a Content-Length that lies high', () => spoilHeaders({ 'content-length': '11' })],
    ['a whole blob of another size', () => server.rule({ path: BLOBS, reply: { body: BYTES.subarray(1) } })],
    [
      '416',
      () => server.rule({ path: BLOBS, reply: { status: 416, headers: { 'content-range': 'bytes */5' } } }),
    ],
    ['204', () => server.rule({ path: BLOBS, reply: { status: 204 } })],
    ['201', () => server.rule({ path: BLOBS, reply: { status: 201, body: 'x'.repeat(10) } })],
    ['400', () => server.rule({ path: BLOBS, reply: { status: 400, body: 'no' } })],
  ])('%s is ERR_REGISTRY_RESPONSE before a byte is given (F13)', async (_name, arrange) => {
    arrange();
    const chunks: Uint8Array[] = [];
    const read = async (): Promise<void> => {
      const blob = open().openBlob(layer as Parameters<ImageSource['openBlob']>[0]);
      for await (const chunk of blob.fetch({ start: compressed(10), end: compressed(20) }))
        chunks.push(chunk);
    };
    expect(await failureOf(read())).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(chunks).toEqual([]);
  });

  test('a body without a length that is longer than the range is cut (F13)', async () => {
    spoil({ chunked: true, body: Buffer.concat([BYTES.subarray(10, 20), randomBytes(5000)]) });
    expect((await readRange(open(), layer, 10, 20)).equals(BYTES.subarray(10, 20))).toBe(true);
  });

  test('chunked, HTTP/1.0 and early hints are read (F17)', async () => {
    const source = open();
    spoil({ chunked: true });
    expect((await readRange(source, layer, 0, 5000)).equals(BYTES.subarray(0, 5000))).toBe(true);
    const head = `206 Partial Content\r\nContent-Range: bytes 0-9/${BYTES.length}\r\n`;
    const rest = Buffer.concat([Buffer.from('\r\n'), BYTES.subarray(0, 10)]);
    server.rule({
      path: BLOBS,
      times: 1,
      reply: { raw: Buffer.concat([Buffer.from(`HTTP/1.0 ${head}`), rest]) },
    });
    expect((await readRange(source, layer, 0, 10)).equals(BYTES.subarray(0, 10))).toBe(true);
    const hints = `HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 ${head}Content-Length: 10\r\n`;
    server.rule({ path: BLOBS, times: 1, reply: { raw: Buffer.concat([Buffer.from(hints), rest]) } });
    expect((await readRange(source, layer, 0, 10)).equals(BYTES.subarray(0, 10))).toBe(true);
  });

  test('a connection that the server closed between two requests is no failure (F17)', async () => {
    const source = open();
    for (let round = 0; round < 20; round += 1) {
      spoilHeaders(round % 2 === 0 ? { connection: 'close' } : {}, {}, 1);
      expect(
        (await readRange(source, layer, round, round + 10)).equals(BYTES.subarray(round, round + 10)),
      ).toBe(true);
    }
  });

  test('connections are kept between requests, and at most eight are open', async () => {
    const source = open();
    for (let round = 0; round < 10; round += 1) await readRange(source, layer, 0, 100);
    expect(server.connections).toBeLessThanOrEqual(3); // the first spoke TLS, and a pool may open one early
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning.name);
    process.on('warning', onWarning);
    const { signal } = new AbortController();
    await Promise.all(
      Array.from({ length: 40 }, (_, index) => readRange(source, layer, index, index + 1000, signal)),
    );
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
    expect(server.connections).toBeLessThanOrEqual(1 + 8);
  });
});

describe('broken transfers', () => {
  test.each(Array.from({ length: 30 }, (_, index) => [Math.floor((index / 29) * 99_999)]))(
    'a reset after %i bytes is resumed from the byte that was reached (F5)',
    async (resetAfter) => {
      spoil({ resetAfter });
      const source = open();
      expect((await readRange(source, layer, 50_000, 150_000)).equals(BYTES.subarray(50_000, 150_000))).toBe(
        true,
      );
      // The kernel may drop what it had not handed over when the reset came: resumed, never fetched anew.
      expect(source.stats.bytesFetched).toBe(100_000);
      const ranges = server.requests.map(({ headers }) => headers['range']);
      expect(ranges.length).toBe(2);
      expect(ranges[1]).toMatch(/^bytes=\d+-149999$/);
    },
  );

  test.each([0, 1, 1000, 99_999])(
    'a body that ends after %i bytes is resumed (F6, E203)',
    async (truncateAfter) => {
      spoil({ truncateAfter });
      expect((await readRange(open(), layer, 50_000, 150_000)).equals(BYTES.subarray(50_000, 150_000))).toBe(
        true,
      );
    },
  );

  test('a body without a length that is too short is resumed, never filled up (F6)', async () => {
    spoil((reply) => ({ chunked: true, body: Buffer.from(reply.body ?? '').subarray(0, 700) }));
    expect((await readRange(open(), layer, 0, 5000)).equals(BYTES.subarray(0, 5000))).toBe(true);
  });

  test('a body that always ends too early is an error after five tries (F6)', async () => {
    spoil({ truncateAfter: 0 }, 99);
    const error = await failureOf(readRange(open(), layer, 0, 5000));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNREACHABLE' });
    expect(server.requests.length).toBe(5);
  });

  test('a long transfer survives more resets than a request has tries', async () => {
    const bytes = randomBytes(2 << 20);
    const big = server.addBlob('app', bytes);
    spoil((reply) => ({ ...reply, resetAfter: 150_000 }), 12);
    expect((await readRange(open(), big)).equals(bytes)).toBe(true);
    expect(server.requests.length).toBe(13);
  });

  test('a transfer that stalls is asked for again from the byte that was reached (F4)', async () => {
    spoil({ stallAfter: 30_000 });
    const source = open({ stallMs: 150 });
    expect((await readRange(source, layer, 0, 100_000)).equals(BYTES.subarray(0, 100_000))).toBe(true);
    expect(server.requests[1]?.headers['range']).toBe('bytes=30000-99999');
    expect(source.stats.bytesFetched).toBe(100_000);
  });

  test('a transfer of some bytes a second counts as stalled (F7)', async () => {
    spoil({ drip: { bytes: 1, everyMs: 40 } });
    expect((await readRange(open({ stallMs: 200 }), layer, 0, 5000)).equals(BYTES.subarray(0, 5000))).toBe(
      true,
    );
    expect(server.requests.length).toBe(2);
  });

  test('a reader that pauses does not look like a stall', async () => {
    const blob = open({ stallMs: 100, deadlineMs: 300 }).openBlob(
      layer as Parameters<ImageSource['openBlob']>[0],
    );
    let length = 0;
    for await (const chunk of blob.fetch({ start: compressed(0), end: compressed(layer.size) })) {
      length += chunk.length;
      if (length < 150_000) await new Promise((resolve) => setTimeout(resolve, 150));
    }
    expect(length).toBe(layer.size);
    expect(server.requests.length).toBe(1);
  });

  test('a server that never answers is ERR_DEADLINE', async () => {
    server.rule({ path: BLOBS, reply: { silent: true } });
    expect(await failureOf(readRange(open({ deadlineMs: 300, answerMs: 100 }), layer, 0, 10))).toMatchObject({
      code: 'ERR_DEADLINE',
    });
    expect(server.requests.length).toBeGreaterThan(1);
  });

  test('a server that drips for ever is ended by the deadline', async () => {
    spoil({ drip: { bytes: 1, everyMs: 20 } }, 99);
    expect(await failureOf(readRange(open({ deadlineMs: 400, stallMs: 100 }), layer, 0, 5000))).toMatchObject(
      {
        code: expect.stringMatching(/ERR_DEADLINE|ERR_REGISTRY_UNREACHABLE/) as string,
      },
    );
  });

  test('ending the iteration early ends the request', async () => {
    const bytes = randomBytes(16 << 20);
    const big = server.addBlob('app', bytes);
    const source = open();
    const blob = source.openBlob(big as Parameters<ImageSource['openBlob']>[0]);
    for await (const _chunk of blob.fetch({ start: compressed(0), end: compressed(bytes.length) })) break;
    expect(source.stats.bytesFetched).toBeLessThan(bytes.length / 4);
    expect((await readRange(source, layer, 0, 10)).equals(BYTES.subarray(0, 10))).toBe(true);
  });

  test('an abort ends a request that waits, with ERR_INTERRUPTED', async () => {
    server.rule({ path: BLOBS, reply: { silent: true } });
    const controller = new AbortController();
    const failure = failureOf(readRange(open(), layer, 0, 10, controller.signal));
    await expect.poll(() => server.requests.length).toBe(1);
    controller.abort();
    expect(await failure).toMatchObject({ code: 'ERR_INTERRUPTED' });
  });

  test('a closed source ends what runs, and refuses what comes', async () => {
    server.rule({ path: BLOBS, reply: { silent: true } });
    const source = open();
    const failure = failureOf(readRange(source, layer, 0, 10));
    await expect.poll(() => server.requests.length).toBe(1);
    await source.close();
    await source.close();
    expect(await failure).toBeInstanceOf(Error);
    expect(await failureOf(readRange(source, layer, 0, 10))).toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(server.requests.length).toBe(1);
  });
});

describe('retries', () => {
  test.each([408, 429, 500, 502, 503, 504])('status %i is tried again (F8, E211, E212)', async (status) => {
    server.rule({ path: BLOBS, times: 3, reply: { status, body: 'busy' } });
    expect((await readRange(open(), layer, 0, 10)).equals(BYTES.subarray(0, 10))).toBe(true);
    expect(server.requests.length).toBe(4);
  });

  test.each([429, 500, 503])(
    'status %i for ever is an error after five tries, with what was said',
    async (status) => {
      const body = JSON.stringify({ errors: [{ code: 'TOOMANYREQUESTS', message: 'slow down' }] });
      server.rule({ path: BLOBS, reply: { status, body } });
      const error = await failureOf(readRange(open(), layer, 0, 10));
      expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE', facts: { status } });
      expect(error.message).toContain('TOOMANYREQUESTS: slow down');
      expect(server.requests.length).toBe(5);
    },
  );

  test.each([501, 505, 404, 405, 410])('status %i is not tried again', async (status) => {
    server.rule({ path: BLOBS, reply: { status } });
    await failureOf(readRange(open(), layer, 0, 10));
    expect(server.requests.length).toBe(1);
  });

  test.each([
    ['garbage', 'soon'],
    ['a date in the past', 'Wed, 31 Dec 2025 00:00:00 GMT'],
    ['nothing', '0'],
  ])('Retry-After of %s is tried again at once', async (_name, value) => {
    server.rule({ path: BLOBS, times: 2, reply: { status: 429, headers: { 'retry-after': value } } });
    await readRange(open(), layer, 0, 10);
    expect(server.requests.length).toBe(3);
  });

  test('Retry-After is waited for, up to a limit', async () => {
    server.rule({ path: BLOBS, times: 1, reply: { status: 429, headers: { 'retry-after': '1000000000' } } });
    const began = performance.now();
    await readRange(open({ maxRetryAfterMs: 120 }), layer, 0, 10);
    expect(performance.now() - began).toBeGreaterThan(110);
  });

  test('a wait that would pass the deadline is not begun', async () => {
    server.rule({ path: BLOBS, reply: { status: 429, headers: { 'retry-after': '1000000000' } } });
    expect(await failureOf(readRange(open({ deadlineMs: 5000 }), layer, 0, 10))).toMatchObject({
      code: 'ERR_REGISTRY_RESPONSE',
      facts: { status: 429 },
    });
    expect(server.requests.length).toBe(1);
  });

  test('a connection that is reset before the answer is tried again', async () => {
    server.rule({ path: BLOBS, times: 2, reply: { raw: '' } });
    expect((await readRange(open(), layer, 0, 10)).equals(BYTES.subarray(0, 10))).toBe(true);
  });
});

describe('redirects', () => {
  const REDIRECT = [301, 302, 303, 307, 308];

  test.each(REDIRECT)('status %i is followed with the range, and remembered (E205)', async (status) => {
    const storage = await another('127.0.0.1');
    storage.rule({
      reply: (request) => ({ ...server.content({ ...request, path: `/v2/app/blobs/${layer.digest}` }) }),
    });
    server.rule({ path: BLOBS, reply: { status, headers: { location: `${storage.origin}/x?sig=1#frag` } } });
    const source = open();
    for (let round = 0; round < 3; round += 1) {
      expect((await readRange(source, layer, 7, 17)).equals(BYTES.subarray(7, 17))).toBe(true);
    }
    expect(storage.requests.map(({ url, headers }) => [url, headers['range']])).toEqual(
      Array.from({ length: 3 }, () => ['/x?sig=1', 'bytes=7-16']),
    );
    expect(server.requests.length).toBe(1);
  });

  test('a relative Location, with a query, is resolved (E208)', async () => {
    server.rule({ path: BLOBS, times: 1, reply: { status: 307, headers: { location: '../../other?a=b' } } });
    server.rule({
      path: '/v2/other',
      reply: (request) => ({ ...server.content({ ...request, path: `/v2/app/blobs/${layer.digest}` }) }),
    });
    expect((await readRange(open(), layer, 7, 17)).equals(BYTES.subarray(7, 17))).toBe(true);
  });

  test.each([
    [5, true],
    [6, false],
  ])('%i redirects: followed %s', async (hops, isFollowed) => {
    server.rule({ path: BLOBS, times: 1, reply: { status: 307, headers: { location: '/hop/1' } } });
    server.rule({
      path: /^\/hop\//,
      reply: (request) => {
        const hop = Number(request.path.split('/').at(-1));
        return hop < hops
          ? { status: 307, headers: { location: `/hop/${hop + 1}` } }
          : server.content({ ...request, path: `/v2/app/blobs/${layer.digest}` });
      },
    });
    const got = await readRange(open(), layer, 0, 10).catch((error: unknown) => error);
    if (isFollowed) {
      expect(BYTES.subarray(0, 10).equals(got as Buffer)).toBe(true);
    } else {
      expect(got).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    }
  });

  test.each<[string, string | undefined]>([
    ['no Location', undefined],
    ['an empty one', ''],
    ['no URL', 'http://[x'],
    ['a file', 'file:///etc/passwd'],
    ['javascript', 'javascript:alert(1)'],
    ['credentials', 'http://user:pass@127.0.0.1/'],
  ])('a Location with %s is ERR_REGISTRY_RESPONSE', async (_name, location) => {
    server.rule({ path: BLOBS, reply: { status: 307, headers: location === undefined ? {} : { location } } });
    expect(await failureOf(readRange(open(), layer, 0, 10))).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(server.requests.length).toBe(1);
  });

  test.each([400, 401, 403, 404, 410])(
    'a stored redirect that answers %i is asked for again once (F10, E206)',
    async (status) => {
      const storage = await another('127.0.0.1');
      let signature = 0;
      server.rule({
        path: BLOBS,
        reply: () => {
          signature += 1;
          return { status: 307, headers: { location: `${storage.origin}/x?sig=${signature}` } };
        },
      });
      storage.rule({
        reply: (request) =>
          request.url === `/x?sig=${signature}` && signature % 2 === 1 && storage.requests.length % 10 !== 0
            ? server.content({ ...request, path: `/v2/app/blobs/${layer.digest}` })
            : signature % 2 === 1
              ? { status }
              : server.content({ ...request, path: `/v2/app/blobs/${layer.digest}` }),
      });
      const source = open();
      for (let round = 0; round < 30; round += 1) {
        expect(
          (await readRange(source, layer, round, round + 10)).equals(BYTES.subarray(round, round + 10)),
        ).toBe(true);
      }
      expect(signature).toBeGreaterThan(1);
      expect(signature).toBeLessThan(5);
    },
  );

  test('a redirect target that always refuses is asked twice', async () => {
    const storage = await another('127.0.0.1');
    storage.rule({ reply: { status: 403, body: '<Error>AccessDenied</Error>' } });
    server.rule({
      path: BLOBS,
      reply: { status: 307, headers: { location: `${storage.origin}/x?sig=hidden` } },
    });
    const error = await failureOf(readRange(open(), layer, 0, 10));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE', facts: { status: 403 } });
    expect(error.message).toContain('AccessDenied');
    expect(error.message).not.toContain('hidden');
    expect(storage.requests.length).toBe(2);
  });
});
