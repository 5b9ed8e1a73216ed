/** Archives of `docker save` 1.9 and older (E167, E168), made here and real ones; GNU tar reads the same layers. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { Selection } from '../../src/reference/transport.ts';
import { type ResolvedImage, resolveImage } from '../../src/source/resolve-image.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { compressed } from '../../src/units.ts';
import { codeOfAsync } from '../reference/code-of.ts';
import { sha256Digest } from '../support/digests.ts';
import { imagesDir } from '../support/images.ts';
import { openTestArchive } from '../support/open-archive.ts';
import { useTempPaths } from '../support/temp-dirs.ts';
import { collect, type TarMember, tarOf, writeTarFile } from './made-image.ts';

const newPath = useTempPaths();
const id = (digit: string): string => digit.repeat(64);

interface Opened {
  readonly name: string;
  readonly image: ResolvedImage;
  /** As stored, lowest first. */
  readonly layers: readonly Buffer[];
}

async function readLayers(source: ImageSource, image: ResolvedImage): Promise<Buffer[]> {
  const layers: Buffer[] = [];
  for (const descriptor of image.manifest.layers) {
    const whole = { start: compressed(0), end: compressed(descriptor.size) };
    layers.push(await collect(source.openBlob(descriptor).fetch(whole)));
  }
  return layers;
}

async function read(file: string, selection?: Selection): Promise<Opened> {
  const source = await openTestArchive(file, undefined, selection);
  try {
    const image = await resolveImage(source, undefined);
    return { name: source.name, image, layers: await readLayers(source, image) };
  } finally {
    await source.close();
  }
}

async function archiveOf(members: readonly TarMember[]): Promise<string> {
  const file = newPath();
  await writeTarFile(file, members);
  return file;
}

const refusal = async (members: readonly TarMember[], selection?: Selection): Promise<string> => {
  const file = await archiveOf(members);
  return codeOfAsync(() => read(file, selection));
};

/** The three members of a layer, as Docker 1.0 wrote them. */
function levelOf(digit: string, parent: string | undefined, layer: Buffer, more: object = {}): TarMember[] {
  const image = { id: id(digit), ...(parent === undefined ? {} : { parent: id(parent) }), ...more };
  return [
    { name: `${id(digit)}/`, type: 'directory' },
    { name: `${id(digit)}/VERSION`, body: '1.0' },
    { name: `${id(digit)}/json`, body: JSON.stringify(image) },
    { name: `${id(digit)}/layer.tar`, body: layer },
  ];
}

const repositories = (value: object): TarMember => ({ name: 'repositories', body: JSON.stringify(value) });
const layerTar = (text: string): Promise<Buffer> => tarOf([{ name: 'file', body: text }]);
const [A, B, C] = (await Promise.all(['a', 'b', 'c'].map(layerTar))) as [Buffer, Buffer, Buffer];

