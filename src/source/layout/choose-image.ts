/**
 * Which image of an OCI layout is meant: image-spec image-layout.md leaves it to annotations.
 *
 *   no selection   the only image; or, where the entries are one image for several platforms, index.json itself
 *   name           `org.opencontainers.image.ref.name`, or containerd's full name
 *   position       of the entry in index.json
 *   digest         of the entry, or of any manifest in the layout
 */
import { PeelError } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import { digestOf, excerpt } from '../../reference/digest.ts';
import type { ImageIndex } from '../../reference/documents.ts';
import { OCI_INDEX } from '../../reference/media-types.ts';
import { isImageCandidate } from '../../reference/select-manifest.ts';
import type { Selection } from '../../reference/transport.ts';
import type { Digest } from '../../units.ts';
import type { StoredDocument } from '../source.ts';

export type ImageChoice =
  | { readonly kind: 'descriptor'; readonly descriptor: Descriptor }
  | { readonly kind: 'document'; readonly document: StoredDocument }
  | { readonly kind: 'blob'; readonly digest: Digest };

const REF_NAME = 'org.opencontainers.image.ref.name';
const CONTAINERD_NAME = 'io.containerd.image.name';

/**
 * @param document index.json as stored, and @param index what it says.
 * @param where names the layout in messages.
 * @throws PeelError ERR_IMAGE_NOT_FOUND listing what there is, ERR_USAGE when the choice is left open.
 */
export function chooseImage(
  document: StoredDocument,
  index: ImageIndex,
  selection: Selection | undefined,
  where: string,
): ImageChoice {
  const entries = index.manifests;
  if (selection === undefined) return chooseOnly(document, entries, where);
  if (selection.by === 'name') return chooseByName(entries, selection.name, where);
  if (selection.by === 'digest') {
    const descriptor = entries.find(({ digest }) => digest === selection.digest);
    return descriptor === undefined
      ? { kind: 'blob', digest: selection.digest }
      : { kind: 'descriptor', descriptor };
  }
  const descriptor = entries[selection.position];
  if (descriptor !== undefined) return { kind: 'descriptor', descriptor };
  throw new PeelError(
    'ERR_IMAGE_NOT_FOUND',
    `${where} has no image @${selection.position}: index.json lists ${entries.length}, counted from 0`,
  );
}

function chooseByName(entries: readonly Descriptor[], name: string, where: string): ImageChoice {
  const named = distinct(
    entries.filter(
      ({ annotations }) => annotations?.[REF_NAME] === name || annotations?.[CONTAINERD_NAME] === name,
    ),
  );
  const [only, ...others] = named;
  if (only === undefined) {
    throw new PeelError(
      'ERR_IMAGE_NOT_FOUND',
      `${where} has no image named ${excerpt(name)}: ${listOf(entries)}`,
    );
  }
  if (others.length === 0) return { kind: 'descriptor', descriptor: only };
  if (named.every(hasPlatform)) return { kind: 'document', document: indexOf(named) };
  throw new PeelError(
    'ERR_USAGE',
    `${where} has ${named.length} images named ${excerpt(name)}: choose one by ${choicesOf(entries)}`,
  );
}

function chooseOnly(document: StoredDocument, entries: readonly Descriptor[], where: string): ImageChoice {
  const all = distinct(entries);
  const images = distinct(entries.filter(isImageCandidate));
  const [only] = images.length === 1 ? images : all;
  if (only === undefined) {
    throw new PeelError('ERR_IMAGE_NOT_FOUND', `${where} is empty: index.json lists no image`);
  }
  if (images.length === 1 || all.length === 1) return { kind: 'descriptor', descriptor: only };
  const names = new Set(images.map((image) => image.annotations?.[REF_NAME]));
  if (images.length > 0 && names.size === 1 && images.every(hasPlatform))
    return { kind: 'document', document };
  throw new PeelError('ERR_USAGE', `${where} has several images: choose one by ${choicesOf(entries)}`);
}

/** Two names of one image are one image. */
function distinct(descriptors: readonly Descriptor[]): readonly Descriptor[] {
  return [...new Map(descriptors.toReversed().map((item) => [item.digest, item])).values()].toReversed();
}

function hasPlatform(descriptor: Descriptor): boolean {
  return descriptor.platform !== undefined;
}

/** An index of the entries that share a name, one for each platform; its bytes depend on nothing else. */
function indexOf(descriptors: readonly Descriptor[]): StoredDocument {
  const manifests = descriptors.map(({ mediaType, digest, size, platform }) => ({
    mediaType,
    digest,
    size,
    platform: {
      architecture: platform?.architecture,
      os: platform?.os,
      'os.version': platform?.osVersion,
      variant: platform?.variant,
    },
  }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
  return { mediaType: OCI_INDEX, digest: digestOf(bytes), bytes };
}

function namesOf(entries: readonly Descriptor[]): readonly string[] {
  const names = entries.flatMap(
    ({ annotations }) => annotations?.[REF_NAME] ?? annotations?.[CONTAINERD_NAME] ?? [],
  );
  return [...new Set(names)];
}

function listOf(entries: readonly Descriptor[]): string {
  const names = namesOf(entries);
  return names.length === 0 ? 'its images have no names' : `there are ${shorten(names)}`;
}

function choicesOf(entries: readonly Descriptor[]): string {
  const names = namesOf(entries);
  const positions = `:@0 to :@${entries.length - 1}`;
  return names.length === 0 ? positions : `name (${shorten(names)}) or position (${positions})`;
}

function shorten(names: readonly string[]): string {
  const shown = names.slice(0, 20).map((name) => excerpt(name));
  return names.length > 20 ? `${shown.join(', ')}, and ${names.length - 20} more` : shown.join(', ');
}
