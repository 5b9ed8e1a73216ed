/**
 * The digest that names a layer of a docker archive.
 *
 * The archive gives no digest of its layers as they are stored, only the diffID of each. Three cases:
 *
 *   blobs/sha256/<hex>   the name says it (Docker 25 and later)
 *   a plain tar          stored and uncompressed bytes are the same, so the diffID is it
 *   compressed           the member is read once and hashed
 *
 * The first two are claims until the layer is indexed: then digest and diffID are both computed and compared,
 * as for a layer of a registry. So opening an archive of plain tars, which `docker save` writes, costs no
 * pass over its layers.
 */
import { createHash } from 'node:crypto';
import { isPeelError } from '../../errors.ts';
import { parseDigest } from '../../reference/digest.ts';
import { DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD } from '../../reference/media-types.ts';
import { compressed, type Digest } from '../../units.ts';
import { type OpenFile, streamFile } from '../local-file.ts';
import { compressionOf } from './magic.ts';
import { normaliseName } from './member-table.ts';

const BLOCK = 512;

export interface LayerIdentity {
  readonly digest: Digest;
  /** Docker's type for what the first bytes are. */
  readonly mediaType: string;
}

/**
 * @param file the member, and @param name its name.
 * @param diffID what the config says of the layer.
 */
export async function identifyLayer(
  file: OpenFile,
  name: string,
  diffID: Digest,
  signal?: AbortSignal,
): Promise<LayerIdentity> {
  const start = await file.read(0, Math.min(BLOCK, file.size));
  const named = digestInName(name);
  const compression = compressionOf(start);
  const mediaType =
    compression === 'gzip' ? DOCKER_LAYER_GZIP : compression === 'zstd' ? DOCKER_LAYER_ZSTD : DOCKER_LAYER;
  const isPlain = mediaType === DOCKER_LAYER && isTarStart(start);
  return { digest: named ?? (isPlain ? diffID : await hashFile(file, signal)), mediaType };
}

/** The digest in `blobs/sha256/<hex>` or `sha256:<hex>`. Any other name says nothing. */
export function digestInName(name: string): Digest | undefined {
  const match = /^(?:blobs\/)?(sha256|sha512)[/:]([0-9a-f]+)$/.exec(normaliseName(name));
  if (match === null) return undefined;
  try {
    return parseDigest(`${match[1]}:${match[2]}`);
  } catch (error) {
    if (isPeelError(error)) return undefined;
    throw error;
  }
}

/** A tar begins with a header whose checksum fits, or, when it is empty, with zeros. */
function isTarStart(block: Buffer): boolean {
  if (block.length < BLOCK) return false;
  if (block.every((byte) => byte === 0)) return true;
  const written = Number.parseInt(block.toString('latin1', 148, 156).replaceAll('\0', ' ').trim(), 8);
  // The checksum counts its own eight bytes as spaces.
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0);
  return sum === written;
}

/** The sha256 of a whole file. */
export async function hashFile(file: OpenFile, signal?: AbortSignal): Promise<Digest> {
  const hash = createHash('sha256');
  const whole = { start: compressed(0), end: compressed(file.size) };
  for await (const chunk of streamFile(file, whole, signal)) hash.update(chunk);
  return `sha256:${hash.digest('hex')}` as Digest;
}