describe('an archive of docker save 1.0 to 1.9', () => {
  const members = [
    ...levelOf('c', 'b', C, { architecture: 'arm', os: 'linux', config: { Cmd: ['/c'] } }),
    ...levelOf('a', undefined, A, { container_config: { Cmd: ['add', 'a'] } }),
    ...levelOf('b', 'a', B),
    repositories({ test: { latest: id('c'), old: id('b') }, 'host:5000/x': { v1: id('c') } }),
  ];

  test('gives the layers of the chain from the tag down, lowest first (E167)', async () => {
    const file = await archiveOf(members);
    const { image, layers, name } = await read(file, { by: 'name', name: 'test' });
    expect(name).toBe(`docker-archive:${file}:test`);
    expect(layers).toEqual([A, B, C]);
    expect(image.manifest.layers.map(({ digest }) => digest)).toEqual([A, B, C].map(sha256Digest));
    expect(image.config.platform).toEqual({ os: 'linux', architecture: 'arm' });
    expect(image.config.runtime).toEqual({ Cmd: ['/c'] });
    expect(image.config.history.map(({ createdBy }) => createdBy)).toEqual(['add a', undefined, undefined]);
  });

  test.each<[string, Selection, number]>([
    ['a tag', { by: 'name', name: 'test:old' }, 2],
    ['a name with a registry', { by: 'name', name: 'host:5000/x:v1' }, 3],
    ['its position', { by: 'position', position: 1 }, 2],
    ['the ID of its folder', { by: 'digest', digest: `sha256:${id('b')}` as never }, 2],
  ])('holds several images, chosen by %s (E179)', async (_, selection, count) => {
    expect((await read(await archiveOf(members), selection)).layers).toHaveLength(count);
  });

  test('asks which of several images is meant, and counts two names of one image once (E179)', async () => {
    await expect(archiveOf(members).then((file) => read(file))).rejects.toThrow(
      /2 images to choose from: there are "test:latest", "host:5000\/x:v1", "test:old"; positions are :@0 to :@1/,
    );
    const one = [...levelOf('a', undefined, A), repositories({ x: { a: id('a'), b: id('a') } })];
    expect((await read(await archiveOf(one))).layers).toEqual([A]);
  });

  test('is known by its content alone, wherever the members stand', async () => {
    const forward = await read(await archiveOf(members), { by: 'position', position: 0 });
    const backward = await read(await archiveOf(members.toReversed()), { by: 'position', position: 0 });
    expect(backward.image.manifestDocument.digest).toBe(forward.image.manifestDocument.digest);
  });

  test('saved by ID, without repositories, is the image that is no parent (E167)', async () => {
    const unnamed = members.slice(0, -1);
    expect((await read(await archiveOf(unnamed))).layers).toEqual([A, B, C]);
    const two = [...unnamed, ...levelOf('d', 'a', C)];
    expect(await refusal(two)).toBe('ERR_USAGE');
  });

  test('may hold compressed and empty layers (E175)', async () => {
    const empty = Buffer.alloc(0);
    const file = await archiveOf([
      ...levelOf('b', 'a', gzipSync(B)),
      ...levelOf('a', undefined, empty),
      repositories({ x: { a: id('b') } }),
    ]);
    expect((await read(file)).layers).toEqual([empty, gzipSync(B)]);
  });

  test('may link a layer to another, and the last of two members counts (E174)', async () => {
    const file = await archiveOf([
      ...levelOf('a', undefined, C),
      ...levelOf('b', 'a', B).slice(0, 3),
      { name: `${id('b')}/layer.tar`, type: 'symlink', linkname: `../${id('a')}/layer.tar` },
      { name: `${id('a')}/layer.tar`, body: A },
      repositories({ x: { a: id('b') } }),
    ]);
    expect((await read(file)).layers).toEqual([A, A]);
  });

  const tagged = (value: unknown): TarMember => repositories({ x: { a: value } });
  const image = (digit: string, value: unknown): TarMember => ({
    name: `${id(digit)}/json`,
    body: JSON.stringify(value),
  });
  test.each<[string, readonly TarMember[], string]>([
    [
      'a parent chain that bites its tail',
      [...levelOf('a', 'b', A), ...levelOf('b', 'a', B), tagged(id('b'))],
      'ERR_DOCUMENT_INVALID',
    ],
    ['a layer that is its own parent', [...levelOf('a', 'a', A), tagged(id('a'))], 'ERR_DOCUMENT_INVALID'],
    ['a parent that is not there', [...levelOf('b', 'a', B), tagged(id('b'))], 'ERR_IMAGE_NOT_FOUND'],
    ['a tag that leads nowhere', [...levelOf('a', undefined, A), tagged(id('b'))], 'ERR_IMAGE_NOT_FOUND'],
    ['an ID that is a path', [tagged('../../etc/passwd')], 'ERR_DOCUMENT_INVALID'],
    ['an ID in upper case', [tagged(id('A'))], 'ERR_DOCUMENT_INVALID'],
    ['a number for an ID', [tagged(5)], 'ERR_DOCUMENT_INVALID'],
    [
      'a parent that is a path',
      [image('a', { id: id('a'), parent: '../../etc/passwd' }), tagged(id('a'))],
      'ERR_DOCUMENT_INVALID',
    ],
    [
      'another ID in the folder than its name',
      [image('a', { id: id('b') }), tagged(id('a'))],
      'ERR_DOCUMENT_INVALID',
    ],
    ['no ID', [image('a', {}), tagged(id('a'))], 'ERR_DOCUMENT_INVALID'],
    ['an image that is a list', [image('a', []), tagged(id('a'))], 'ERR_DOCUMENT_INVALID'],
    ['a layer without layer.tar', levelOf('a', undefined, A).slice(0, 3), 'ERR_IMAGE_NOT_FOUND'],
    ['no image', [repositories({})], 'ERR_IMAGE_NOT_FOUND'],
    ['repositories that is a list', [repositories([])], 'ERR_DOCUMENT_INVALID'],
    ['repositories of no tags', [repositories({ x: 'a' })], 'ERR_DOCUMENT_INVALID'],
    ['repositories that is null', [{ name: 'repositories', body: 'null' }], 'ERR_DOCUMENT_INVALID'],
    [
      'repositories with __proto__ for a name',
      [{ name: 'repositories', body: `{"__proto__": {"a": "${id('b')}"}}` }],
      'ERR_IMAGE_NOT_FOUND',
    ],
  ])('is refused with %s (E168)', async (_, made, code) => {
    expect(await refusal(made)).toBe(code);
  });

  test('with 100,000 tags lists a few of them, and finds the one that is meant (B3)', async () => {
    const tags = Object.fromEntries(
      Array.from({ length: 100_000 }, (_, at) => [`v${at}`, id(at === 7 ? 'b' : 'a')]),
    );
    const made = [...levelOf('a', undefined, A), ...levelOf('b', 'a', B), repositories({ x: tags })];
    const file = await archiveOf(made);
    expect((await read(file, { by: 'name', name: 'x:v7' })).layers).toEqual([A, B]);
    const failure = await read(file).catch((error: unknown) => error);
    expect((failure as Error).message.length).toBeLessThan(1000);
  });

  test('is refused with more layers than any image has (E168)', async () => {
    const chain = Array.from({ length: 514 }, (_, at) => at.toString(16).padStart(64, '0'));
    const images = chain.map((name, at) => ({
      name: `${name}/json`,
      body: JSON.stringify({ id: name, parent: chain[at + 1] }),
    }));
    expect(await refusal([...images, tagged(chain[0])])).toBe('ERR_LIMIT_EXCEEDED');
    expect(await refusal(images)).toBe('ERR_LIMIT_EXCEEDED');
  });

  test('is refused where its layers say more about themselves than a manifest may hold (B3)', async () => {
    const chain = Array.from({ length: 6 }, (_, at) => at.toString(16).padStart(64, '0'));
    const images = chain.map((name, at) => ({
      name: `${name}/json`,
      body: JSON.stringify({ id: name, parent: chain[at + 1], comment: 'x'.repeat(1_000_000) }),
    }));
    // Without the layers themselves, which are read after that.
    expect(await refusal([...images, tagged(chain[0])])).toBe('ERR_LIMIT_EXCEEDED');
  });
});

