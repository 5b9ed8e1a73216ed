/** Archives that are compressed as a whole (E180), and archives on standard input; gzip, zstd, xz and bzip2 make them. */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCacheDir } from '../../src/blob/cache-dir.ts';
import { archiveTools } from '../../src/image/archive-tools.ts';
import type { IndexProgress } from '../../src/image/opened-layers.ts';
import { openArchiveSource } from '../../src/source/archive/open-archive-source.ts';
import { resolveImage } from '../../src/source/resolve-image.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { compressed } from '../../src/units.ts';
import { codeOfAsync } from '../reference/code-of.ts';
import { imagesDir } from '../support/images.ts';
import { openTestArchive } from '../support/open-archive.ts';
import { PeelUser } from '../support/run-peel.ts';
import { useSharedTempDirs, useTempDirs } from '../support/temp-dirs.ts';
import { collect, MadeLayout, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, tarOf } from './made-image.ts';

const makeDir = useTempDirs();
const shared = useSharedTempDirs()();
/** Does not compress: several spans and checkpoints lie in it. */
const CONTENT = randomBytes(3_000_000);
const plainFile = path.join(shared, 'image.tar');

const run = (program: string, args: readonly string[], input: Buffer): Buffer =>
  execFileSync(program, args, {
    input,
    maxBuffer: 1 << 26,
    timeout: 30_000,
    stdio: ['pipe', 'pipe', 'ignore'],
  });

const FORMS: readonly (readonly [string, (tar: Buffer) => Buffer])[] = [
  ['gzip', (tar) => run('gzip', ['-c'], tar)],
  ['zstd', (tar) => run('zstd', ['-c', '-q'], tar)],
  ['xz', (tar) => run('xz', ['-c', '-1'], tar)],
  ['bzip2', (tar) => run('bzip2', ['-c', '-1'], tar)],
];

beforeAll(async () => {
  const layout = new MadeLayout();
  const layer = layout.addBlob(OCI_LAYER, await tarOf([{ name: 'content', body: CONTENT }]));
  const rootfs = { type: 'layers', diff_ids: [layer.digest] };
  const config = layout.addBlob(OCI_CONFIG, { os: 'linux', architecture: 'amd64', rootfs });
  const image = { schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: [layer] };
  layout.setIndex([layout.addBlob(OCI_MANIFEST, image)]);
  const tar = await tarOf(layout.members());
  writeFileSync(plainFile, tar);
  for (const [name, make] of FORMS) writeFileSync(`${plainFile}.${name}`, make(tar));
});

async function readLayer(source: ImageSource, start = 0, end?: number): Promise<Buffer> {
  const [layer] = (await resolveImage(source, undefined)).manifest.layers;
  if (layer === undefined) throw new Error('no layer');
  const range = { start: compressed(start), end: compressed(end ?? layer.size) };
  return collect(source.openBlob(layer).fetch(range));
}

async function closing<Value>(
  source: ImageSource,
  use: (source: ImageSource) => Promise<Value>,
): Promise<Value> {
  try {
    return await use(source);
  } finally {
    await source.close();
  }
}

