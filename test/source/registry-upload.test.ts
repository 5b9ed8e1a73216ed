/** Uploads of blobs: as a whole, in pieces, gone on with, cancelled. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/reference/digest.ts';
import { parseRegistryReference } from '../../src/reference/registry-reference.ts';
import type { RegistryOptions } from '../../src/source/registry/options.ts';
import { Pusher } from '../../src/source/registry/push.ts';
import { madeBytes } from '../blob/made-toc.ts';
import { hasRegistry, startRegistry } from '../support/registry.ts';
import { failureOf } from '../support/registry-reader.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { hostUploads } from '../support/upload-host.ts';

const MIB = 1024 * 1024;
const ASKS_FOR_PIECES = { begun: { 'oci-chunk-min-length': '1000' } };
/** The connection ends without an answer. */
const BROKEN = { raw: '' };
/** Readable, since the scripted server keeps bodies as text. */
const small = Buffer.from(madeBytes(50_000).toString('hex'));
const large = Buffer.from(madeBytes(4.5 * MIB, 2).toString('hex'));

let server: ScriptedServer;
let pushers: Pusher[] = [];
beforeEach(async () => {
  server = await startScriptedServer();
});
afterEach(async () => {
  await Promise.all(pushers.map((pusher) => pusher.close()));
  pushers = [];
  await server.close();
});

interface Push {
  readonly address?: string;
  readonly options?: RegistryOptions;
  readonly signal?: AbortSignal;
  readonly mountFrom?: string;
}

async function push(bytes: Buffer, { address, options, signal, mountFrom }: Push = {}): Promise<void> {
  const reference = parseRegistryReference(`${address ?? server.address}/team/app`);
  const bare = { env: {}, certsDir: '/nonexistent', backoffMs: 1, deadlineMs: 20_000 };
  const pusher = new Pusher(reference, { ...bare, ...options }, signal, mountFrom);
  pushers.push(pusher);
  const descriptor = { mediaType: 'application/octet-stream', digest: digestOf(bytes), size: bytes.length };
  await pusher.pushBlob({ descriptor, bytes });
}

