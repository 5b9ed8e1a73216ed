/** Which of the images in a docker archive is meant: by one of its names, its position, or its ID. */
import { PeelError } from '../../errors.ts';
import { excerpt } from '../../reference/digest.ts';
import { formatReference, parseRegistryReference } from '../../reference/registry-reference.ts';
import type { Selection } from '../../reference/transport.ts';
import type { Digest } from '../../units.ts';

/** What names an image in an archive. */
interface Named {
  readonly repoTags: readonly string[];
}

/**
 * @param idOf the image ID, as `docker images` shows it; asked for only where the user chose by it.
 * @param where names the archive in messages.
 * @throws PeelError ERR_IMAGE_NOT_FOUND listing what there is, ERR_USAGE where the choice is left open (E179).
 */
export async function chooseSaved<Image extends Named>(
  images: readonly Image[],
  selection: Selection | undefined,
  idOf: (image: Image) => Promise<Digest>,
  where: string,
): Promise<Image> {
  const chosen = await matching(images, selection, idOf);
  const [only, ...others] = chosen;
  if (only !== undefined && others.length === 0) return only;
  if (images.length === 0) throw new PeelError('ERR_IMAGE_NOT_FOUND', `${where} is empty: it lists no image`);
  const tags = images
    .flatMap(({ repoTags }) => repoTags.slice(0, 20).map((tag) => excerpt(tag)))
    .slice(0, 20);
  const there = `${tags.length === 0 ? '' : `there are ${tags.join(', ')}; `}positions are :@0 to :@${images.length - 1}`;
  if (only === undefined) throw new PeelError('ERR_IMAGE_NOT_FOUND', `${where} has no such image: ${there}`);
  throw new PeelError('ERR_USAGE', `${where} has ${chosen.length} images to choose from: ${there}`);
}

async function matching<Image extends Named>(
  images: readonly Image[],
  selection: Selection | undefined,
  idOf: (image: Image) => Promise<Digest>,
): Promise<readonly Image[]> {
  if (selection === undefined) return images;
  if (selection.by === 'position') return images.slice(selection.position, selection.position + 1);
  if (selection.by === 'name') {
    const wanted = wholeName(selection.name);
    return images.filter(({ repoTags }) => repoTags.some((tag) => wholeName(tag) === wanted));
  }
  const found: Image[] = [];
  for (const image of images) if ((await idOf(image)) === selection.digest) found.push(image);
  return found;
}

/** `img1` and `docker.io/library/img1:latest` are one name; what is no reference is compared as it stands. */
function wholeName(name: string): string {
  try {
    return formatReference(parseRegistryReference(name));
  } catch {
    return name;
  }
}
