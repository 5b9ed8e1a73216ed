/** One snapshot as the JSON of its file. What was not written by us is refused, with the field that says so. */
import { PeelError } from '../../errors.ts';
import type { LazyLayers, Snapshot, SnapshotKind, Usage } from './snapshot.ts';

const VERSION = 1;
const KINDS: readonly SnapshotKind[] = ['view', 'active', 'committed'];

export function encodeRecord(snapshot: Snapshot): Buffer {
  return Buffer.from(`${JSON.stringify({ version: VERSION, ...snapshot })}\n`);
}

/** @throws PeelError ERR_CACHE naming `file` and what is wrong. */
export function decodeRecord(bytes: Buffer, file: string): Snapshot {
  const refuse = (what: string, cause?: unknown): PeelError =>
    new PeelError(
      'ERR_CACHE',
      `reading the snapshot in ${file}: ${what}; move the file away to go on without this snapshot, whose folder is then removed`,
      { facts: { path: file }, cause },
    );
  let parsed: unknown;
  try {
    parsed = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw refuse('it is not JSON', error);
  }
  const fields = fieldsOf(parsed);
  if (fields === undefined) throw refuse('it is not an object');
  if (fields['version'] !== VERSION) throw refuse(`its version is not ${VERSION}, but of another peel`);

  const count = (value: unknown, name: string): number => {
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    throw refuse(`${name} is not a count`);
  };
  const text = (value: unknown, name: string): string => {
    if (typeof value === 'string' && value !== '') return value;
    throw refuse(`${name} is not a text`);
  };
  const kind = KINDS.find((known) => known === fields['kind']);
  if (kind === undefined) throw refuse(`kind is none of ${KINDS.join(', ')}`);
  const labels = fieldsOf(fields['labels']);
  if (labels === undefined || !isTexts(labels)) throw refuse('labels are not texts');
  const usage = fieldsOf(fields['usage']);
  const lazy = fields['lazy'] === undefined ? undefined : fieldsOf(fields['lazy']);
  return {
    id: count(fields['id'], 'id'),
    name: text(fields['name'], 'name'),
    parent: fields['parent'] === undefined ? undefined : text(fields['parent'], 'parent'),
    kind,
    labels,
    createdAt: count(fields['createdAt'], 'createdAt'),
    updatedAt: count(fields['updatedAt'], 'updatedAt'),
    usage: {
      size: count(usage?.['size'], 'usage.size'),
      inodes: count(usage?.['inodes'], 'usage.inodes'),
    } satisfies Usage,
    lazy:
      fields['lazy'] === undefined
        ? undefined
        : ({
            image: text(lazy?.['image'], 'lazy.image'),
            layers: count(lazy?.['layers'], 'lazy.layers'),
          } satisfies LazyLayers),
  };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}

function isTexts(fields: Readonly<Record<string, unknown>>): fields is Readonly<Record<string, string>> {
  return Object.values(fields).every((value) => typeof value === 'string');
}
