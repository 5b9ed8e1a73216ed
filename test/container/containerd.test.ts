/**
 * Containers of a real containerd (Debian's 1.6) with runc over `peel snapshotter`. What the registry gave is counted
 * by a proxy between.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { countingProxy } from '../../scripts/counting-proxy.mjs';
import { Containerd, toolsLayer, whyNoContainerd } from '../support/containerd.ts';
import { sha256Hex } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { mountTable, type RunResult, whyNoMounts } from '../support/mount-child.ts';
import { hasRegistry, startRegistry, type TestRegistry } from '../support/registry.ts';
import { closeSnapshotters, SnapshotterServer } from '../support/snapshotter-server.ts';
import { type Member, writeTar } from '../support/tar-bytes.ts';

const skipped =
  whyNoMounts() ?? whyNoContainerd() ?? (hasRegistry() ? undefined : 'docker-registry is not installed');

const BIG = randomBytes(3_000_000);
const UNUSED = randomBytes(4_000_000);
const layerOf = (...members: readonly Member[]): Buffer => gzipSync(writeTar(members).bytes);

describe.skipIf(skipped !== undefined)(`containerd${skipped === undefined ? '' : `: ${skipped}`}`, () => {
  let registry: TestRegistry;
  let proxy: Awaited<ReturnType<typeof countingProxy>>;
  let server: SnapshotterServer;
  let containerd: Containerd;
  let app: string;
  let layers: Buffer[];

  beforeAll(async () => {
    registry = await startRegistry();
    layers = [
      toolsLayer(),
      layerOf(member('old', { content: Buffer.from('old\n') }), member('big', { content: BIG })),
      layerOf(
        member('.wh.old', { content: Buffer.alloc(0) }),
        member('greeting', { content: Buffer.from('hello from the top\n') }),
        member('unused', { content: UNUSED }),
      ),
    ];
    await registry.pushImage('app', '1', layers);
    proxy = await countingProxy(registry.address);
    app = `${proxy.address}/app:1`;
    server = new SnapshotterServer();
    await server.start();
    containerd = new Containerd(`${server.home}/containerd`, server.address);
    await containerd.start();
  });
  afterAll(async () => {
    await containerd.close();
    await closeSnapshotters();
    proxy.close();
    await registry.close();
  });

  const mountsOfPeel = (): number =>
    mountTable()
      .split('\n')
      .filter((line) => line.includes(` ${server.root}/`)).length;

  test('an image is run whose layers were not pulled', async () => {
    expect(await containerd.rpull(app)).toMatchObject({ status: 0 });
    const { stdout } = await containerd.ctr('content', 'ls', '-q');
    for (const layer of layers) expect(stdout).not.toContain(sha256Hex(layer));
    expect(await containerd.run(app, 'a', '/bin/cat', '/greeting')).toMatchObject({
      stdout: 'hello from the top\n',
      status: 0,
    });
    const sum = await containerd.run(app, 'b', '/bin/sh', '-c', '/usr/bin/sha256sum < /big; /bin/ls /old');
    expect(sum.stdout).toContain(sha256Hex(BIG));
    expect(sum.stderr).toContain('No such file');
    expect(sum.status).not.toBe(0);
    expect(mountsOfPeel()).toBe(1);
  });

  test('a container writes into its own layer, which goes with it', async () => {
    const script = 'echo mine > /greeting && cat /greeting';
    expect(await containerd.run(app, 'c', '/bin/sh', '-c', script)).toMatchObject({ stdout: 'mine\n' });
    expect(await containerd.run(app, 'd', '/bin/cat', '/greeting')).toMatchObject({
      stdout: 'hello from the top\n',
    });
  });

  test('L10 20 containers in parallel read the bytes of one', async () => {
    proxy.reset();
    const runs = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        containerd.run(app, `p${index}`, '/usr/bin/sha256sum', '/big'),
      ),
    );
    for (const { stdout } of runs) expect(stdout).toBe(`${sha256Hex(BIG)}  /big\n`);
    // It was indexed by the first test, and read.
    expect(proxy.counts.blobBytes).toBe(0);
    expect(mountsOfPeel()).toBe(1);
  });

  test('another namespace uses the same layers', async () => {
    proxy.reset();
    expect(await containerd.rpull(app, 'other')).toMatchObject({ status: 0 });
    const args = [
      'run',
      '--rm',
      '--snapshotter',
      'peel',
      app,
      containerd.container('o'),
      '/bin/cat',
      '/greeting',
    ];
    expect(await containerd.ctr('-n', 'other', ...args)).toMatchObject({ stdout: 'hello from the top\n' });
    expect(proxy.counts.blobBytes).toBeLessThan(2000); // the config, which containerd keeps itself
    await containerd.ctr('-n', 'other', 'images', 'rm', '--sync', app);
    expect(await containerd.run(app, 'e', '/bin/cat', '/greeting')).toMatchObject({ status: 0 });
  });

  test('what a client pulls without saying which layer it is gets unpacked, over the lazy layer that it shares', async () => {
    await registry.pushImage('plain', '1', [layers[0] ?? Buffer.alloc(0), layerOf(member('x'))]);
    const plain = `${registry.address}/plain:1`;
    const pulled = await containerd.ctr('images', 'pull', '--plain-http', '--snapshotter', 'peel', plain);
    expect(pulled.status).toBe(0);
    expect(await containerd.run(plain, 'f', '/bin/ls', '/x')).toMatchObject({ stdout: '/x\n' });
    expect(await server.list('labels."containerd.io/snapshot/remote"')).toHaveLength(layers.length);
    expect(await server.list('kind==committed')).toHaveLength(layers.length + 1);
    expect(mountsOfPeel()).toBe(2);
  });

  test('F26 F33 after kill -9 and without the registry, new containers start from the cache', async () => {
    const greets = { stdout: 'hello from the top\n', status: 0 };
    // The kernel has what a container has read: the next one finds it there.
    await containerd.run(app, 'w', '/bin/sleep', '0');
    const old = containerd.container('old');
    const detached = ['run', '-d', '--snapshotter', 'peel', app, old, '/bin/sleep', '600'];
    expect(await containerd.ctr(...detached)).toEqual({ status: 0, stdout: '', stderr: '' });
    await server.end('SIGKILL');
    await registry.stop();
    // What the kernel has goes on, what it does not have is ENOTCONN: nobody waits.
    const cat = (name: string): Promise<RunResult> =>
      containerd.ctr('task', 'exec', '--exec-id', name.slice(1), old, '/bin/cat', name);
    expect(await cat('/greeting')).toMatchObject(greets);
    expect((await cat('/unused')).stderr).toContain('not connected');
    await server.start();
    // containerd tries to connect again after a second or three.
    const greeting = (): Promise<RunResult> => containerd.run(app, 'g', '/bin/cat', '/greeting');
    await expect.poll(greeting, { timeout: 15_000, interval: 200 }).toMatchObject(greets);
    await containerd.ctr('task', 'rm', '-f', old);
    await containerd.ctr('container', 'rm', old);
    await containerd.end();
    await containerd.start();
    expect(await containerd.run(app, 'h', '/bin/cat', '/greeting')).toMatchObject(greets);
  });

  test('an image that is removed leaves no snapshot, no folder and no mount', async () => {
    const { stdout } = await containerd.ctr('images', 'ls', '-q');
    await containerd.ctr('images', 'rm', '--sync', ...stdout.split('\n').filter(Boolean));
    expect(await server.list()).toEqual([]);
    expect(readdirSync(`${server.root}/snapshots`)).toEqual([]);
    expect(mountsOfPeel()).toBe(0);
  });
});
