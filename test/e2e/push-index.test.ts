/** `peel index push`: against a real registry of each kind, and what a scripted one must be asked. */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { madeBytes } from '../blob/made-toc.ts';
import { sha256Digest } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { hasRegistry, startRegistry } from '../support/registry.ts';
import { PeelUser } from '../support/run-peel.ts';
import {
  type RecordedRequest,
  type ScriptedServer,
  startScriptedServer,
} from '../support/scripted-server.ts';
import { serveImage } from '../support/served-image.ts';
import { writeTar } from '../support/tar-bytes.ts';

const INDEX = 'application/vnd.oci.image.index.v1+json';
const MEMBERS = [
  member('etc', { type: 'dir' }),
  member('etc/small', { content: Buffer.from('hello\n') }),
  member('etc/big', { content: Buffer.from(madeBytes(1_000_000, 9).toString('hex')) }),
];
const blob = gzipSync(Buffer.from(writeTar(MEMBERS).bytes));

let maker: PeelUser;
let user: PeelUser;
beforeEach(() => {
  maker = new PeelUser();
  user = new PeelUser();
});
afterEach(() => {
  maker.close();
  user.close();
});

async function out(as: PeelUser, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await as.run(args);
  expect([status, stderr]).toEqual([0, '']);
  return stdout.toString('latin1').trim();
}

describe.skipIf(!hasRegistry())('an index pushed to a registry', () => {
  test.each(['none', 'htpasswd', 'token'] as const)(
    'E220: with auth %s, is what the next machine reads by',
    async (auth) => {
      const registry = await startRegistry({ auth });
      try {
        await registry.pushImage('app', 'latest', [blob]);
        const image = `${registry.address}/app`;
        const login = ['--authfile', registry.authfile];
        const pin = await out(maker, 'index', 'push', ...login, image);
        // Again: all of it is there, and the tags name it once.
        expect(await out(maker, 'index', 'push', ...login, image)).toBe(pin);
        const pinned = [...login, '--index-digest', pin, image];
        expect(await out(user, 'cat', ...pinned, '/etc/small')).toBe('hello');
        expect(JSON.parse(await out(user, 'layers', '--format', 'jsonl', ...pinned))).toMatchObject({
          verificationClass: 'C',
        });
        // P4: nobody named it, so it is only read by where the user says so.
        const another = [...login, image];
        const classOf = async (...args: string[]): Promise<unknown> =>
          (
            JSON.parse(await out(user, 'layers', '--format', 'jsonl', ...args)) as {
              verificationClass: string;
            }
          ).verificationClass;
        expect(await classOf(...another)).toBe('A');
        expect(await classOf('--allow-unverified', ...another)).toBe('D');
        const { stdout, stderr } = await maker.run([
          'cat',
          '--cache-dir',
          join(maker.work, 'c'),
          '--allow-unverified',
          ...another,
          '/etc/small',
        ]);
        expect(stdout.toString()).toBe('hello\n');
        expect(stderr).toMatch(/by an index that nothing verifies, as --allow-unverified says/);
        // E218: this registry has no referrers API, so the tag of the layer names the artifact.
        const tag = sha256Digest(blob).replace(':', '-');
        expect(await out(user, 'tags', ...login, image)).toContain(tag);
      } finally {
        await registry.close();
      }
    },
  );
});

describe.skipIf(!hasRegistry())('an index pushed to another repository', () => {
  const requestsOf = (stderr: string): string[] =>
    stderr
      .split('\n')
      .filter((line) => line.includes('"msg":"request"'))
      .map((line) => JSON.parse(line) as { method: string; path: string; status: number })
      .map(
        ({ method, path, status }) => `${method} ${path.replace(/[0-9a-f-]{36}|sha256:\w+/, '*')} ${status}`,
      );

  test('E221: of the same registry is mounted there, and read by where the image was copied to', async () => {
    const registry = await startRegistry({ auth: 'token' });
    try {
      await registry.pushImage('app', 'latest', [blob]);
      await registry.pushImage('copies/app', 'latest', [blob]);
      const login = ['--authfile', registry.authfile];
      const image = `${registry.address}/app`;
      const copy = `${registry.address}/copies/app`;
      const pin = await out(maker, 'index', 'push', ...login, image);
      const args = ['index', 'push', '--log-level', 'debug', ...login, '--to', copy, image];
      const { status, stdout, stderr } = await maker.run(args);
      expect([status, stdout.toString().trim()]).toEqual([0, pin]);
      // The empty config, the TOC and the windows.
      expect(requestsOf(stderr).filter((each) => each.startsWith('POST') && !each.endsWith('401'))).toEqual(
        Array(3).fill('POST /v2/copies/app/blobs/uploads/ 201'),
      );
      expect(requestsOf(stderr).filter((each) => each.startsWith('PUT /v2/copies/app/blobs'))).toEqual([]);
      expect(await out(user, 'cat', ...login, '--index-digest', pin, copy, '/etc/small')).toBe('hello');
    } finally {
      await registry.close();
    }
  });

  test('E221: of the same registry that never had it is uploaded', async () => {
    const registry = await startRegistry();
    try {
      await registry.pushImage('app', 'latest', [blob]);
      const image = `${registry.address}/app`;
      const indexes = `${registry.address}/indexes/app`;
      const pin = await out(maker, 'index', 'push', '--to', indexes, image);
      expect(await out(user, 'index', 'import', `docker://${indexes}@${pin}`)).toBe(pin);
      expect(await out(user, 'cat', '--index-digest', pin, image, '/etc/small')).toBe('hello');
    } finally {
      await registry.close();
    }
  });

  test('of another registry is uploaded with the credentials of that one', async () => {
    const [from, to] = await Promise.all([startRegistry(), startRegistry({ auth: 'htpasswd' })]);
    try {
      await from.pushImage('app', 'latest', [blob]);
      const args = ['--authfile', to.authfile, '--to', `${to.address}/app`, `${from.address}/app`];
      const pin = await out(maker, 'index', 'push', ...args);
      const imported = ['--authfile', to.authfile, `docker://${to.address}/app@${pin}`];
      expect(await out(user, 'index', 'import', ...imported)).toBe(pin);
    } finally {
      await Promise.all([from.close(), to.close()]);
    }
  });
});

