/** B3: every field that is read of a document, with a value of every type that JSON has. */
import { digestOf } from '../../../src/reference/digest.ts';
import type { Form } from '../readers.ts';
import type { MadeCase } from './made-case.ts';

const INVALID_DOCUMENT = 'ERR_DOCUMENT_INVALID';
const VALUES = ['null', 'true', '7', '-1.5', '"x"', '[]', '{}', '[null]'] as const;
type Value = (typeof VALUES)[number];

/** As in Go's decoder, null is the same as absent. */
const TEXT: readonly Value[] = ['null', '"x"'];
const LIST: readonly Value[] = ['null', '[]'];
const OBJECT: readonly Value[] = ['null', '{}'];
const NULL: readonly Value[] = ['null'];

const digest = digestOf(Buffer.from('x'));
const descriptor = (type: string) => ({ mediaType: `application/vnd.oci.image.${type}`, digest, size: 1 });
const MANIFEST = {
  schemaVersion: 2,
  config: descriptor('config.v1+json'),
  layers: [{ ...descriptor('layer.v1.tar'), platform: { os: 'linux', architecture: 'amd64' } }],
};
const INDEX = { schemaVersion: 2, manifests: [descriptor('manifest.v1+json')] };
const CONFIG = {
  os: 'linux',
  architecture: 'amd64',
  rootfs: { type: 'layers', diff_ids: [digest] },
  history: [{ created_by: 'x' }],
};
const SAVE = [{ Config: 'a.json', RepoTags: ['a:b'], Layers: ['a/layer.tar'] }];

interface Field {
  readonly form: Form;
  readonly of: object;
  readonly path: readonly (string | number)[];
  /** The values that are taken; all others are refused. */
  readonly taken: readonly Value[];
}

const fields = (
  form: Form,
  of: object,
  rows: readonly (readonly [Field['path'], readonly Value[]])[],
): Field[] => rows.map(([path, taken]) => ({ form, of, path, taken }));

const FIELDS: readonly Field[] = [
  ...fields('document', MANIFEST, [
    [['schemaVersion'], NULL],
    [['mediaType'], NULL],
    [['artifactType'], TEXT],
    [['config'], []],
    [['layers'], LIST],
    [['subject'], NULL],
    [['annotations'], OBJECT],
    [['manifests'], NULL],
    [['fsLayers'], NULL],
    [['layers', 0], []],
    [['layers', 0, 'mediaType'], TEXT],
    [['layers', 0, 'digest'], []],
    [['layers', 0, 'size'], ['7']],
    [['layers', 0, 'data'], NULL],
    [['layers', 0, 'urls'], LIST],
    [['layers', 0, 'annotations'], OBJECT],
    [['layers', 0, 'platform'], OBJECT],
    [['layers', 0, 'platform', 'os'], TEXT],
    [['layers', 0, 'platform', 'variant'], TEXT],
    [['config', 'size'], ['7']],
    [['config', 'digest'], []],
  ]),
  ...fields('document', INDEX, [
    [['manifests', 0], []],
    [['manifests', 0, 'digest'], []],
    [['manifests', 0, 'platform'], OBJECT],
    [['layers'], NULL],
  ]),
  ...fields('config', CONFIG, [
    [['os'], TEXT],
    [['architecture'], TEXT],
    [['variant'], TEXT],
    [['created'], TEXT],
    [['author'], TEXT],
    [['config'], OBJECT],
    [['rootfs'], OBJECT],
    [['rootfs', 'diff_ids'], LIST],
    [['rootfs', 'diff_ids', 0], []],
    [['history'], LIST],
    [['history', 0], ['{}']],
    [['history', 0, 'created_by'], TEXT],
    [
      ['history', 0, 'empty_layer'],
      ['null', 'true'],
    ],
  ]),
  ...fields('save', SAVE, [
    [[0], []],
    [[0, 'Config'], ['"x"']],
    [[0, 'RepoTags'], LIST],
    [[0, 'RepoTags', 0], ['"x"']],
    [[0, 'Layers'], LIST],
    [[0, 'Layers', 0], ['"x"']],
    [[0, 'LayerSources'], OBJECT],
  ]),
];

/** The document with one value in place of another; the others stand as they were. */
function withValue(document: object, [key = '', ...rest]: Field['path'], value: unknown): object {
  const before = (document as Record<string | number, object | undefined>)[key];
  const after = rest.length === 0 ? value : withValue(before ?? {}, rest, value);
  const copy = Array.isArray(document) ? [...document] : { ...document };
  return Object.assign(copy, { [key]: after });
}

function nameOf({ form, of, path }: Field, value: Value): string {
  const document = form === 'document' ? (of === INDEX ? 'index' : 'manifest') : form;
  return `${document}: ${path.join('.')} is ${value}`;
}

export const DOCUMENTS: readonly MadeCase[] = FIELDS.flatMap((field) =>
  VALUES.map((value): MadeCase => {
    const { form, of, path, taken } = field;
    const isUnknownType = path[0] === 'mediaType' && value === '"x"';
    return {
      name: nameOf(field, value),
      form,
      bytes: Buffer.from(JSON.stringify(withValue(of, path, JSON.parse(value)))),
      expected: taken.includes(value) ? [] : isUnknownType ? 'ERR_UNSUPPORTED' : INVALID_DOCUMENT,
    };
  }),
);
