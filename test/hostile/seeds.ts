/** What the mutations begin with: small, sound inputs of each set of FAULTS section 5, from a few random stacks. */
import { execFileSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import { buildToc } from '../../src/layer/build-toc.ts';
import { encodeToc, sealToc } from '../../src/layer/encode-toc.ts';
import { chunkedLayer, isSaidByIndex } from '../support/chunked-layer.ts';
import { sha256Digest } from '../support/digests.ts';
import { chunksOf } from '../support/layer-toc.ts';
import { randomStack } from '../support/random-stack.ts';
import { longMember, paxMember, rawMember, tarOf } from '../support/raw-tar.ts';
import { writeTar } from '../support/tar-bytes.ts';
import type { Form } from './readers.ts';

/** B1 tars, B2 compression, B3 documents, B4 indexes. */
export const MUTATED_SETS = ['B1', 'B2', 'B3', 'B4'] as const;
export type MutatedSet = (typeof MUTATED_SETS)[number];

export interface Seed {
  readonly form: Form;
  readonly bytes: Buffer;
}

const STACKS = [3, 5, 8, 13, 21, 34];

export async function seedsOf(set: MutatedSet): Promise<Seed[]> {
  if (set === 'B1') return tars().map((bytes) => ({ form: 'tar', bytes }));
  if (set === 'B2') return compressed();
  return set === 'B3' ? documents() : await indexes();
}

/** The lowest layers: those that stand by themselves. */
const stackLayers = () => STACKS.map((seed) => randomStack(seed).stack[0] ?? []);

function tars(): Buffer[] {
  const old = Buffer.from('sparse content');
  return [
    ...stackLayers().map((members) => writeTar(members).bytes),
    tarOf(
      longMember('L', `${'long/'.repeat(40)}name`),
      longMember('K', 't'.repeat(150)),
      rawMember({ name: 'x', type: '2' }),
      paxMember([
        ['path', 'pax/path'],
        ['size', '5'],
        ['SCHILY.xattr.user.x', 'value'],
      ]),
      rawMember({ name: 'short' }, Buffer.from('hello')),
      paxMember([['comment', 'global']], 'g'),
      rawMember({ name: 'after' }, Buffer.from('x')),
    ),
    tarOf(
      paxMember([
        ['GNU.sparse.major', '1'],
        ['GNU.sparse.minor', '0'],
        ['GNU.sparse.name', 'sparse'],
        ['GNU.sparse.realsize', '100000'],
      ]),
      rawMember(
        { name: 'GNUSparseFile.0/sparse' },
        Buffer.concat([Buffer.from('1\n500\n14\n'.padEnd(512, '\0')), old]),
      ),
    ),
  ];
}

function compressed(): Seed[] {
  const tar = writeTar(randomStack(5).stack[0] ?? []).bytes;
  const half = tar.length >> 1;
  const run = (program: string, ...args: string[]) =>
    execFileSync(program, args, { input: tar, timeout: 20_000, maxBuffer: 1 << 26 });
  return [
    { form: 'blob', bytes: gzipSync(tar) },
    {
      form: 'blob',
      bytes: Buffer.concat([gzipSync(tar.subarray(0, half)), gzipSync(tar.subarray(half), { level: 0 })]),
    },
    { form: 'blob', bytes: run('zstd', '-q', '-c', '--check') },
    { form: 'blob', bytes: run('xz', '-c') },
    { form: 'blob', bytes: run('bzip2', '-c') },
  ];
}

function documents(): Seed[] {
  const digest = sha256Digest(Buffer.from('x'));
  const oci = 'application/vnd.oci.image.';
  const descriptor = (mediaType: string) => ({ mediaType: `${oci}${mediaType}`, digest, size: 1 });
  const json = (form: Form, value: unknown): Seed => ({
    form,
    bytes: Buffer.from(JSON.stringify(value)),
  });
  return [
    json('document', {
      schemaVersion: 2,
      mediaType: `${oci}manifest.v1+json`,
      config: descriptor('config.v1+json'),
      layers: [
        descriptor('layer.v1.tar+gzip'),
        { ...descriptor('layer.v1.tar'), data: 'eA==', annotations: { a: 'b' } },
      ],
    }),
    json('document', {
      schemaVersion: 2,
      mediaType: `${oci}index.v1+json`,
      manifests: [
        {
          ...descriptor('manifest.v1+json'),
          platform: { os: 'linux', architecture: 'arm64', variant: 'v8' },
        },
      ],
    }),
    json('document', {
      schemaVersion: 1,
      name: 'library/x',
      tag: 'latest',
      architecture: 'amd64',
      fsLayers: [{ blobSum: digest }, { blobSum: digest }],
      history: [
        { v1Compatibility: `{"id":"${'a'.repeat(64)}","parent":"${'b'.repeat(64)}"}` },
        { v1Compatibility: `{"id":"${'b'.repeat(64)}"}` },
      ],
    }),
    json('config', {
      architecture: 'amd64',
      os: 'linux',
      config: { Env: ['A=b'], Entrypoint: ['/x'], Labels: { l: 'v' } },
      rootfs: { type: 'layers', diff_ids: [digest] },
      history: [{ created_by: 'x', empty_layer: true }],
    }),
    json('save', [{ Config: 'a.json', RepoTags: ['a:b'], Layers: ['a/layer.tar', 'b/layer.tar'] }]),
  ];
}

async function indexes(): Promise<Seed[]> {
  const seeds: Seed[] = [];
  for (const members of stackLayers()) {
    if (isSaidByIndex(members)) {
      const { json } = chunkedLayer(members, { format: 'estargz', chunkSize: 1000 });
      seeds.push({ form: 'chunks', bytes: json });
    }
    const { tarSplit } = chunkedLayer(members, { format: 'zstd-chunked', tarSplit: (lines) => lines });
    if (tarSplit !== undefined) seeds.push({ form: 'tar-split', bytes: tarSplit });
    const blob = gzipSync(writeTar(members).bytes);
    const { toc, windows } = await buildToc(chunksOf(blob), {
      digest: sha256Digest(blob),
      size: blob.length,
    });
    seeds.push({ form: 'toc', bytes: encodeToc(sealToc(toc, windows)) });
  }
  return seeds;
}
