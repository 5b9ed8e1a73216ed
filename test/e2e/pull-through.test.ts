/**
 * A pull-through cache as mirror: docker-registry in proxy mode, named in hosts.toml. What the nodes take from the
 * mirror and what the mirror takes from its upstream is counted by proxies in front of each.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { countingProxy } from '../../scripts/counting-proxy.mjs';
import { madeBytes } from '../blob/made-toc.ts';
import { chunkedLayer } from '../support/chunked-layer.ts';
import { member, writeLayout } from '../support/image-layout.ts';
import { hasRegistry, startRegistry, type TestRegistry } from '../support/registry.ts';
import { PeelUser } from '../support/run-peel.ts';

/** Nobody answers there: all that is known of it is in hosts.toml. */
const REGISTRY = 'registry.example.test';
const LARGE = madeBytes(6_000_000, 7);
const SMALL = Buffer.from('a small file at the end\n');
const MEMBERS = [
  member('data', { type: 'dir' }),
  member('data/large', { content: LARGE }),
  member('data/small', { content: SMALL }),
];

describe.skipIf(!hasRegistry())('a pull-through cache as mirror', () => {
  let upstream: TestRegistry;
  let mirror: TestRegistry;
  let toUpstream: Awaited<ReturnType<typeof countingProxy>>;
  let toMirror: Awaited<ReturnType<typeof countingProxy>>;
  const users: PeelUser[] = [];
  let layerBytes = 0;
  let layerPath = '';
  let pushed: PeelUser;

  beforeAll(async () => {
    pushed = new PeelUser();
    upstream = await startRegistry();
  });
  afterAll(async () => {
    pushed.close();
    await upstream.close();
  });

  /** A mirror that has nothing yet. */
  beforeEach(async () => {
    toUpstream = await countingProxy(upstream.address);
    mirror = await startRegistry({ cacheOf: `http://${toUpstream.address}` });
    toMirror = await countingProxy(mirror.address);
  });
  afterEach(async () => {
    for (const user of users.splice(0)) user.close();
    toMirror.close();
    await mirror.close();
    toUpstream.close();
  });

  async function push(repository: string, layer: Parameters<typeof writeLayout>[1]['layers'][0]) {
    const folder = path.join(pushed.work, repository);
    const [stored] = writeLayout(folder, { layers: [layer] }).layers;
    await upstream.pushLayout(repository, 'v1', `oci:${folder}`);
    layerBytes = stored?.size ?? 0;
    layerPath = `/v2/${repository}/blobs/${stored?.digest}`;
    return `${REGISTRY}/${repository}:v1`;
  }

  /** A machine that has nothing yet and was told of the mirror. */
  function node(): PeelUser {
    const user = new PeelUser();
    users.push(user);
    const folder = path.join(user.home, 'config/peel/certs.d', REGISTRY);
    mkdirSync(folder, { recursive: true });
    const hosts = [
      `server = "${upstream.origin}"`,
      `[host."http://${toMirror.address}"]`,
      '  capabilities = ["pull", "resolve"]',
    ];
    writeFileSync(path.join(folder, 'hosts.toml'), `${hosts.join('\n')}\n`);
    return user;
  }

  async function out(user: PeelUser, ...args: string[]): Promise<Buffer> {
    const { status, stdout, stderr } = await user.run(args);
    expect([status, stderr]).toEqual([0, '']);
    return stdout;
  }

  /** It stores what it passes on, behind the first who asks. */
  async function untilMirrored(): Promise<void> {
    const range = async (): Promise<number> => {
      const answer = await fetch(`${mirror.origin}${layerPath}`, { headers: { range: 'bytes=0-0' } });
      await answer.arrayBuffer();
      return answer.status;
    };
    await expect.poll(range, { timeout: 10_000, interval: 100 }).toBe(206);
    toUpstream.reset();
    toMirror.reset();
  }

  test('fetches a layer for the first node, and for no other node again', async () => {
    const image = await push('plain', MEMBERS);
    expect(await out(node(), 'cat', image, '/data/small')).toEqual(SMALL);
    expect(toMirror.counts.blobBytes).toBeGreaterThan(layerBytes);
    expect(toMirror.counts.blobBytes).toBeLessThan(layerBytes * 1.1);
    // This cache asks once for whoever asks first, and once for its store.
    expect(toUpstream.counts.blobBytes).toBeLessThan(layerBytes * 2.1);
    await untilMirrored();

    expect((await out(node(), 'cat', image, '/data/large')).equals(LARGE)).toBe(true);
    expect(toMirror.counts.blobBytes).toBeGreaterThan(layerBytes);
    expect(toUpstream.counts.blobBytes).toBe(0);
  });

  test('answers ranges: a layer that is indexed costs the spans that are read', async () => {
    const image = await push('ranges', MEMBERS);
    const user = node();
    await out(user, 'ls', image, '/data');
    await untilMirrored();
    await out(user, 'cache', 'prune', '--content');
    expect(await out(user, 'cat', image, '/data/small')).toEqual(SMALL);
    expect(toMirror.counts.blobBytes).toBeGreaterThan(0);
    expect(toMirror.counts.blobBytes).toBeLessThan(layerBytes / 5);
    expect(toUpstream.counts.blobBytes).toBe(0);
  });

  test('makes layers that bring an index lazy from the second node on; the first says why not', async () => {
    const image = await push('chunked', chunkedLayer(MEMBERS, { format: 'estargz' }));
    const first = await node().run(['cat', image, '/data/small']);
    expect([first.status, first.stdout]).toEqual([0, SMALL]);
    expect(first.stderr).toMatch(/ignores Range/);
    await untilMirrored();

    expect(await out(node(), 'cat', image, '/data/small')).toEqual(SMALL);
    expect(toMirror.counts.blobBytes).toBeGreaterThan(0);
    expect(toMirror.counts.blobBytes).toBeLessThan(layerBytes / 5);
    expect(toUpstream.counts.blobBytes).toBe(0);
  });

  test('that is gone is passed over: the registry itself answers', async () => {
    const image = await push('gone', MEMBERS);
    await mirror.stop();
    expect(await out(node(), 'cat', image, '/data/small')).toEqual(SMALL);
    expect(toMirror.counts.blobBytes).toBe(0);
  });
});
