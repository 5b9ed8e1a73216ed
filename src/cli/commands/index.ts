/** `peel index`: makes the indexes of layers ahead of time, ships them to other machines, and checks them. */
import path from 'node:path';
import { PeelError } from '../../errors.ts';
import {
  type Content,
  IMAGE_INDEX_TYPE,
  imageList,
  LAYER_INDEX_TYPE,
  type LayerArtifact,
} from '../../image/index-artifact.ts';
import type { Image } from '../../image.ts';
import type { RegistryReference } from '../../reference/registry-reference.ts';
import { parseImageName } from '../../reference/transport.ts';
import type { Digest } from '../../units.ts';
import { type Context, defineCommand } from '../command.ts';
import { listIndexes } from '../index-list.ts';
import { EntryWriter, writeDocument } from '../json-output.ts';
import { openSourceOf, registryOptionsOf } from '../open-images.ts';
import { quoteText } from '../quote.ts';
import { decimalSize } from '../size.ts';
import { formatTable } from '../table.ts';

const OPTIONS = {
  to: {
    type: 'string',
    value: 'REPOSITORY',
    summary: 'push: put the index into this repository, in place of the one of the image',
  },
} as const;

type IndexContext = Context<typeof OPTIONS>;

/** Layers are read as a whole because that was asked for. */
const ON_PURPOSE = { onIndexBeside: undefined };

const SHORT_DIGEST = 12;

export const index = defineCommand({
  name: 'index',
  summary: 'make, ship and check the indexes of layers',
  usage: [
    'build IMAGE',
    'export IMAGE FILE',
    'push [--to REPOSITORY] IMAGE',
    'import FILE|docker://IMAGE',
    'list IMAGE',
    'verify IMAGE',
  ],
  details: [
    'build: reads each layer once, whole, and keeps its index in the cache (class A); layers that bring an index of their own are left as they are.',
    'export: the same, and writes the indexes to FILE, an OCI archive. It prints the digest of the list of them: give that to others by a way that they trust.',
    'push: the same, into the repository of the image, which needs credentials that may push. It lies beside the image, which is not changed: each index refers to its layer, the list of them to the image, as signatures do. With --to it lies in another repository, for images that were copied there, or where only that may be written; what the registry has in the repository of the image already is not sent again.',
    'import: takes such an archive, or a list of indexes in a registry, into the cache. With --index-digest DIGEST each command then reads the layers by it: at once, class C, trusting whoever named the digest with the content.',
    'list: shows the indexes that lie beside the image in its registry, and whether they can be used. Anybody who may write there can have put them: what makes one worth using is who named its digest (--index-digest).',
    'verify: reads each layer as a whole and compares the index at hand, ours, the one of --index-digest or the one that the image brings, with what is in it. Exit status 6 where they differ. In each case the layer is class A after it.',
  ],
  options: OPTIONS,
  minArgs: 2,
  maxArgs: 3,
  async run(context) {
    const [action = '', image = '', file] = context.args;
    if ((file !== undefined) !== (action === 'export')) {
      throw new PeelError(
        'ERR_USAGE',
        `index ${action}: ${action === 'export' ? 'name IMAGE and FILE' : 'name one image'}`,
      );
    }
    if (context.flags.to !== undefined && action !== 'push') {
      throw new PeelError('ERR_USAGE', `index ${action}: --to is an option of push alone`);
    }
    if (action === 'build') return await build(context, image);
    if (action === 'export') return await exportTo(context, image, file ?? '');
    if (action === 'push') return await push(context, image);
    if (action === 'import') return await importFrom(context, image);
    if (action === 'list') {
      await listIndexes(context, await context.openImage(image, ON_PURPOSE));
      return 0;
    }
    if (action === 'verify') return await verify(context, image);
    throw new PeelError(
      'ERR_USAGE',
      `index: '${action}' is none of build, export, push, import, list, verify`,
    );
  },
});

interface BuiltRow {
  readonly layer: number;
  readonly digest: Digest;
  /** Compressed bytes of the layer. */
  readonly size: number;
  /** Bytes of the packed TOC and of the windows; absent for a layer that is read by another index. */
  readonly tocBytes?: number;
  readonly windowBytes?: number;
}