/** Takes the first `slowBytes` of a body in pieces with `everyMs` between them. */
async function startSlowTaker(
  slowBytes: number,
  everyMs: number,
): Promise<{ address: string; taken: () => number; close: () => Promise<unknown> }> {
  let taken = 0;
  const taker = createServer((request, response) => {
    void (async () => {
      if (request.method === 'POST') response.writeHead(202, { location: '/upload' });
      if (request.method === 'HEAD') response.writeHead(404);
      if (request.method === 'PUT') {
        for await (const chunk of request) {
          taken += (chunk as Buffer).length;
          if (taken < slowBytes) await new Promise((resolve) => setTimeout(resolve, everyMs));
        }
        response.writeHead(201);
      }
      response.end();
    })().catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => taker.listen(0, '127.0.0.1', resolve));
  const { port } = taker.address() as AddressInfo;
  const close = (): Promise<unknown> => {
    taker.closeAllConnections();
    return new Promise((resolve) => taker.close(resolve));
  };
  return { address: `127.0.0.1:${port}`, taken: () => taken, close };
}

const asStored = (bytes: Buffer): object[] => [{ digest: digestOf(bytes), body: bytes.toString() }];

describe('a blob as a whole', () => {
  test.each([
    ['relative', undefined],
    ['absolute', (state: number) => `${server.origin}/v2/team/app/blobs/uploads/u?_state=${state}&a=b%2Fc`],
    ['relative to the request', (state: number) => `u?_state=${state}`],
  ])('E220: goes where the answer says, with its query beside the digest: %s', async (_, locationOf) => {
    const host = hostUploads(server, 'team/app', locationOf === undefined ? {} : { locationOf });
    await push(large);
    expect(host.stored).toEqual(asStored(large));
    expect(host.log()).toEqual(['POST', `PUT ${large.length}`]);
  });

  test('E220: that is there already is not sent', async () => {
    const host = hostUploads(server, 'team/app');
    server.addBlob('team/app', small);
    await push(small);
    expect(host.log()).toEqual([]);
  });

  test.each([
    [405, small, [100_000]],
    [413, small, [65_536, 34_464]],
    [501, large, [4 * MIB, 4 * MIB, MIB]],
  ])('E220: that is refused with %i goes in pieces, of the same upload', async (status, bytes, pieces) => {
    server.rule({ method: 'PUT', times: 1, reply: { status } });
    const host = hostUploads(server, 'team/app');
    await push(bytes);
    expect(host.stored).toEqual(asStored(bytes));
    const patches = pieces.map((length) => `PATCH ${length}`);
    expect(host.log()).toEqual(['POST', `PUT ${bytes.length}`, 'GET', ...patches, 'PUT']);
  });

  test('E220: of which the registry kept a part when the connection broke goes on from there', async () => {
    server.rule({
      method: 'PUT',
      times: 1,
      reply: ({ body }) => {
        host.kept = body.slice(0, 70_000);
        return BROKEN;
      },
    });
    const host = hostUploads(server, 'team/app');
    await push(small);
    expect(host.stored).toEqual(asStored(small));
    expect(host.log()).toEqual(['POST', 'PUT 100000', 'GET', 'PATCH 30000', 'PUT']);
  });

  test('E220: that takes longer than the time for an answer is sent on as long as it is taken', async () => {
    const long = Buffer.alloc(32 * MIB, 'a');
    const slow = await startSlowTaker(20 * MIB, 10);
    try {
      await push(long, {
        address: slow.address,
        options: { answerMs: 2_000, deadlineMs: 2_000, backoffMs: 0 },
      });
      expect(slow.taken()).toBe(long.length);
    } finally {
      await slow.close();
    }
  });
});

describe('a blob in pieces', () => {
  test('E220: is what the registry asks for with OCI-Chunk-Min-Length', async () => {
    const host = hostUploads(server, 'team/app', ASKS_FOR_PIECES);
    await push(large);
    expect(host.stored).toEqual(asStored(large));
    expect(host.log()).toEqual(['POST', `PATCH ${4 * MIB}`, `PATCH ${4 * MIB}`, `PATCH ${MIB}`, 'PUT']);
    expect(server.requests.find(({ method }) => method === 'PATCH')?.headers).toMatchObject({
      'content-range': `0-${4 * MIB - 1}`,
      'content-type': 'application/octet-stream',
      'content-length': `${4 * MIB}`,
    });
  });

  test('E220: has pieces no shorter than the registry wants them', async () => {
    const host = hostUploads(server, 'team/app', { begun: { 'oci-chunk-min-length': `${5 * MIB}` } });
    await push(large);
    expect(host.log()).toEqual(['POST', `PATCH ${5 * MIB}`, `PATCH ${4 * MIB}`, 'PUT']);
  });

  test('E220: of which one was out of order (416) goes on from what the registry has', async () => {
    let patches = 0;
    server.rule({
      method: 'PATCH',
      when: () => {
        patches += 1;
        // It loses the end of the first one.
        if (patches === 2) host.kept = host.kept.slice(0, MIB);
        return false;
      },
      reply: {},
    });
    const host = hostUploads(server, 'team/app', ASKS_FOR_PIECES);
    await push(large);
    expect(host.stored).toEqual(asStored(large));
    const piece = `PATCH ${4 * MIB}`;
    expect(host.log()).toEqual(['POST', piece, piece, 'GET', piece, piece, 'PUT']);
  });

  test.each([
    ['the connection broke', BROKEN],
    ['the registry was busy', { status: 429, headers: { 'retry-after': '0' } }],
    ['the registry was down', { status: 503 }],
  ])('E220: goes on where %s', async (_, reply) => {
    server.rule({ method: 'PATCH', times: 1, reply });
    const host = hostUploads(server, 'team/app', ASKS_FOR_PIECES);
    await push(small);
    expect(host.stored).toEqual(asStored(small));
    expect(host.log()).toEqual(['POST', 'PATCH 100000', 'GET', 'PATCH 100000', 'PUT']);
  });

  test('E220: begins anew where the upload is gone', async () => {
    server.rule({ method: 'PATCH', times: 1, reply: { status: 416 } });
    server.rule({ method: 'GET', path: /uploads/, times: 1, reply: { status: 404 } });
    const host = hostUploads(server, 'team/app', ASKS_FOR_PIECES);
    await push(small);
    expect(host.stored).toEqual(asStored(small));
    expect(host.log()).toEqual(['POST', 'PATCH 100000', 'GET', 'DELETE', 'POST', 'PATCH 100000', 'PUT']);
  });

  test('E220: of which a proxy takes shorter ones alone becomes shorter', async () => {
    const isLong = ({ body }: { body: string }): boolean => body.length > MIB;
    server.rule({ when: isLong, reply: { status: 413 } });
    const host = hostUploads(server, 'team/app');
    await push(large);
    expect(host.stored).toEqual(asStored(large));
    expect(host.log().slice(0, 6)).toEqual([
      'POST',
      `PUT ${9 * MIB}`,
      'GET',
      `PATCH ${2.25 * MIB}`,
      'GET',
      `PATCH ${0.5625 * MIB}`,
    ]);
  });

  test('E220: ends with an error where the registry forgets again and again', async () => {
    const forgetful = hostUploads(server, 'team/app', ASKS_FOR_PIECES);
    Object.defineProperty(forgetful, 'kept', { get: () => '', set: () => {} });
    const error = await failureOf(push(large));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect([forgetful.log().length < 20, forgetful.log().at(-1)]).toEqual([true, 'DELETE']);
  });

  test.each(['0-99999999', '0-200000'])('E220: more than was sent is no answer: Range %s', async (range) => {
    server.rule({ method: 'PATCH', reply: { status: 202, headers: { location: '/v2/x', range } } });
    hostUploads(server, 'team/app', ASKS_FOR_PIECES);
    expect((await failureOf(push(small))).message).toMatch(/has \d+ bytes of the 100000 that were sent/);
  });
});

describe('an upload that fails', () => {
  test('E220: is cancelled, and the first error is the one that is told', async () => {
    server.rule({ method: 'PUT', reply: { status: 400, body: '{"errors":[{"code":"DIGEST_INVALID"}]}' } });
    server.rule({ method: 'DELETE', reply: { status: 500 } });
    const host = hostUploads(server, 'team/app');
    expect((await failureOf(push(small))).message).toMatch(
      /push of blob sha256:.* status 400.*DIGEST_INVALID/,
    );
    expect(host.log().slice(0, 3)).toEqual(['POST', 'PUT 100000', 'DELETE']);
  });

  test('E220: is cancelled also when it is interrupted', async () => {
    const interrupting = new AbortController();
    server.rule({
      method: 'PUT',
      reply: () => {
        interrupting.abort();
        return { silent: true };
      },
    });
    const host = hostUploads(server, 'team/app');
    const error = await failureOf(push(small, { signal: interrupting.signal }));
    expect(error).toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(host.log()).toEqual(['POST', 'PUT 100000', 'DELETE']);
  });

  test('E220: a Location that leads nowhere is an error', async () => {
    server.rule({ method: 'POST', reply: { status: 202, headers: { location: 'ftp://x/' } } });
    expect((await failureOf(push(small))).message).toMatch(/no usable Location/);
  });

  test('E220: a Location on another host gets the blob, and no credentials', async () => {
    const other = await startScriptedServer();
    try {
      const auth = Buffer.from('user:secret').toString('base64');
      server.rule({
        when: ({ headers }) => headers['authorization'] === undefined,
        reply: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
      });
      const host = hostUploads(other, 'team/app');
      const location = `${other.origin}/v2/team/app/blobs/uploads/u?_state=0`;
      server.rule({ method: 'POST', reply: { status: 202, headers: { location } } });
      const env = { DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { [server.address]: { auth } } }) };
      await push(small, { options: { env } });
      expect(host.stored).toEqual(asStored(small));
      expect(other.requests.map(({ headers }) => headers['authorization'])).toEqual([undefined]);
    } finally {
      await other.close();
    }
  });
});

