/**
 * What kind of image archive a tar file is, and its source.
 *
 *   index.json (+ oci-layout, blobs/)   OCI archive
 *   manifest.json                       docker archive, 1.10 and later
 *   both                                Docker 25 and later, containerd: one image in two forms
 *   repositories, <id>/json             docker archive, 1.9 and older
 */
import { isPeelError, PeelError } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import { digestOf } from '../../reference/digest.ts';
import { isIndexType, isManifestType } from '../../reference/media-types.ts';
import { MAX_DOCUMENT_SIZE, type ParsedDocument, parseDocument } from '../../reference/parse-document.ts';
import { formatSelection, type Selection } from '../../reference/transport.ts';
import type { Digest } from '../../units.ts';
import { LayoutSource } from '../layout/layout-source.ts';
import type { ImageSource } from '../source.ts';
import type { ArchiveTools } from './archive-tools.ts';
import { DockerArchiveSource, SAVE_MANIFEST_FILE } from './docker-archive-source.ts';
import { isLegacyArchive, LegacyArchiveSource, REPOSITORIES_FILE } from './legacy-archive-source.ts';
import { type Archive, openArchive } from './open-archive.ts';

type ArchiveTransport = 'oci-archive' | 'docker-archive';

const INDEX_FILE = 'index.json';
/** Documents that are read to see that both forms are of one image; a real archive has a handful. */
const MAX_COMPARED_DOCUMENTS = 1000;
const MAX_COMPARED_DEPTH = 4;

/**
 * @param transport what the user said it is; undefined to find out.
 * @param file `-` for standard input.
 * @throws PeelError ERR_IMAGE_NOT_FOUND, ERR_UNSUPPORTED, ERR_DOCUMENT_INVALID
 */
export async function openArchiveSource(
  file: string,
  transport: ArchiveTransport | undefined,
  selection: Selection | undefined,
  tools: ArchiveTools,
  signal?: AbortSignal,
): Promise<ImageSource> {
  const archive = await openArchive(file, tools, signal);
  try {
    const kind = await recognise(archive, file, transport);
    const name = `${kind}:${file}${formatSelection(selection)}`;
    if (kind === 'oci-archive') return new LayoutSource(name, archive, selection);
    return archive.members.has(SAVE_MANIFEST_FILE)
      ? new DockerArchiveSource(name, archive, selection)
      : new LegacyArchiveSource(name, archive, selection);
  } catch (error) {
    await archive.close();
    throw error;
  }
}

async function recognise(
  archive: Archive,
  file: string,
  transport: ArchiveTransport | undefined,
): Promise<ArchiveTransport> {
  const { members } = archive;
  const isDocker = members.has(SAVE_MANIFEST_FILE);
  const isOci = members.has(INDEX_FILE);
  if (isDocker && isOci) {
    const hasImages = await compareForms(archive, file);
    // Some tools write an index.json without images beside a full manifest.json.
    return transport ?? (hasImages ? 'oci-archive' : 'docker-archive');
  }
  if (isOci && transport !== 'docker-archive') return 'oci-archive';
  if (isDocker && transport !== 'oci-archive') return 'docker-archive';
  if (transport !== 'oci-archive' && isLegacyArchive(archive)) return 'docker-archive';
  throw new PeelError('ERR_IMAGE_NOT_FOUND', `${file} is not ${expectationOf(transport, isOci, isDocker)}`);
}

function expectationOf(transport: ArchiveTransport | undefined, isOci: boolean, isDocker: boolean): string {
  if (transport === 'oci-archive') {
    return `an OCI archive: it has no ${INDEX_FILE}${isDocker ? '; docker-archive: would read it' : ''}`;
  }
  if (transport === 'docker-archive') {
    return `a docker archive: it has neither ${SAVE_MANIFEST_FILE} nor ${REPOSITORIES_FILE}${isOci ? '; oci-archive: would read it' : ''}`;
  }
  return `an image archive: it has no ${INDEX_FILE}, ${SAVE_MANIFEST_FILE} or ${REPOSITORIES_FILE}`;
}

/**
 * That whoever reads index.json and whoever reads manifest.json see the same images (E170): every config
 * in manifest.json must be the config of a manifest that index.json leads to.
 * @returns whether index.json lists anything.
 */
async function compareForms(archive: Archive, file: string): Promise<boolean> {
  const layout = new LayoutSource(`oci-archive:${file}`, archive);
  const saved = new DockerArchiveSource(`docker-archive:${file}`, archive);
  const { index } = await layout.readIndex();
  if (index.manifests.length === 0) return false;
  const configs = await collectConfigs(layout, index.manifests);
  for (const image of await saved.readImages()) {
    const digest = digestOf(await saved.readConfig(image));
    if (configs.has(digest)) continue;
    throw new PeelError(
      'ERR_DOCUMENT_INVALID',
      `${file} is two images in one: ${SAVE_MANIFEST_FILE} has the config ${digest}, which ${INDEX_FILE} does not lead to`,
      { facts: { digest } },
    );
  }
  return true;
}

/** Digests of the configs of all manifests in the archive; those of other platforms may be absent (E171). */
async function collectConfigs(
  layout: LayoutSource,
  roots: readonly Descriptor[],
): Promise<ReadonlySet<Digest>> {
  const configs = new Set<Digest>();
  const seen = new Set<Digest>();
  let level = roots;
  for (let depth = 0; depth < MAX_COMPARED_DEPTH && level.length > 0; depth += 1) {
    const next: Descriptor[] = [];
    for (const descriptor of level) {
      const isDocument = isIndexType(descriptor.mediaType) || isManifestType(descriptor.mediaType);
      if (!isDocument || seen.has(descriptor.digest) || descriptor.size > MAX_DOCUMENT_SIZE) continue;
      if (seen.size === MAX_COMPARED_DOCUMENTS) return configs;
      seen.add(descriptor.digest);
      if (!(await layout.isPresent(descriptor))) continue;
      const document = await readIfValid(layout, descriptor);
      if (document?.kind === 'index') next.push(...document.manifests);
      else if (document?.kind === 'manifest') configs.add(document.config.digest);
    }
    level = next;
  }
  return configs;
}

/** A document that cannot be read vouches for no config; whoever chooses it gets the error. */
async function readIfValid(
  layout: LayoutSource,
  descriptor: Descriptor,
): Promise<ParsedDocument | undefined> {
  try {
    const { bytes, mediaType } = await layout.fetchDocument(descriptor);
    return parseDocument(bytes, mediaType);
  } catch (error) {
    if (isPeelError(error)) return undefined;
    throw error;
  }
}