describe('pushing an index', () => {
  let server: ScriptedServer;
  beforeEach(async () => {
    server = await startScriptedServer();
    serveImage(server, 'app', [blob]);
  });
  afterEach(() => server.close());

  /** Takes what is put; `subject`: with a referrers API. */
  function takeAll(hasReferrers: boolean): void {
    server.rule({
      method: 'POST',
      path: '/v2/app/blobs/uploads/',
      reply: { status: 202, headers: { location: '/up/1?state=x' } },
    });
    server.rule({ method: 'PUT', path: '/up/1', reply: { status: 201 } });
    server.rule({
      method: 'PUT',
      path: /^\/v2\/app\/manifests\//,
      reply: (request) => takeManifest(request, hasReferrers),
    });
  }

  function takeManifest(
    { path, body, headers }: RecordedRequest,
    hasReferrers: boolean,
  ): { status: number; headers: Record<string, string> } {
    const { subject } = JSON.parse(body) as { subject?: { digest: string } };
    const tag = path.replace('/v2/app/manifests/', '');
    server.addManifest('app', tag, Buffer.from(body), headers['content-type'] ?? '');
    const isTold = hasReferrers && subject !== undefined;
    return { status: 201, headers: isTold ? { 'oci-subject': subject.digest } : {} };
  }

  const writes = (): string[] =>
    server.requests
      .filter(({ method }) => !['GET', 'HEAD'].includes(method))
      .map(({ method, path }) => `${method} ${path}`);

  test('E218: where the registry keeps referrers, no tag is written', async () => {
    takeAll(true);
    await out(maker, 'index', 'push', `${server.address}/app`);
    expect(writes().filter((each) => each.includes('manifests/sha256-'))).toEqual([]);
    expect(writes().filter((each) => each.startsWith('PUT /v2/app/manifests/sha256:')).length).toBe(2);
    // The state of the upload stays beside the digest.
    const put = server.requests.find(({ path }) => path === '/up/1');
    expect([put?.query.get('state'), put?.query.get('digest')?.startsWith('sha256:')]).toEqual(['x', true]);
  });

  test('E218: is found by the list of referrers, page after page, filtered here where the registry does not', async () => {
    takeAll(true);
    const image = `${server.address}/app`;
    const pin = await out(maker, 'index', 'push', image);
    const list =
      server.requests.findLast(({ method, path: put }) => method === 'PUT' && put.endsWith(pin))?.body ?? '';
    const { subject } = JSON.parse(list) as { subject: { digest: string } };
    const other = { mediaType: 'application/x', digest: sha256Digest('other'), size: 5, artifactType: 'a/b' };
    const ours = {
      mediaType: INDEX,
      digest: pin,
      size: list.length,
      artifactType: 'application/vnd.peel.image-index.v1',
    };
    const at = `/v2/app/referrers/${subject.digest}`;
    server.rule({
      path: at,
      reply: ({ query }) => ({
        headers: {
          'content-type': INDEX,
          ...(query.has('last') ? {} : { link: `<${at}?last=1>; rel="next"` }),
        },
        body: JSON.stringify({
          schemaVersion: 2,
          mediaType: INDEX,
          manifests: [query.has('last') ? ours : other],
        }),
      }),
    });
    const { stdout } = await user.run(['layers', '--format', 'jsonl', '--allow-unverified', image]);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      verificationClass: 'D',
      lazyBy: 'restart points (index of peel)',
    });
  });

  test('E218: else the tag of the subject gets it added to what others put there', async () => {
    takeAll(false);
    const tag = sha256Digest(blob).replace(':', '-');
    const other = { mediaType: 'application/x', digest: sha256Digest('other'), size: 5, artifactType: 'a/b' };
    const before = { schemaVersion: 2, mediaType: INDEX, manifests: [other], annotations: { of: 'others' } };
    server.addManifest('app', tag, Buffer.from(JSON.stringify(before)), INDEX);
    await out(maker, 'index', 'push', `${server.address}/app`);
    const put = server.requests.findLast(({ method, path }) => method === 'PUT' && path.endsWith(tag));
    const written = JSON.parse(put?.body ?? '{}') as typeof before;
    expect(written.annotations).toEqual({ of: 'others' });
    expect(written.manifests.map(({ artifactType }) => artifactType)).toEqual([
      'a/b',
      'application/vnd.peel.layer-index.v1',
    ]);
  });

  test('E218: a tag that lists a thousand others gets ours added to them, whatever they are', async () => {
    takeAll(false);
    const tag = sha256Digest(blob).replace(':', '-');
    const others = Array.from({ length: 1000 }, (_, at) => ({
      mediaType: 'x/y',
      digest: `sha512:${at}`,
      odd: null,
    }));
    const before = { schemaVersion: 2, mediaType: INDEX, manifests: others };
    server.addManifest('app', tag, Buffer.from(JSON.stringify(before)), INDEX);
    await out(maker, 'index', 'push', `${server.address}/app`);
    const put = server.requests.findLast(({ method, path }) => method === 'PUT' && path.endsWith(tag));
    const { manifests } = JSON.parse(put?.body ?? '{}') as typeof before;
    expect([manifests.slice(0, 1000), manifests.length]).toEqual([others, 1001]);
  });

  test.each([
    ['is no index', Buffer.from('{"schemaVersion":2,"config":{}}'), /is no image index; it is left as it is/],
    ['is no JSON', Buffer.from('tag'), /is no image index; it is left as it is/],
    ['is too long', Buffer.alloc(5 * 1024 * 1024, ' '), /longer than 4194304 bytes/],
  ])('E218: a tag of the subject that %s is not written over', async (_, bytes, why) => {
    takeAll(false);
    const tag = sha256Digest(blob).replace(':', '-');
    server.addManifest('app', tag, bytes, INDEX);
    const { status, stderr } = await maker.run(['index', 'push', `${server.address}/app`]);
    expect([status === 0, stderr]).toEqual([false, expect.stringMatching(why)]);
    expect(writes().filter((each) => each.endsWith(tag))).toEqual([]);
  });

  test('E218: a tag that somebody else wrote meanwhile is read and written again', async () => {
    const tag = sha256Digest(blob).replace(':', '-');
    server.rule({ method: 'PUT', path: `/v2/app/manifests/${tag}`, times: 1, reply: { status: 412 } });
    takeAll(false);
    await out(maker, 'index', 'push', `${server.address}/app`);
    expect(writes().filter((each) => each.endsWith(tag)).length).toBe(2);
  });

  test('E220: an upload that is refused is cancelled, and the error names it', async () => {
    server.rule({
      method: 'POST',
      path: '/v2/app/blobs/uploads/',
      reply: { status: 202, headers: { location: '/up/1' } },
    });
    server.rule({ method: 'PUT', path: '/up/1', reply: { status: 400 } });
    server.rule({ method: 'DELETE', path: '/up/1', reply: { status: 204 } });
    const { status, stderr } = await maker.run(['index', 'push', `${server.address}/app`]);
    expect(status).toBe(5);
    expect(stderr).toMatch(/push of blob sha256:.* answered with status 400/);
    expect(writes().at(-1)).toBe('DELETE /up/1');
  });

  test('E220: an upload that SIGINT ends is cancelled', async () => {
    let running: ChildProcess | undefined;
    server.rule({
      method: 'POST',
      path: '/v2/app/blobs/uploads/',
      reply: { status: 202, headers: { location: '/up/1' } },
    });
    server.rule({
      method: 'PUT',
      path: '/up/1',
      reply: () => {
        running?.kill('SIGINT');
        return { silent: true };
      },
    });
    server.rule({ method: 'DELETE', path: '/up/1', reply: { status: 204 } });
    const onStart = (child: ChildProcess): void => {
      running = child;
    };
    const { status } = await maker.run(['index', 'push', `${server.address}/app`], { onStart });
    expect(status).toBe(130);
    expect(writes().at(-1)).toBe('DELETE /up/1');
  });

  test.each(['app:latest', `app@${sha256Digest('x')}`, 'oci:folder', './folder'])(
    'to what is no repository is refused: --to %s',
    async (to) => {
      const { status, stderr } = await maker.run(['index', 'push', '--to', to, `${server.address}/app`]);
      expect(status).toBe(2);
      expect(stderr).toMatch(/name a repository of a registry, without tag and digest/);
      expect(server.requests).toEqual([]);
    },
  );
});