describe.each(FORMS)('an archive compressed with %s', (name) => {
  const file = `${plainFile}.${name}`;

  test('is the image that it is without compression, whole and in parts (E180)', async () => {
    const digest = await closing(
      await openTestArchive(plainFile),
      async (plain) => (await plain.resolve()).digest,
    );
    await closing(await openTestArchive(file), async (source) => {
      expect(source.name).toBe(`oci-archive:${file}`);
      expect((await source.resolve()).digest).toBe(digest);
      const layer = await readLayer(source);
      expect(layer.subarray(512, 512 + CONTENT.length).equals(CONTENT)).toBe(true);
      for (const start of [2_900_000, 5, 1_500_000, 700_000]) {
        expect(await readLayer(source, start, start + 1000)).toEqual(layer.subarray(start, start + 1000));
      }
    });
  });

  test('is indexed once: the second process reads it with the index of the first', async () => {
    const cacheDir = makeDir();
    const open = async (): Promise<readonly IndexProgress[]> => {
      const seen: IndexProgress[] = [];
      const tools = archiveTools(await openCacheDir(cacheDir), (progress) => seen.push(progress));
      const source = await openArchiveSource(file, undefined, undefined, tools);
      await closing(source, (opened) => readLayer(opened, 2_000_000, 2_000_100));
      return seen;
    };
    const first = await open();
    expect(first.at(-1)).toMatchObject({ isDone: true, doing: `indexing ${file} (${name})` });
    expect(first.some(({ isDone, bytes }) => !isDone && bytes > 0)).toBe(true);
    expect((await open()).filter(({ isDone }) => !isDone)).toEqual([]);
  });

  test('that is cut off, or has a wrong byte, is refused by its name', async () => {
    const bytes = readFileSync(file);
    for (const broken of [bytes.subarray(0, bytes.length - 20), bytes.subarray(0, 1_000_000)]) {
      const cut = path.join(makeDir(), 'cut');
      writeFileSync(cut, broken);
      const opening = openTestArchive(cut);
      await expect(opening).rejects.toMatchObject({ code: 'ERR_DOCUMENT_INVALID' });
      await expect(opening).rejects.toThrow(`${cut} cannot be unpacked: `);
    }
    const changed = Buffer.from(bytes);
    changed[1_500_000] = (changed[1_500_000] ?? 0) ^ 0xff;
    const wrong = path.join(makeDir(), 'wrong');
    writeFileSync(wrong, changed);
    expect(await codeOfAsync(() => openTestArchive(wrong))).toBe('ERR_DOCUMENT_INVALID');
  });

  test('that holds no tar is no image', async () => {
    const other = path.join(makeDir(), 'text');
    writeFileSync(
      other,
      FORMS.find(([form]) => form === name)?.[1](Buffer.from('hello\n'.repeat(1000))) ?? '',
    );
    await expect(openTestArchive(other)).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    await expect(openTestArchive(other)).rejects.toThrow('is not an image archive');
  });

  test('that is changed while it is open gives an error, never other bytes', async () => {
    const copy = path.join(makeDir(), 'copy');
    writeFileSync(copy, readFileSync(file));
    await closing(await openTestArchive(copy), async (source) => {
      await resolveImage(source, undefined);
      const handle = openSync(copy, 'r+');
      writeSync(handle, randomBytes(500_000), 0, 500_000, 1_400_000);
      closeSync(handle);
      const read = (): Promise<boolean> =>
        readLayer(source, 1_500_000, 1_500_100).then((bytes) =>
          bytes.equals(CONTENT.subarray(1_499_488, 1_499_588)),
        );
      // What was kept before it changed is still at hand.
      expect(['ERR_DIGEST_MISMATCH', 'accepted: true']).toContain(await codeOfAsync(read));
    });
  });

  test('is left when the signal says so', async () => {
    const opening = openTestArchive(file, undefined, undefined, AbortSignal.abort());
    await expect(opening).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  });
});

test('what is read of an archive is kept on disk where it has one restart point, and only there', async () => {
  for (const [name] of FORMS) {
    const cacheDir = makeDir();
    const file = `${plainFile}.${name}`;
    const tools = archiveTools(await openCacheDir(cacheDir));
    await closing(await openArchiveSource(file, undefined, undefined, tools), (source) => readLayer(source));
    const digest = createHash('sha256').update(readFileSync(file)).digest('hex');
    const spans = path.join(cacheDir, 'v1', 'layers', 'sha256', digest, 'spans');
    expect(existsSync(spans), name).toBe(name !== 'gzip');
  }
});

describe.skipIf(imagesDir() === undefined)('real compressed archives (E180)', () => {
  const root = path.join(imagesDir() ?? '', 'archives');
  test.each([
    ['container-inspector/busybox.tgz', 3],
    ['fanal/alpine-310.tar.gz', 1],
    ['ggcr/test_image_1.tar.gz', 1],
    ['podman/docker-two-images.tar.xz', 1],
  ])('%s has the layers that tar finds in it', async (name, count) => {
    const file = path.join(root, name);
    const selection = name.includes('two-images') ? ({ by: 'position', position: 1 } as const) : undefined;
    await closing(await openTestArchive(file, undefined, selection), async (source) => {
      const { manifest } = await resolveImage(source, undefined);
      expect(manifest.layers).toHaveLength(count);
      const members = execFileSync('tar', ['tf', file], { timeout: 20_000 }).toString().split('\n');
      const layers = members.filter((member) => member.endsWith('layer.tar'));
      const sums = layers.map((member) =>
        createHash('sha256')
          .update(execFileSync('tar', ['xOf', file, member], { timeout: 20_000, maxBuffer: 1 << 26 }))
          .digest('hex'),
      );
      for (const { digest } of manifest.layers) expect(sums).toContain(digest.slice('sha256:'.length));
    });
  });
});