describe.skipIf(imagesDir() === undefined)('real archives of docker save 1.9 and older', () => {
  const root = path.join(imagesDir() ?? '', 'archives');

  test.each([
    ['moby/emptyLayer.tar', 3],
    ['ggcr/no_manifest.tar', 1],
  ])('%s has the layers that GNU tar takes out of it (E167)', async (name, count) => {
    const file = path.join(root, name);
    const { layers, image } = await read(file);
    expect(layers).toHaveLength(count);
    const tar = (...args: string[]): Buffer => execFileSync('tar', args, { timeout: 20_000 });
    let member = '';
    const parents = tar('xOf', file, 'repositories').toString();
    let next: string | undefined = /[0-9a-f]{64}/.exec(parents)?.[0];
    const expected: Buffer[] = [];
    while (next !== undefined) {
      member = next;
      expected.unshift(tar('xOf', file, `${member}/layer.tar`));
      next = (JSON.parse(tar('xOf', file, `${member}/json`).toString()) as { parent?: string }).parent;
    }
    expect(layers).toEqual(expected);
    expect(image.manifest.layers.map(({ digest }) => digest)).toEqual(expected.map(sha256Digest));
  });

  test.each([
    ['docker2aci/fixture-test-depsloop.docker', 'is its own ancestor'],
    ['docker2aci/fixture-test-invalidlayerid.docker', 'is no image ID'],
  ])('%s is refused, since it %s (E168)', async (name, why) => {
    const file = path.join(root, name);
    expect(await codeOfAsync(() => read(file))).toBe('ERR_DOCUMENT_INVALID');
    await expect(read(file)).rejects.toThrow(why);
  });
});
