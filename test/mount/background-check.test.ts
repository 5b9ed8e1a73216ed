/** Mounts of class D: used at once, checked behind, and class A or of no use after that (FAULTS section 3). */
import { renameSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { madeBytes } from '../blob/made-toc.ts';
import { member } from '../support/image-layout.ts';
import { closeMounts, python, TRANSPORTS, transportFlags, whyNoMounts } from '../support/mount-child.ts';
import { MountCommand } from '../support/mount-command.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { serveImage } from '../support/served-image.ts';
import { writeTar } from '../support/tar-bytes.ts';

const MIB = 1024 * 1024;
const DEADLINE = { timeout: 10_000 };
const tar = writeTar([
  member('etc', { type: 'dir' }),
  member('etc/big', { content: Buffer.from(madeBytes(6 * MIB, 8)) }),
  member('etc/last', { content: Buffer.from('bye\n') }),
]).bytes;

/** What reading a file comes to, through the page cache and past it, and the listing of its folder. */
const LOOK = `import errno, json, os, sys
def go(call):
    try:
        return call()
    except OSError as e:
        return errno.errorcode[e.errno]
f = sys.argv[1]
print(json.dumps([go(lambda: open(f, "rb").read(16).decode("latin1")), go(lambda: os.listdir(os.path.dirname(f)))]))`;

let server: ScriptedServer;
let command: MountCommand;
let image: string;
let layer: string;
let release: () => void;

describe.skipIf(whyNoMounts() !== undefined).each(TRANSPORTS)('a mount of class D (%s)', (transport) => {
  beforeEach(async () => {
    server = await startScriptedServer();
    command = new MountCommand();
    image = `${server.address}/app`;
    layer = serveImage(server, 'app', [tar])[0]?.digest ?? '';
  });
  afterEach(async () => {
    await command.end('SIGTERM');
    await closeMounts();
    await server.close();
  });

  /** The pass over all of the layer, which is asked for without a range, gets `bytes` once `release` is called. */
  function holdPass(bytes: Buffer): void {
    const until = new Promise<void>((resolve) => {
      release = resolve;
    });
    server.rule({
      path: new RegExp(`/blobs/${layer}`),
      when: ({ headers }) => headers['range'] === undefined,
      reply: { body: bytes, hold: { after: MIB, until } },
    });
  }

  const start = (...flags: readonly string[]): Promise<void> =>
    command.start(image, [...transportFlags(transport), '--allow-unverified', ...flags]);
  const look = (): Promise<unknown> => python(LOOK, path.join(command.place, 'etc/last'));
  const classOf = async (): Promise<unknown> => {
    const { stdout } = await command.peel('layers', '--format', 'jsonl', '--allow-unverified', image);
    return (JSON.parse(stdout) as Record<string, unknown>)['verificationClass'];
  };
  const asksForAll = (): boolean =>
    server.requests.some(
      ({ path: asked, headers }) => asked.includes(`/blobs/${layer}`) && headers['range'] === undefined,
    );

  test('is used while its layer comes in behind it, and is class A then', async () => {
    holdPass(tar);
    await start();
    expect(await look()).toEqual(['bye\n', ['big', 'last']]);
    expect(await classOf()).toBe('D');
    release();
    await expect.poll(classOf, DEADLINE).toBe('A');
    expect(await look()).toEqual(['bye\n', ['big', 'last']]);
    expect(command.said).not.toContain('"level":50');
  });

  test('whose layer is another one ends every read with EIO, also of what was read, and says why once (P2)', async () => {
    const other = Buffer.from(tar);
    other.write('BYE', tar.lastIndexOf('bye\n'));
    holdPass(other);
    await start();
    expect(await look()).toEqual(['bye\n', ['big', 'last']]);
    release();
    await expect.poll(() => command.said, DEADLINE).toContain('ends with EIO from now on');
    const names = transport === 'fuse-native' ? ['big', 'last'] : 'EIO';
    const read = transport === 'fuse-native' ? expect.toBeOneOf(['EIO', 'bye\n']) : 'EIO';
    await expect.poll(look, DEADLINE).toEqual([read, names]);
    expect(command.said.split('\n').filter((line) => line.includes('ends with EIO')).length).toBe(1);
    expect(command.said).toContain('do not trust what was shown');
    expect(await classOf()).toBe('D');
    const cached = await command.peel('ls', '--allow-unverified', '--offline', image, '/etc');
    expect(cached.status).not.toBe(0);
  });

  test('of which bytes that were read are not those of the layer ends so, too (P2, B4)', async () => {
    const forged = Buffer.from(tar);
    const at = tar.lastIndexOf('bye\n');
    forged.write('BYE', at);
    server.rule({
      path: new RegExp(`/blobs/${layer}`),
      when: ({ headers }) => headers['range'] !== undefined,
      reply: (request) => {
        const { body, ...reply } = server.content(request);
        const [, from = ''] = /bytes=(\d+)-/.exec(request.headers['range'] ?? '') ?? [];
        const part = forged.subarray(Number(from), Number(from) + (body?.length ?? 0));
        return { ...reply, body: part };
      },
    });
    holdPass(tar);
    await start();
    expect(await look()).toEqual(['BYE\n', ['big', 'last']]);
    release();
    await expect.poll(() => command.said, DEADLINE).toContain('other bytes');
    // What the layer really is was proved by it all the same.
    expect(await classOf()).toBe('A');
    server.clearRules();
    expect((await command.peel('cat', image, '/etc/last')).stdout).toBe('bye\n');
  });

  test('is held to what it showed, whatever the cache has lost meanwhile and the registry says now (P2, B4)', async () => {
    const forged = writeTar([
      member('etc', { type: 'dir' }),
      member('etc/big', { content: Buffer.from(madeBytes(6 * MIB, 8)) }),
      member('etc/evil', { content: Buffer.from('bye\n') }),
    ]).bytes;
    let lies = true;
    server.rule({
      path: new RegExp(`/blobs/${layer}`),
      when: ({ headers }) => lies && headers['range'] !== undefined,
      reply: (request) => {
        const { body, ...reply } = server.content(request);
        const [, from = ''] = /bytes=(\d+)-/.exec(request.headers['range'] ?? '') ?? [];
        return { ...reply, body: forged.subarray(Number(from), Number(from) + (body?.length ?? 0)) };
      },
    });
    holdPass(tar);
    await start();
    const evil = path.join(command.place, 'etc/evil');
    expect(await python(LOOK, evil)).toEqual(['bye\n', ['big', 'evil']]);
    lies = false;
    // As an eviction does.
    const folder = path.dirname(command.layerFolder(layer));
    renameSync(folder, `${folder}.gone`);
    release();
    await expect.poll(() => command.said, DEADLINE).toContain('other entries were shown');
    // Who opens it by headers that are true now is not shown the tree of those that were not.
    const next = await command.peel('ls', '--allow-unverified', image, '/etc');
    expect(next.stdout).toBe('big\nlast\n');
  });

  test('is not checked with --check-unverified off', async () => {
    await start('--check-unverified', 'off');
    expect(await look()).toEqual(['bye\n', ['big', 'last']]);
    expect([await classOf(), asksForAll()]).toEqual(['D', false]);
  });

  test('of a registry that is away is not wrong for that, and goes on', async () => {
    server.rule({
      path: new RegExp(`/blobs/${layer}`),
      when: ({ headers }) => headers['range'] === undefined,
      reply: { status: 404 },
    });
    await start();
    await expect.poll(() => command.said, DEADLINE).toContain('could not be checked, again in 30 s');
    expect(await look()).toEqual(['bye\n', ['big', 'last']]);
  });
});