/** The layers of an image, packed, each once. */
async function* packed(image: Image): AsyncGenerator<{ row: BuiltRow; artifact: LayerArtifact | undefined }> {
  const { packLayer } = await import('../../image/travel.ts');
  const seen = new Set<Digest>();
  for (const [layer, { descriptor }] of image.layers.entries()) {
    const { digest, size } = descriptor;
    if (seen.has(digest)) continue;
    seen.add(digest);
    const artifact = await packLayer(descriptor, await image.storedLayer(layer));
    const [, toc, windows] = artifact?.blobs ?? [];
    const bytes =
      toc === undefined ? {} : { tocBytes: toc.bytes.length, windowBytes: windows?.bytes.length ?? 0 };
    yield { row: { layer, digest, size, ...bytes }, artifact };
  }
}

async function build(context: IndexContext, name: string): Promise<number> {
  const image = await context.openImage(name, ON_PURPOSE);
  const rows: BuiltRow[] = [];
  for await (const { row } of packed(image)) rows.push(row);
  await writeRows(context, rows);
  return 0;
}

async function writeRows(context: IndexContext, rows: readonly BuiltRow[]): Promise<void> {
  if (context.settings.format !== 'table') {
    const writer = new EntryWriter(context, 'layers');
    for (const row of rows) await writer.write(row);
    await writer.end();
    return;
  }
  const share = ({ size, tocBytes = 0, windowBytes = 0 }: BuiltRow): string =>
    `${((100 * (tocBytes + windowBytes)) / Math.max(1, size)).toFixed(1)} %`;
  const table = formatTable(
    [
      { heading: 'LAYER', alignRight: true },
      { heading: 'DIGEST' },
      { heading: 'SIZE', alignRight: true },
      { heading: 'TOC', alignRight: true },
      { heading: 'WINDOWS', alignRight: true },
      { heading: 'SHARE', alignRight: true },
    ],
    rows.map((row) => [
      String(row.layer),
      shorten(row.digest),
      decimalSize(row.size),
      row.tocBytes === undefined ? '-' : decimalSize(row.tocBytes),
      row.windowBytes === undefined ? '-' : decimalSize(row.windowBytes),
      row.tocBytes === undefined ? '-' : share(row),
    ]),
  );
  await context.stdout.write(table);
}

async function exportTo(context: IndexContext, name: string, file: string): Promise<number> {
  const image = await context.openImage(name, ON_PURPOSE);
  const { writeLayoutArchive } = await import('../../source/archive/write-layout.ts');
  let list: Content | undefined;
  await writeLayoutArchive(
    file,
    contentsOf(image, (made) => (list = made)),
  );
  await writePin(context, list?.descriptor.digest);
  return 0;
}

async function push(context: IndexContext, name: string): Promise<number> {
  const { settings, env, signal, flags } = context;
  const parsed = parseImageName(name);
  if (parsed.transport !== 'docker') {
    throw new PeelError('ERR_USAGE', `index push: ${name} is in no registry; export its index to a file`);
  }
  if (settings.offline)
    throw new PeelError('ERR_OFFLINE', `index push ${name}: --offline forbids to ask the registry`);
  const { reference } = parsed;
  const target = flags.to === undefined ? reference : parseRepository(flags.to);
  const image = await context.openImage(name, ON_PURPOSE);
  const { Pusher } = await import('../../source/registry/push.ts');
  const isElsewhere = target.registry === reference.registry && target.repository !== reference.repository;
  const mountFrom = isElsewhere ? reference.repository : undefined;
  const pusher = new Pusher(target, registryOptionsOf(settings, env), signal, mountFrom);
  context.closeAtEnd(pusher);
  try {
    const artifacts: LayerArtifact[] = [];
    for await (const { artifact } of packed(image)) {
      if (artifact === undefined) continue;
      for (const blob of artifact.blobs) await pusher.pushBlob(blob);
      await pusher.pushManifest(artifact.manifest, artifact.subject.digest, LAYER_INDEX_TYPE);
      artifacts.push({ ...artifact, blobs: [] });
    }
    const list = listOf(image, artifacts);
    await pusher.pushManifest(list, image.digest, IMAGE_INDEX_TYPE);
    await writePin(context, list.descriptor.digest);
  } finally {
    await pusher.close();
  }
  return 0;
}

