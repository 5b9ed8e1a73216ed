/** Archives made for the test: of `docker save` since 1.10, of OCI layouts, of both; and files that are none. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { assert, asyncProperty, nat, uint8Array } from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Selection } from '../../src/reference/transport.ts';
import { codeOfAsync } from '../reference/code-of.ts';
import { sha256Digest } from '../support/digests.ts';
import { openTestArchive } from '../support/open-archive.ts';
import { useTempPaths } from '../support/temp-dirs.ts';
import { MadeLayout, type TarMember, tarOf, writeTarFile } from './made-image.ts';
import { readAll, readLayer, readManifest } from './read-archive.ts';

const newPath = useTempPaths();

async function archiveOf(members: readonly TarMember[]): Promise<string> {
  const file = newPath();
  await writeTarFile(file, members);
  return file;
}

async function failure(members: readonly TarMember[], selection?: Selection): Promise<string> {
  const file = await archiveOf(members);
  return codeOfAsync(() => readAll(file, selection));
}

/** A docker archive of one image; layers are named by the caller. */
async function dockerImage(
  layers: readonly { name: string; body: Buffer; diffID?: string }[],
  more: { tags?: readonly string[] | null; config?: string } = {},
): Promise<{ config: TarMember; members: TarMember[]; entry: object }> {
  const diffIDs = layers.map(({ body, diffID }) => diffID ?? sha256Digest(body));
  const body = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: diffIDs },
  });
  const config = { name: more.config ?? `${sha256Digest(body).slice(7)}.json`, body };
  return {
    config,
    members: layers.map(({ name, body: content }) => ({ name, body: content })),
    entry: {
      Config: config.name,
      RepoTags: more.tags === undefined ? ['test:1'] : more.tags,
      Layers: layers.map(({ name }) => name),
    },
  };
}

const manifestJson = (value: unknown): TarMember => ({ name: 'manifest.json', body: JSON.stringify(value) });
const layerTar = (text: string): Promise<Buffer> => tarOf([{ name: 'file', body: text }]);

