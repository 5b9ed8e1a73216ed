/**
 * A stack of layers in each of the six forms that layers come in, and read from it by the parts that read such
 * layers: the pass over the blob, the readers of own indexes, the source of archives.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { withoutStargzFiles } from '../../src/image/own-index-claim.ts';
import { UnusableIndex } from '../../src/layer/unusable-index.ts';
import { readAll } from '../source/read-archive.ts';
import { type ChunkedLayer, chunkedLayer, isSaidByIndex, type TocJson } from './chunked-layer.ts';
import { sha256Digest } from './digests.ts';
import { member } from './image-layout.ts';
import { ownTocOf, spaceOf } from './own-toc.ts';
import type { Stack } from './random-stack.ts';
import { type ReadLayer, readLayer } from './read-layer.ts';
import { type Member, writeTar } from './tar-bytes.ts';

export const STACK_FORMATS = ['tar', 'gzip', 'zstd', 'estargz', 'zstd-chunked', 'docker-archive'] as const;
export type StackFormat = (typeof STACK_FORMATS)[number];
/** Without an index: all of the blob is passed over. */
type PassedFormat = Exclude<StackFormat, 'estargz' | 'zstd-chunked'>;

/** Small, so that the longer files of random stacks have several. */
const CHUNK_BYTES = 1000;
const DEADLINE_MS = 60_000;

/** The layers of a stack, lowest first, as they are read from that format. @throws PeelError for what is refused */
export async function readStack(stack: Stack, format: StackFormat): Promise<ReadLayer[]> {
  if (format === 'estargz' || format === 'zstd-chunked') {
    return await Promise.all(stack.map((members, index) => readChunked(members, format, 1 + (index % 3))));
  }
  const tars = stack.map((members) => writeTar(members).bytes);
  return await Promise.all((await blobsOf(tars, format)).map((blob) => readLayer(blob)));
}

async function blobsOf(tars: readonly Buffer[], format: PassedFormat): Promise<readonly Buffer[]> {
  if (format === 'gzip') return tars.map((tar) => gzipSync(tar, { level: 1 }));
  if (format === 'zstd') return await inFolder((folder) => zstdAll(tars, folder));
  if (format === 'docker-archive') return await inFolder((folder) => savedAndRead(tars, folder));
  return tars;
}

async function savedAndRead(tars: readonly Buffer[], folder: string): Promise<readonly Buffer[]> {
  const file = path.join(folder, 'saved.tar');
  writeFileSync(file, dockerArchive(tars));
  return (await readAll(file)).layers;
}

/** One process for all: `zstd` takes longer to start than to compress. */
function zstdAll(tars: readonly Buffer[], folder: string): Buffer[] {
  const files = tars.map((_, index) => path.join(folder, String(index)));
  files.forEach((file, index) => writeFileSync(file, tars[index] ?? ''));
  execFileSync('zstd', ['-q', ...files], { timeout: DEADLINE_MS });
  return files.map((file) => readFileSync(`${file}.zst`));
}

/** As `docker save` of 1.10 to 24 writes one: a folder a layer. */
function dockerArchive(tars: readonly Buffer[]): Buffer {
  const rootfs = { type: 'layers', diff_ids: tars.map((tar) => sha256Digest(tar)) };
  const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs }));
  const names = tars.map((_, index) => `${String(index).padStart(64, '0')}/layer.tar`);
  const configName = `${sha256Digest(config).slice('sha256:'.length)}.json`;
  const manifest = [{ Config: configName, RepoTags: ['stack:latest'], Layers: names }];
  return writeTar([
    ...names.map((name, index) => member(name, { content: tars[index] ?? Buffer.alloc(0) })),
    member(configName, { content: config }),
    member('manifest.json', { content: Buffer.from(JSON.stringify(manifest)) }),
  ]).bytes;
}

async function inFolder<Value>(use: (folder: string) => Value): Promise<Awaited<Value>> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'peel-format-'));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** By the index; by the pass where the index cannot say what the layer has, as the program does. */
async function readChunked(
  members: readonly Member[],
  format: 'estargz' | 'zstd-chunked',
  chunksPerMember: number,
): Promise<ReadLayer> {
  const layer = chunkedLayer(members, {
    format,
    chunkSize: CHUNK_BYTES,
    chunksPerMember,
    zstd: storedFrame,
    change: format === 'estargz' ? undefined : (toc) => withNanoseconds(toc, members),
  });
  const byIndex = await readByIndex(layer);
  if ((byIndex !== undefined) !== isSaidByIndex(members)) {
    throw new Error(`the index of a layer was ${byIndex === undefined ? 'not ' : ''}used`);
  }
  if (byIndex !== undefined) return byIndex;
  const { entries, tar } = await readLayer(layer.blob);
  return { entries: format === 'estargz' ? withoutStargzFiles(entries) : entries, tar };
}

async function readByIndex(layer: ChunkedLayer): Promise<ReadLayer | undefined> {
  try {
    const { toc } = await ownTocOf(layer);
    if (toc === undefined) throw new Error('a layer without its index');
    return { entries: toc.entries, tar: await spaceOf(toc, layer.blob) };
  } catch (error) {
    if (error instanceof UnusableIndex) return undefined;
    throw error;
  }
}

/** Times as containers/storage writes them; the library of eStargz leaves the fraction out (E131). */
function withNanoseconds(toc: TocJson, members: readonly Member[]): TocJson {
  const entries = toc.entries.filter(({ type }) => type !== 'chunk');
  entries.forEach((entry, index) => {
    const { mtimeSec = 0, mtimeNsec = 0 } = members[index] ?? {};
    const fraction = String(mtimeNsec).padStart(9, '0').replace(/0+$/, '');
    const seconds = new Date(mtimeSec * 1000).toISOString().slice(0, '2000-01-01T00:00:00'.length);
    entry['modtime'] = `${seconds}${fraction === '' ? '' : `.${fraction}`}Z`;
  });
  return toc;
}

/** What the index of an eStargz layer can say of a stack: times in whole seconds. */
export function asSaidByEstargz(stack: Stack): Stack {
  return stack.map((members) =>
    isSaidByIndex(members) ? members.map((each) => ({ ...each, mtimeNsec: 0 })) : members,
  );
}

const MAX_BLOCK_BYTES = 128 * 1024;

/** A zstd frame of blocks that are stored (RFC 8878): frames by the hundred, with no process for each. */
function storedFrame(bytes: Buffer): Buffer {
  const header = Buffer.from('28b52ffda000000000', 'hex');
  header.writeUInt32LE(bytes.length, 5);
  const parts: Buffer[] = [header];
  for (let at = 0; at === 0 || at < bytes.length; at += MAX_BLOCK_BYTES) {
    const block = bytes.subarray(at, at + MAX_BLOCK_BYTES);
    const isLast = at + MAX_BLOCK_BYTES >= bytes.length;
    const blockHeader = Buffer.alloc(3);
    blockHeader.writeUIntLE(block.length * 8 + (isLast ? 1 : 0), 0, 3);
    parts.push(blockHeader, block);
  }
  return Buffer.concat(parts);
}