describe('an archive on standard input', () => {
  let user: PeelUser;
  beforeAll(() => {
    user = new PeelUser();
  });
  afterAll(() => user.close());

  /** `through`: how the shell hands it to peel, whose words are "$@". */
  const peel = (through: string, words: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    user.run(words, { wrapper: ['sh', '-c', through, 'sh'], env });
  const spool = (): string[] => {
    const folder = path.join(user.cacheDir, 'v1', 'spool');
    return existsSync(folder) ? readdirSync(folder) : [];
  };

  test.each([
    ['a pipe', `cat ${plainFile} | "$@"`],
    ['a file', `"$@" < ${plainFile}`],
    ['a pipe of a compressed archive', `cat ${plainFile}.xz | "$@"`],
    ['a compressed file', `"$@" < ${plainFile}.gzip`],
    [
      'a file of which a part was read',
      `(cat ${plainFile}; cat ${plainFile}) > ${shared}/twice; ( dd bs=$(stat -c %s ${plainFile}) count=1 of=/dev/null status=none; "$@" ) < ${shared}/twice`,
    ],
  ])('is read from %s', async (_, through) => {
    const result = await peel(through, ['cat', '-', '/content']);
    expect(result).toMatchObject({ status: 0, stderr: '' });
    expect(result.stdout.equals(CONTENT)).toBe(true);
    expect(spool()).toEqual([]);
  });

  test('has a transport and a choice where it needs one', async () => {
    const layout = new MadeLayout();
    const names = ['one', 'two'].map((name) => ({
      ...layout.addImage(name),
      annotations: { 'org.opencontainers.image.ref.name': name },
    }));
    const file = path.join(shared, 'several.tar');
    writeFileSync(file, await tarOf(layout.setIndex(names).members()));
    const chosen = await peel(`cat ${file} | "$@"`, ['inspect', '--format', 'json', 'oci-archive:-:two']);
    expect(chosen.status).toBe(0);
    expect(JSON.parse(chosen.stdout.toString())).toMatchObject({
      name: 'oci-archive:-:two',
      digest: names[1]?.digest,
    });
    const open = await peel(`cat ${file} | "$@"`, ['inspect', '-']);
    expect(open.status).toBe(2);
    expect(open.stderr).toContain('oci-archive:- has several images');
  });

  test.each<[string, string, number, string, NodeJS.ProcessEnv?]>([
    ['is empty', ': | "$@"', 3, 'standard input is not an image archive: it is empty'],
    ['is /dev/null', '"$@" < /dev/null', 3, 'it is empty'],
    ['is closed', '"$@" <&-', 3, 'it is empty'],
    ['is no archive', 'yes | head -n 9999 | "$@"', 3, 'standard input is not an image archive'],
    ['is cut off', `head -c 2000000 ${plainFile} | "$@"`, 1, 'standard input is not a readable tar'],
    [
      'is longer than the cache may be',
      'yes | "$@"',
      1,
      'standard input is longer than 1000000 bytes',
      { PEEL_CACHE_MAX_SIZE: '1000000' },
    ],
  ])('that %s is refused', async (_, through, status, message, env) => {
    const result = await peel(through, ['ls', '-'], env);
    expect(result.stderr).toContain(message);
    expect(result.status).toBe(status);
    expect(spool()).toEqual([]);
  });

  test('that cannot be kept says where, and what to do', async () => {
    const result = await peel(`cat ${plainFile} | "$@"`, [
      'ls',
      '--cache-dir',
      '/proc/self/fdinfo/none',
      '-',
    ]);
    expect(result.status).toBe(1);
    expect(result.stderr).toMatch(/standard input cannot be kept in .*--cache-dir, or name a file/);
  });

  test('that never ends is left when the program is interrupted, and nothing stays', async () => {
    const result = await user.run(['ls', '-'], {
      wrapper: ['sh', '-c', '(echo x; exec sleep 20) | exec timeout -s INT 1 "$@"', 'sh'],
      deadlineMs: 25_000,
    });
    expect(spool()).toEqual([]);
    expect(result.stdout.toString()).toBe('');
  });

  test('that is a terminal is asked to be something else', async () => {
    const result = await user.runOnTerminal(['ls', '-']);
    expect(result.status).toBe(2);
    expect(result.stdout.toString()).toContain('standard input is a terminal');
  });
});