describe('a docker archive', () => {
  test('gives layers in the order of manifest.json, wherever the members stand (E169, E172)', async () => {
    const [a, b] = [await layerTar('a'), await layerTar('b')];
    const image = await dockerImage([
      { name: 'b/layer.tar', body: b },
      { name: 'a/layer.tar', body: a },
    ]);
    const orders = [
      [manifestJson([image.entry]), image.config, ...image.members],
      [...image.members, manifestJson([image.entry]), image.config],
      [image.config, ...image.members.toReversed(), manifestJson([image.entry])],
    ];
    const digests = new Set<string>();
    for (const members of orders) {
      const opened = await readAll(await archiveOf(members));
      expect(opened.layers.map((layer) => layer.equals(b))).toEqual([true, false]);
      expect(opened.layers[1]?.equals(a)).toBe(true);
      digests.add(opened.manifestDigest);
    }
    // The made-up manifest depends on the content alone.
    expect(digests.size).toBe(1);
  });

  test('may prefix its names with ./ (E173)', async () => {
    const image = await dockerImage([{ name: 'a/layer.tar', body: await layerTar('a') }]);
    const members = [manifestJson([image.entry]), image.config, ...image.members];
    const opened = await readAll(
      await archiveOf(members.map((member) => ({ ...member, name: `./${member.name}` }))),
    );
    expect(opened.layers).toHaveLength(1);
  });

  test.each<[string, TarMember]>([
    ['a symbolic link', { name: 'b/layer.tar', type: 'symlink', linkname: '../a/layer.tar' }],
    [
      'a symbolic link with too many ..',
      { name: 'b/layer.tar', type: 'symlink', linkname: '../../../../a/layer.tar' },
    ],
    ['an absolute symbolic link', { name: 'b/layer.tar', type: 'symlink', linkname: '/a/layer.tar' }],
    ['a hard link', { name: 'b/layer.tar', type: 'link', linkname: 'a/layer.tar' }],
    ['a hard link with ./', { name: 'b/layer.tar', type: 'link', linkname: './a/layer.tar' }],
  ])('may store a layer as %s to another (E174)', async (_, link) => {
    const body = await layerTar('a');
    const image = await dockerImage([
      { name: 'a/layer.tar', body },
      { name: 'b/layer.tar', body },
    ]);
    const [first] = image.members;
    if (first === undefined) throw new Error('no layer');
    const opened = await readAll(await archiveOf([link, first, image.config, manifestJson([image.entry])]));
    expect(opened.layers.map((layer) => layer.equals(body))).toEqual([true, true]);
  });

  test.each<[string, TarMember[]]>([
    ['itself', [{ name: 'a/layer.tar', type: 'symlink', linkname: 'layer.tar' }]],
    [
      'a link back',
      [
        { name: 'a/layer.tar', type: 'symlink', linkname: 'x' },
        { name: 'a/x', type: 'symlink', linkname: 'layer.tar' },
      ],
    ],
    ['a file that is not there', [{ name: 'a/layer.tar', type: 'symlink', linkname: '/etc/passwd' }]],
    ['a folder', [{ name: 'a/layer.tar', type: 'symlink', linkname: '.' }]],
  ])('with a layer that links to %s has no such layer (E174)', async (_, links) => {
    const image = await dockerImage([{ name: 'a/layer.tar', body: await layerTar('a') }]);
    expect(await failure([...links, image.config, manifestJson([image.entry])])).toBe('ERR_IMAGE_NOT_FOUND');
  });

  // E181: names are keys; /etc/passwd of this machine is not what they lead to.
  test.each(['../../../../../../etc/passwd', '/etc/passwd', 'x/../../../etc/passwd'])(
    'with the name %s for a layer or config stays inside (E181)',
    async (name) => {
      const body = await layerTar('inside');
      const image = await dockerImage([{ name, body }]);
      expect(await failure([image.config, manifestJson([image.entry])])).toBe('ERR_IMAGE_NOT_FOUND');
      const inside = [{ name: 'etc/passwd', body }, image.config, manifestJson([image.entry])];
      expect((await readAll(await archiveOf(inside))).layers[0]?.equals(body)).toBe(true);
      expect(await failure([manifestJson([{ Config: name, RepoTags: null, Layers: [] }])])).toBe(
        'ERR_IMAGE_NOT_FOUND',
      );
    },
  );

  test('may store layers compressed: their digest is of the bytes as stored (E175)', async () => {
    const tar = await layerTar('a');
    const body = gzipSync(tar);
    const image = await dockerImage([{ name: 'a.tar.gz', body, diffID: sha256Digest(tar) }]);
    const opened = await readAll(
      await archiveOf([image.config, ...image.members, manifestJson([image.entry])]),
    );
    expect(opened.manifest.layers[0]).toMatchObject({ digest: sha256Digest(body), size: body.length });
  });

  test('with a plain layer that is not what its diffID says claims the diffID: indexing finds out (E145)', async () => {
    const image = await dockerImage([
      { name: 'a.tar', body: await layerTar('a'), diffID: sha256Digest('other') },
    ]);
    const opened = await readAll(
      await archiveOf([image.config, ...image.members, manifestJson([image.entry])]),
    );
    expect(opened.manifest.layers[0]?.digest).toBe(sha256Digest('other'));
  });

  test.each<[string, Buffer]>([
    ['is empty', Buffer.alloc(0)],
    ['is no tar', Buffer.from('x'.repeat(2000))],
  ])('with a layer that %s gives its bytes all the same', async (_, body) => {
    const image = await dockerImage([{ name: 'a.tar', body, diffID: sha256Digest('other') }]);
    const opened = await readAll(
      await archiveOf([image.config, ...image.members, manifestJson([image.entry])]),
    );
    expect(opened.manifest.layers[0]).toMatchObject({ digest: sha256Digest(body), size: body.length });
  });

  test.each([[['config', 'repoTags', 'layers']], [['CONFIG', 'REPOTAGS', 'LAYERS']]])(
    'may spell its fields %j (E176)',
    async ([config = '', tags = '', layers = '']) => {
      const image = await dockerImage([{ name: 'a.tar', body: await layerTar('a') }]);
      const entry = { [config]: image.config.name, [tags]: ['test:1'], [layers]: ['a.tar'] };
      const file = await archiveOf([image.config, ...image.members, manifestJson([entry])]);
      expect((await readAll(file, { by: 'name', name: 'test:1' })).layers).toHaveLength(1);
    },
  );

  test('that has a field in two cases is ambiguous (E155, E176)', async () => {
    const image = await dockerImage([{ name: 'a.tar', body: await layerTar('a') }]);
    const entry = { ...image.entry, layers: [] };
    expect(await failure([image.config, ...image.members, manifestJson([entry])])).toBe(
      'ERR_DOCUMENT_INVALID',
    );
  });

  test('may name its config sha256:<hex>, which is then checked (E177, E143)', async () => {
    const body = '{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}';
    const entry = { Config: sha256Digest(body), RepoTags: null, Layers: [] };
    const good = await archiveOf([{ name: sha256Digest(body), body }, manifestJson([entry])]);
    expect((await readAll(good)).config.toString()).toBe(body);
    expect(await failure([{ name: sha256Digest(body), body: `${body} ` }, manifestJson([entry])])).toBe(
      'ERR_DIGEST_MISMATCH',
    );
    const blob = { Config: `blobs/sha256/${sha256Digest(body).slice(7)}`, Layers: [] };
    expect(await failure([{ name: blob.Config, body: `${body} ` }, manifestJson([blob])])).toBe(
      'ERR_DIGEST_MISMATCH',
    );
  });

  // E178
  test.each<[string, string]>([
    ['null', 'ERR_DOCUMENT_INVALID'],
    ['{}', 'ERR_DOCUMENT_INVALID'],
    ['', 'ERR_DOCUMENT_INVALID'],
    ['[null]', 'ERR_DOCUMENT_INVALID'],
    ['[{}]', 'ERR_DOCUMENT_INVALID'],
    ['[{"Config":7,"Layers":[]}]', 'ERR_DOCUMENT_INVALID'],
    ['[{"Config":"c","Layers":[null]}]', 'ERR_DOCUMENT_INVALID'],
    ['[{"Config":"c","Layers":"x"}]', 'ERR_DOCUMENT_INVALID'],
    ['[{"Config":"c","RepoTags":[7]}]', 'ERR_DOCUMENT_INVALID'],
    ['[{"Config":"missing","Layers":[]}]', 'ERR_IMAGE_NOT_FOUND'],
    ['[]', 'ERR_IMAGE_NOT_FOUND'],
    [`[{"Config":"c","Layers":[${'"x",'.repeat(512)}"x"]}]`, 'ERR_LIMIT_EXCEEDED'],
    [`[${'{},'.repeat(10_000)}{}]`, 'ERR_LIMIT_EXCEEDED'],
    [' '.repeat((8 << 20) + 1), 'ERR_LIMIT_EXCEEDED'],
  ])('with manifest.json of %.60s is refused (B3, E178)', async (body, code) => {
    expect(await failure([{ name: 'manifest.json', body }])).toBe(code);
  });

  test('with as many layers as diffIDs, or an error with both numbers (E146)', async () => {
    const image = await dockerImage([{ name: 'a.tar', body: await layerTar('a') }]);
    const file = await archiveOf([
      image.config,
      ...image.members,
      manifestJson([{ ...image.entry, Layers: [] }]),
    ]);
    await expect(readAll(file)).rejects.toThrow('lists 0 layers, the config 1 diff_ids');
  });

  test('of several images is read by tag, position or image ID (E179)', async () => {
    const one = await dockerImage([{ name: '1.tar', body: await layerTar('1') }], {
      tags: ['test:1', 'other'],
    });
    const two = await dockerImage([{ name: '2.tar', body: await layerTar('2') }], { tags: null });
    const file = await archiveOf([
      one.config,
      two.config,
      ...one.members,
      ...two.members,
      manifestJson([one.entry, two.entry]),
    ]);
    const nameOf = async (selection: Selection): Promise<unknown> =>
      sha256Digest((await readAll(file, selection)).config);
    const ids = [one, two].map(({ config }) => sha256Digest(config.body ?? ''));
    expect(await nameOf({ by: 'name', name: 'test:1' })).toBe(ids[0]);
    // Docker's defaults hold on both sides.
    expect(await nameOf({ by: 'name', name: 'docker.io/library/other:latest' })).toBe(ids[0]);
    expect(await nameOf({ by: 'position', position: 1 })).toBe(ids[1]);
    expect(await nameOf({ by: 'digest', digest: ids[1] as never })).toBe(ids[1]);
    await expect(readAll(file)).rejects.toThrow(
      /2 images to choose from: there are "test:1", "other"; positions are :@0 to :@1/,
    );
    expect(await codeOfAsync(() => readAll(file))).toBe('ERR_USAGE');
    expect(await codeOfAsync(() => readAll(file, { by: 'name', name: 'nine' }))).toBe('ERR_IMAGE_NOT_FOUND');
    expect(await codeOfAsync(() => readAll(file, { by: 'position', position: 2 }))).toBe(
      'ERR_IMAGE_NOT_FOUND',
    );
  });

  test('without a foreign layer opens, and only reading that layer fails (E182)', async () => {
    const image = await dockerImage([
      { name: 'a.tar', body: await layerTar('a') },
      { name: 'gone.tar', body: await layerTar('gone') },
    ]);
    const [first] = image.members;
    const file = await archiveOf([image.config, first ?? { name: 'x' }, manifestJson([image.entry])]);
    const source = await openTestArchive(file);
    const manifest = await readManifest(source);
    expect((await readLayer(source, manifest, 0)).equals(await layerTar('a'))).toBe(true);
    expect(await codeOfAsync(() => readLayer(source, manifest, 1))).toBe('ERR_IMAGE_NOT_FOUND');
    await source.close();
  });
});

