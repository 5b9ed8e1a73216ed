/** `peel images`: what the cache knows, and which layers are shared. */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { member, type WrittenImage, writeLayout } from '../support/image-layout.ts';
import { PeelUser } from '../support/run-peel.ts';

const BASE = [member('etc', { type: 'dir' }), member('etc/base', { content: Buffer.alloc(3000, 'base') })];
const PYTHON = [member('python', { content: Buffer.from('python') })];
const APP = [member('app', { content: Buffer.from('app') })];

describe('images', () => {
  const user = new PeelUser();
  const layout = (name: string): string => path.join(user.work, name);
  const recordsDir = path.join(user.cacheDir, 'v1', 'images');
  let written: Record<'base' | 'python' | 'app', WrittenImage>;

  beforeAll(async () => {
    written = {
      base: writeLayout(layout('base'), { layers: [BASE] }),
      python: writeLayout(layout('python'), { layers: [BASE, PYTHON] }),
      app: writeLayout(layout('app'), { layers: [BASE, PYTHON, APP] }),
    };
    for (const name of ['base', 'python', 'app']) {
      expect((await user.run(['inspect', layout(name)])).status).toBe(0);
    }
    expect((await user.run(['ls', layout('python')])).status).toBe(0);
  });
  afterAll(() => {
    user.close();
  });

  async function peel(...args: string[]): Promise<string> {
    const run = await user.run(args);
    expect([run.status, run.stderr]).toEqual([0, '']);
    return run.stdout.toString('utf8');
  }
  const short = (digest: string | undefined): string => (digest ?? '').slice(7, 19);

  test('lists each image once, the one used last first, with the layers it shares', async () => {
    const { images } = JSON.parse(await peel('images', '--format', 'json')) as { images: KnownImage[] };
    expect(images.map(({ name }) => name)).toEqual(
      ['python', 'app', 'base'].map((name) => `oci:${layout(name)}`),
    );
    const [python, app] = images;
    expect(python).toMatchObject({ digest: written.python.manifest.digest, platform: 'linux/amd64' });
    expect(python?.size).toBe(written.python.layers.reduce((sum, { size }) => sum + size, 0));
    expect(python?.layers[1]).toMatchObject({
      digest: written.python.layers[1]?.digest,
      isIndexed: true,
      sharedWith: [`oci:${layout('app')}`],
    });
    // Its layers were indexed for another image; its own was not.
    expect(app?.layers.map(({ isIndexed }) => isIndexed)).toEqual([true, true, false]);
    expect(app?.layers[0]?.cachedBytes).toBe(python?.layers[0]?.cachedBytes);
  });

  test('--tree draws what images have in common once', async () => {
    const [base, python, app] = written.app.layers;
    const lines = (await peel('images', '--tree'))
      .split('\n')
      .map((line) => line.replaceAll(/ {2}[0-9].*/g, ''));
    expect(lines.slice(0, -2)).toEqual([
      short(base?.digest),
      `├── oci:${layout('base')}  linux/amd64`,
      `└── ${short(python?.digest)}`,
      `    ├── oci:${layout('python')}  linux/amd64`,
      `    └── ${short(app?.digest)}`,
      `        └── oci:${layout('app')}  linux/amd64`,
    ]);
    expect(await peel('images', '--tree')).toMatch(
      /\n3 images, 3 layers, [0-9.]+ k?B; [0-9.]+ k?B shared\n$/,
    );
  });

  test('a name that leads to another image now is listed with that', async () => {
    const place = layout('moving');
    writeLayout(place, { layers: [BASE] });
    await peel('inspect', place);
    rmSync(place, { recursive: true });
    const moved = writeLayout(place, { layers: [APP] });
    await peel('inspect', place);
    const { images } = JSON.parse(await peel('images', '--format', 'json')) as { images: KnownImage[] };
    expect(images.filter(({ name }) => name === `oci:${place}`).map(({ digest }) => digest)).toEqual([
      moved.manifest.digest,
    ]);
  });

  test('damaged and foreign records are passed over', async () => {
    const before = await peel('images');
    writeFileSync(path.join(recordsDir, 'f'.repeat(64)), '{"name":"x","digest":"../../etc","layers":[]}');
    writeFileSync(path.join(recordsDir, 'e'.repeat(64)), 'null');
    writeFileSync(path.join(recordsDir, 'd'.repeat(64)), Buffer.alloc(1024 * 1024, '['));
    expect(await peel('images')).toBe(before);
  });

  test('after `cache prune --all` none is known, and no cache is made by looking', async () => {
    await peel('cache', 'prune', '--all');
    expect(await peel('images', '--format', 'jsonl')).toBe('');
    expect(readdirSync(user.cacheDir).length).toBeLessThanOrEqual(1);
    rmSync(user.cacheDir, { recursive: true });
    expect(await peel('images', '--tree')).toBe('0 images, 0 layers, 0 B; 0 B shared\n');
    expect(readdirSync(path.dirname(user.cacheDir))).toEqual([]);
  });
});

interface KnownImage {
  readonly name: string;
  readonly digest: string;
  readonly size: number;
  readonly layers: readonly {
    digest: string;
    isIndexed: boolean;
    cachedBytes: number;
    sharedWith: string[];
  }[];
}