describe('a blob that another repository has', () => {
  const mounts = (): string[] =>
    server.requests.filter(({ query }) => query.has('mount')).map(({ url }) => url);

  test('E221: is mounted, and nothing is sent', async () => {
    server.rule({ when: ({ query }) => query.has('mount'), reply: { status: 201 } });
    const host = hostUploads(server, 'team/app');
    await push(small, { mountFrom: 'team/other' });
    expect(mounts()).toEqual([`/v2/team/app/blobs/uploads/?mount=${digestOf(small)}&from=team/other`]);
    expect([host.log(), host.stored]).toEqual([['POST'], []]);
  });

  test('E221: is sent by the upload that the registry began in place of a mount (202)', async () => {
    const host = hostUploads(server, 'team/app');
    await push(small, { mountFrom: 'team/other' });
    expect(host.stored).toEqual(asStored(small));
    expect([mounts().length, host.log()]).toEqual([1, ['POST', 'PUT 100000']]);
  });

  test.each([401, 403, 404, 500])('E221: is sent where the mount is refused with %i', async (status) => {
    server.rule({ when: ({ query }) => query.has('mount'), reply: { status } });
    const host = hostUploads(server, 'team/app');
    await push(small, { mountFrom: 'team/other' });
    expect(host.stored).toEqual(asStored(small));
  });

  test('E221: is sent with a token of its own where none is given that reads the other one', async () => {
    server.rule({
      path: '/token',
      reply: ({ query }) =>
        query.getAll('scope').includes('repository:team/other:pull')
          ? { status: 403 }
          : { body: JSON.stringify({ token: query.getAll('scope').join(' ') }) },
    });
    server.rule({
      path: /^\/v2\//,
      when: ({ headers }) => headers['authorization'] === undefined,
      reply: { status: 401, headers: { 'www-authenticate': `Bearer realm="${server.origin}/token"` } },
    });
    const host = hostUploads(server, 'team/app');
    await push(small, { mountFrom: 'team/other' });
    expect(host.stored).toEqual(asStored(small));
    const put = server.requests.find(({ method }) => method === 'PUT');
    expect(put?.headers['authorization']).toBe('Bearer repository:team/app:pull,push');
  });
});

describe.skipIf(!hasRegistry())("with Debian's registry", () => {
  test('E220: a blob that goes in pieces is the one that it has then', async () => {
    const registry = await startRegistry();
    try {
      // It asks for no pieces by itself: what begins an upload goes through a server that does.
      server.rule({ method: 'HEAD', reply: { status: 404 } });
      server.rule({
        method: 'POST',
        reply: async ({ url }) => {
          const begun = await fetch(`${registry.origin}${url}`, { method: 'POST' });
          const location = begun.headers.get('location') ?? '';
          return { status: begun.status, headers: { location, ...ASKS_FOR_PIECES.begun } };
        },
      });
      await push(large);
      const got = await fetch(`${registry.origin}/v2/team/app/blobs/${digestOf(large)}`);
      expect(digestOf(Buffer.from(await got.arrayBuffer()))).toBe(digestOf(large));
      expect(server.requests.map(({ method }) => method)).toEqual(['HEAD', 'POST']);
    } finally {
      await registry.close();
    }
  });
});