describe('an archive of GNU tar', () => {
  // Long names, long link targets: GNU L and K members, PAX records, ustar prefixes.
  test.each(['gnu', 'oldgnu', 'pax', 'ustar', 'v7'])('in the format %s is read', async (format) => {
    const folder = newPath();
    const deep = format === 'v7' ? 'x'.repeat(60) : `${'d'.repeat(90)}/${'e'.repeat(60)}`;
    const body = await layerTar('a');
    const image = await dockerImage([
      { name: `${deep}/layer.tar`, body },
      { name: 'second/layer.tar', body },
    ]);
    const files: TarMember[] = [
      image.config,
      { name: `${deep}/layer.tar`, body },
      manifestJson([image.entry]),
    ];
    for (const { name, body: content } of files) {
      mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
      writeFileSync(path.join(folder, name), content ?? '');
    }
    mkdirSync(path.join(folder, 'second'));
    const target = format === 'v7' || format === 'ustar' ? '../short' : `../${deep}/layer.tar`;
    symlinkSync(target, path.join(folder, 'second', 'layer.tar'));
    if (target === '../short') writeFileSync(path.join(folder, 'short'), body);
    const file = newPath();
    execFileSync('tar', [`--format=${format}`, '-C', folder, '-cf', file, '.'], { timeout: 20_000 });
    const opened = await readAll(file);
    expect(opened.layers.map((layer) => layer.equals(body))).toEqual([true, true]);
  });

  test('with 100,001 members is refused, also when all have one name', async () => {
    const [header] = [(await tarOf([{ name: 'a' }])).subarray(0, 512)];
    const file = newPath();
    writeFileSync(file, Buffer.alloc(512 * 100_001, header ?? ''));
    expect(await codeOfAsync(() => openTestArchive(file))).toBe('ERR_LIMIT_EXCEEDED');
  });

  test('is left when the signal says so', async () => {
    const file = await archiveOf([manifestJson([])]);
    const opening = openTestArchive(file, undefined, undefined, AbortSignal.abort());
    await expect(opening).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  });
});

