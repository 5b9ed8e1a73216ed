/**
 * The index that SOCI has of one layer (a ztoc), turned into a TOC: its uncompressed space is the tar. What it has a
 * digest of is the compressed bytes of each span. With the window that it keeps, these determine what comes out, so
 * the index is to be trusted as a whole (class C); a forged window would change the content of an honest layer.
 */
import { createHash } from 'node:crypto';
import { type Digest, isDigest } from '../../units.ts';
import { MAX_INDEX_ENTRIES } from '../index-entry.ts';
import { ownIndexKey } from '../own-index.ts';
import type { Entry, Toc } from '../toc.ts';
import { UnusableIndex } from '../unusable-index.ts';
import { gzipSpans, plainSpans } from './checkpoints.ts';
import { FlatTable } from './flat-table.ts';
import { ztocEntry } from './ztoc-entry.ts';

const ZTOC = { compressedSize: 2, uncompressedSize: 3, toc: 4, compression: 5 } as const;
const COMPRESSION = { algorithm: 0, digests: 2, checkpoints: 3 } as const;
const GZIP = 1;
const UNCOMPRESSED = 2;

export interface ZtocLayer {
  readonly digest: Digest;
  /** Of the blob. */
  readonly size: number;
  /** Of the ztoc. */
  readonly ztocDigest: Digest;
}

/** @throws UnusableIndex where `ztoc` is not what the digest names, or cannot be true. */
export function readZtoc(ztoc: Buffer, layer: ZtocLayer): { readonly toc: Toc; readonly windows: Buffer } {
  const found = `sha256:${createHash('sha256').update(ztoc).digest('hex')}`;
  if (found !== layer.ztocDigest) {
    throw new UnusableIndex(`it has the digest ${found}, the SOCI index says ${layer.ztocDigest}`);
  }
  const root = FlatTable.root(ztoc);
  const compressedSize = root.size(ZTOC.compressedSize);
  const uncompressedSize = root.size(ZTOC.uncompressedSize);
  if (compressedSize !== layer.size) {
    throw new UnusableIndex(`it is of a layer of ${compressedSize} bytes, not of ${layer.size}`);
  }
  const compression = root.table(ZTOC.compression);
  const algorithm = compression?.byte(COMPRESSION.algorithm, GZIP);
  if (compression === undefined || (algorithm !== GZIP && algorithm !== UNCOMPRESSED)) {
    throw new UnusableIndex('its compression is unknown');
  }
  const digests = digestsOf(compression);
  const sizes = { compressed: compressedSize, uncompressed: uncompressedSize, spans: digests.length };
  const points = compression.bytes(COMPRESSION.checkpoints);
  const { windows, ...index } = algorithm === GZIP ? gzipSpans(points, sizes) : plainSpans(points, sizes);
  const toc: Toc = {
    digest: layer.digest,
    diffID: undefined,
    compression: algorithm === GZIP ? 'gzip' : 'none',
    compressedSize: layer.size,
    uncompressedSize,
    own: {
      format: 'soci',
      digest: layer.ztocDigest,
      key: ownIndexKey('soci', layer.digest, layer.size, layer.ztocDigest),
      stored: { digests },
    },
    ...index,
    entries: entriesOf(root, uncompressedSize),
    warnings: [],
  };
  return { toc, windows };
}

function digestsOf(compression: FlatTable): Buffer[] {
  return Array.from(compression.texts(COMPRESSION.digests), (text) => {
    if (!isDigest(text) || !text.startsWith('sha256:')) throw new UnusableIndex('a digest that is none');
    return Buffer.from(text.slice('sha256:'.length), 'hex');
  });
}

/** In the order of the tar; contents must not overlap, as those of a sparse file, which it has no map of, would. */
function entriesOf(root: FlatTable, uncompressedSize: number): Entry[] {
  const entries: Entry[] = [];
  let end = 0;
  for (const table of root.table(ZTOC.toc)?.tables(0) ?? []) {
    const { entry, dataOffset } = ztocEntry(table);
    if (dataOffset < end || dataOffset + entry.size > uncompressedSize) {
      throw new UnusableIndex(
        `the content of ${JSON.stringify(entry.path)} overlaps another, or leaves the tar`,
      );
    }
    end = entry.type === 'file' ? dataOffset + entry.size : dataOffset;
    entries.push(entry);
    if (entries.length > MAX_INDEX_ENTRIES) throw new UnusableIndex(`more than ${MAX_INDEX_ENTRIES} entries`);
  }
  return entries;
}
