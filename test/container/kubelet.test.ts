/**
 * kubelet's way to an image: its image service goes through peel to a real containerd (Debian's 1.6), whose CRI plugin
 * pulls from a registry that wants credentials. peel gets those from the pull alone.
 */
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Containerd, toolsLayer, whyNoContainerd } from '../support/containerd.ts';
import { sha256Hex } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { whyNoMounts } from '../support/mount-child.ts';
import { hasRegistry, startRegistry, type TestRegistry } from '../support/registry.ts';
import { closeSnapshotters, SnapshotterServer } from '../support/snapshotter-server.ts';
import { writeTar } from '../support/tar-bytes.ts';

const skipped =
  whyNoMounts() ?? whyNoContainerd() ?? (hasRegistry() ? undefined : 'docker-registry is not installed');

/** A field of protobuf that holds text or a message shorter than 128 bytes. */
function field(id: number, content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  if (bytes.length > 127) throw new RangeError(`${bytes.length} bytes in a field of the test`);
  return Buffer.concat([Buffer.from([(id << 3) | 2, bytes.length]), bytes]);
}

/** runtime.v1.PullImageRequest: image, and username and password where they are given. */
function pullRequest(image: string, user?: { readonly name: string; readonly password: string }): Buffer {
  const auth =
    user === undefined ? [] : [field(2, Buffer.concat([field(1, user.name), field(2, user.password)]))];
  return Buffer.concat([field(1, field(1, image)), ...auth]);
}

describe.skipIf(skipped !== undefined)(`kubelet${skipped === undefined ? '' : `: ${skipped}`}`, () => {
  const layers = [
    toolsLayer(),
    gzipSync(writeTar([member('greeting', { content: Buffer.from('hello\n') })]).bytes),
  ];
  let registry: TestRegistry;
  let server: SnapshotterServer;
  let containerd: Containerd;
  let app: string;

  beforeAll(async () => {
    registry = await startRegistry({ auth: 'token', isOpen: false });
    await registry.pushImage('private/app', '1', layers);
    app = `${registry.address}/private/app:1`;
    server = new SnapshotterServer();
    containerd = new Containerd(`${server.home}/containerd`, server.address, true);
    await server.start(['--image-service', containerd.address]);
    await containerd.start();
  });
  afterAll(async () => {
    await containerd.close();
    await closeSnapshotters();
    await registry.close();
  });

  const lazy = (): Promise<string[]> => server.list('labels."containerd.io/snapshot/remote"');

  test('a pull without credentials is refused by containerd, in its own words', async () => {
    await expect(server.callImageService('PullImage', pullRequest(app))).rejects.toThrow(/authoriz|401/i);
    expect(await lazy()).toEqual([]);
  });

  test('a pull with a secret is lazy, and the container starts', async () => {
    const user = { name: registry.user, password: registry.password };
    await server.callImageService('PullImage', pullRequest(app, user));
    expect(await lazy()).toHaveLength(layers.length);
    const { stdout } = await containerd.ctr('-n', 'k8s.io', 'content', 'ls', '-q');
    for (const layer of layers) expect(stdout).not.toContain(sha256Hex(layer));
    const args = ['run', '--rm', '--snapshotter', 'peel', app, containerd.container('k')];
    expect(await containerd.ctr('-n', 'k8s.io', ...args, '/bin/cat', '/greeting')).toMatchObject({
      stdout: 'hello\n',
      status: 0,
    });
    expect(server.said).not.toContain(registry.password);
  });

  test('everything else is answered by containerd', async () => {
    expect((await server.callImageService('ListImages', Buffer.alloc(0))).toString()).toContain(
      'private/app',
    );
    await expect(server.callImageService('PullImage', Buffer.from('no message'))).rejects.toThrow();
  });
});