describe('a file that is no image archive', () => {
  test.each<[string, TarMember[], string]>([
    ['a tar of something else', [{ name: 'etc/passwd', body: 'x' }], 'ERR_IMAGE_NOT_FOUND'],
    ['two manifest.json', [manifestJson([]), manifestJson([])], 'ERR_DOCUMENT_INVALID'],
    [
      'two manifest.json, one spelled ./',
      [manifestJson([]), { ...manifestJson([]), name: './x/../manifest.json' }],
      'ERR_DOCUMENT_INVALID',
    ],
    ['manifest.json as a folder', [{ name: 'manifest.json', type: 'directory' }], 'ERR_IMAGE_NOT_FOUND'],
    [
      'manifest.json as a device',
      [{ name: 'manifest.json', type: 'character-device' }],
      'ERR_IMAGE_NOT_FOUND',
    ],
  ])('%s', async (_, members, code) => {
    expect(await failure(members)).toBe(code);
  });

  test.each<[string, Buffer, string]>([
    ['nothing', Buffer.alloc(0), 'ERR_IMAGE_NOT_FOUND'],
    ['text', Buffer.from('hello, this is no tar at all\n'.repeat(100)), 'ERR_IMAGE_NOT_FOUND'],
    ['less than a block', Buffer.from('hello'), 'ERR_IMAGE_NOT_FOUND'],
    ['zeros', Buffer.alloc(10_240), 'ERR_IMAGE_NOT_FOUND'],
  ])('%s', async (_, bytes, code) => {
    const file = newPath();
    writeFileSync(file, bytes);
    expect(await codeOfAsync(() => openTestArchive(file))).toBe(code);
  });

  test('an archive cut at any point ends in an error, not in waiting', async () => {
    const image = await dockerImage([{ name: 'a.tar', body: await layerTar('a') }]);
    const file = await archiveOf([image.config, ...image.members, manifestJson([image.entry])]);
    // The last member ends 1024 bytes of zeros before the end.
    const size = (await tarOf([image.config, ...image.members, manifestJson([image.entry])])).length;
    for (let length = size - 1024 - 512; length > 0; length -= 487) {
      truncateSync(file, length);
      expect(await codeOfAsync(() => readAll(file))).toMatch(/^ERR_(DOCUMENT_INVALID|IMAGE_NOT_FOUND)$/);
    }
  });

  test.each<[string, (header: Buffer) => void]>([
    ['a size past the end of the file', (header) => header.write('77777777777\0', 124, 'latin1')],
    ['a negative size', (header) => header.fill(0xff, 124, 136)],
    ['a size of 2^88', (header) => header.fill(0x80, 124, 125).fill(0xff, 125, 136)],
    ['a size that is no number', (header) => header.write('zzzzzzzzzzz\0', 124, 'latin1')],
  ])('a member with %s', async (_, damage) => {
    const bytes = await tarOf([{ name: 'a', body: 'x' }, manifestJson([])]);
    damage(bytes.subarray(0, 512));
    bytes.fill(0x20, 148, 156);
    const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    const file = newPath();
    writeFileSync(file, bytes);
    expect(await codeOfAsync(() => openTestArchive(file))).toBe('ERR_DOCUMENT_INVALID');
  });

  test('an archive changed at random opens, or ends in a PeelError', async () => {
    const image = await dockerImage([{ name: 'a.tar', body: await layerTar('a') }]);
    const bytes = await tarOf([image.config, ...image.members, manifestJson([image.entry])]);
    const file = newPath();
    await assert(
      asyncProperty(nat(bytes.length - 9), uint8Array({ minLength: 1, maxLength: 8 }), async (at, patch) => {
        const changed = Buffer.from(bytes);
        changed.set(patch, at);
        writeFileSync(file, changed);
        expect(await codeOfAsync(() => readAll(file))).toMatch(/^(accepted|ERR_[A-Z_]+$)/);
      }),
      { numRuns: 300 },
    );
  });

  test('a header with a flipped bit', async () => {
    const bytes = await tarOf([manifestJson([])]);
    bytes[3] = (bytes[3] ?? 0) ^ 1;
    const file = newPath();
    writeFileSync(file, bytes);
    expect(await codeOfAsync(() => openTestArchive(file))).toBe('ERR_DOCUMENT_INVALID');
  });

  test('a failed opening leaves no file open', async () => {
    const file = newPath();
    writeFileSync(file, 'x'.repeat(4000));
    const before = readdirSync('/proc/self/fd').length;
    for (let n = 0; n < 20; n += 1) await codeOfAsync(() => openTestArchive(file));
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });
});