/** @throws PeelError ERR_USAGE where it names more than a repository. */
function parseRepository(text: string): RegistryReference {
  const name = parseImageName(text);
  const isNamed = /@|:[^/]*$/.test(text.replace(/^docker:\/\//, ''));
  if (name.transport === 'docker' && !isNamed) return name.reference;
  throw new PeelError(
    'ERR_USAGE',
    `index push --to ${text}: name a repository of a registry, without tag and digest`,
  );
}

function listOf(image: Image, artifacts: readonly Pick<LayerArtifact, 'manifest'>[]): Content {
  if (artifacts.length > 0) return imageList(image.manifestDescriptor, artifacts);
  throw new PeelError(
    'ERR_UNSUPPORTED',
    `${image.name}: each layer is read by another index, there is none of ours`,
  );
}

/** All that is written; returns the list. */
async function* contentsOf(
  image: Image,
  onList: (list: Content) => void,
): AsyncGenerator<Content, Content, undefined> {
  const artifacts: Pick<LayerArtifact, 'manifest'>[] = [];
  for await (const { artifact } of packed(image)) {
    if (artifact === undefined) continue;
    yield* artifact.blobs;
    yield artifact.manifest;
    artifacts.push({ manifest: artifact.manifest });
  }
  const list = listOf(image, artifacts);
  onList(list);
  return list;
}

async function importFrom(context: IndexContext, text: string): Promise<number> {
  const { importIndexes } = await import('../../image/travel.ts');
  const { openCacheDir } = await import('../../blob/cache-dir.ts');
  const cache = await openCacheDir(context.settings.cacheDir);
  const isImage = /^(?:docker:\/\/|oci:|oci-archive:)/.test(text);
  const source = await openSourceOf(context, cache, isImage ? text : path.resolve(text));
  try {
    const { digest } = await importIndexes(source, cache, context.signal);
    await writePin(context, digest);
  } finally {
    await source.close();
    await cache.close();
  }
  return 0;
}

async function writePin(context: IndexContext, digest: Digest | undefined): Promise<void> {
  if (context.settings.format === 'table') await context.stdout.write(`${digest ?? ''}\n`);
  else await writeDocument(context, { indexDigest: digest });
}

interface VerifiedRow {
  readonly layer: number;
  readonly digest: Digest;
  readonly verificationClass?: string;
  /** What is wrong about it; absent where it is the same. */
  readonly difference?: string;
  /** Whether there was one. */
  readonly isCompared: boolean;
}

async function verify(context: IndexContext, name: string): Promise<number> {
  const image = await context.openImage(name, ON_PURPOSE);
  const rows: VerifiedRow[] = [];
  const seen = new Set<Digest>();
  for (const [layer, { descriptor }] of image.layers.entries()) {
    if (seen.has(descriptor.digest)) continue;
    seen.add(descriptor.digest);
    rows.push(...(await verifyLayer(image, layer, descriptor.digest)));
  }
  await writeVerified(context, rows);
  const wrong = rows.filter(({ difference }) => difference !== undefined);
  if (wrong.length === 0) return 0;
  // The table stands before the message.
  await context.stdout.flush();
  throw new PeelError(
    'ERR_DIGEST_MISMATCH',
    `${image.name}: ${wrong.length} of the indexes are not what the layers say; the layers were read as a whole, and are class A now`,
  );
}

async function verifyLayer(image: Image, layer: number, digest: Digest): Promise<VerifiedRow[]> {
  const { differenceOf } = await import('../../image/travel.ts');
  const rows: VerifiedRow[] = [];
  await image.prove(layer, async (atHand, proved, blob) => {
    for (const { verificationClass, index: found } of atHand) {
      const row = { layer, digest, verificationClass };
      const difference = typeof found === 'string' ? found : await differenceOf(found, proved, blob);
      rows.push({ ...row, isCompared: true, ...(difference === undefined ? {} : { difference }) });
    }
    if (atHand.length === 0) rows.push({ layer, digest, isCompared: false });
  });
  return rows;
}

async function writeVerified(context: IndexContext, rows: readonly VerifiedRow[]): Promise<void> {
  if (context.settings.format !== 'table') {
    const writer = new EntryWriter(context, 'indexes');
    for (const row of rows) await writer.write(row);
    await writer.end();
    return;
  }
  const resultOf = ({ verificationClass, difference }: VerifiedRow): string => {
    if (verificationClass === undefined) return 'there was none';
    return difference === undefined ? 'same' : `DIFFERS: ${difference}`;
  };
  const table = formatTable(
    [
      { heading: 'LAYER', alignRight: true },
      { heading: 'DIGEST' },
      { heading: 'CLASS' },
      { heading: 'RESULT' },
    ],
    rows.map((row) => [
      String(row.layer),
      shorten(row.digest),
      row.verificationClass ?? '-',
      quoteText(resultOf(row)),
    ]),
  );
  await context.stdout.write(table);
}

function shorten(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1).slice(0, SHORT_DIGEST);
}