describe('an archive in both forms (E170)', () => {
  async function combined(
    other = false,
  ): Promise<{ members: TarMember[]; manifest: string; config: string }> {
    const layout = new MadeLayout();
    const tar = await layerTar('a');
    const layer = layout.addBlob('application/vnd.oci.image.layer.v1.tar', tar);
    const config = layout.addBlob('application/vnd.oci.image.config.v1+json', {
      os: 'linux',
      architecture: 'amd64',
      rootfs: { type: 'layers', diff_ids: [layer.digest] },
    });
    const mediaType = 'application/vnd.oci.image.manifest.v1+json';
    const manifest = layout.addBlob(mediaType, { schemaVersion: 2, mediaType, config, layers: [layer] });
    layout.setIndex([manifest]);
    const saved = other
      ? layout.addBlob('x', '{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}')
      : config;
    const entry = {
      Config: MadeLayout.pathOf(saved.digest),
      RepoTags: ['a:1'],
      Layers: other ? [] : [MadeLayout.pathOf(layer.digest)],
    };
    return {
      members: [...layout.members(), manifestJson([entry])],
      manifest: manifest.digest,
      config: config.digest,
    };
  }

  test('is one image whichever form is read', async () => {
    const { members, manifest, config } = await combined();
    const file = await archiveOf(members);
    const found = await readAll(file);
    expect(found.name).toBe(`oci-archive:${file}`);
    expect(found.manifestDigest).toBe(manifest);
    const saved = await readAll(file, { by: 'name', name: 'a:1' }, 'docker-archive');
    expect(sha256Digest(saved.config)).toBe(config);
    expect(saved.layers.map(sha256Digest)).toEqual(found.layers.map(sha256Digest));
    expect(saved.manifest.layers.map((layer) => layer.digest)).toEqual(
      found.manifest.layers.map((layer) => layer.digest),
    );
  });

  test.each([undefined, 'oci-archive', 'docker-archive'] as const)(
    'is refused as %s when the forms are of two images',
    async (transport) => {
      const file = await archiveOf((await combined(true)).members);
      expect(await codeOfAsync(() => openTestArchive(file, transport, undefined))).toBe(
        'ERR_DOCUMENT_INVALID',
      );
      await expect(openTestArchive(file, transport, undefined)).rejects.toThrow('two images in one');
    },
  );

  test('the wrong transport is answered with the right one', async () => {
    const layout = new MadeLayout();
    const oci = await archiveOf(layout.setIndex([layout.addImage('a')]).members());
    await expect(openTestArchive(oci, 'docker-archive', undefined)).rejects.toThrow(
      'oci-archive: would read it',
    );
    const docker = await archiveOf([manifestJson([])]);
    await expect(openTestArchive(docker, 'oci-archive', undefined)).rejects.toThrow(
      'docker-archive: would read it',
    );
  });
});
