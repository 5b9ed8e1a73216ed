/**
 * The config of an image: image-spec config.md. What the file system needs is checked; the rest (`config`,
 * with environment and entry point) is data that is handed on as it stands.
 */
import { PeelError } from '../errors.ts';
import type { HistoryItem, ImageConfig } from './documents.ts';
import { JsonFields } from './json-fields.ts';
import { platformOf } from './parse-descriptor.ts';
import { type JsonValue, parseJson } from './parse-json.ts';
import { hostPlatform } from './platform.ts';

/** FAULTS section 7. */
export const MAX_CONFIG_SIZE = 8 * 1024 * 1024;

const CONFIG_FIELDS = [
  'architecture',
  'os',
  'os.version',
  'variant',
  'created',
  'author',
  'config',
  'rootfs',
  'history',
] as const;
const HISTORY_FIELDS = ['created', 'created_by', 'comment', 'author', 'empty_layer'] as const;

/**
 * A config without a platform (tools older than multi-platform images) counts as the host's (E166).
 * @throws PeelError ERR_DOCUMENT_INVALID, ERR_LIMIT_EXCEEDED, ERR_UNSUPPORTED for a digest algorithm.
 */
export function parseConfig(bytes: Uint8Array): ImageConfig {
  if (bytes.length > MAX_CONFIG_SIZE) {
    throw new PeelError(
      'ERR_LIMIT_EXCEEDED',
      `config of ${bytes.length} bytes: at most ${MAX_CONFIG_SIZE} are read`,
      {
        facts: { size: bytes.length },
      },
    );
  }
  const fields = new JsonFields(parseJson(bytes, 'config'), 'config', CONFIG_FIELDS);
  const created = fields.text('created');
  const author = fields.text('author');
  return {
    platform: platformOf(fields) ?? hostPlatform(),
    ...(created === undefined ? {} : { created }),
    ...(author === undefined ? {} : { author }),
    diffIDs: fields.has('rootfs')
      ? new JsonFields(fields.value('rootfs'), 'config, rootfs', ['type', 'diff_ids']).digests('diff_ids')
      : [],
    history: fields.array('history').map(parseHistoryItem),
    runtime: fields.object('config'),
  };
}

function parseHistoryItem(value: JsonValue, at: number): HistoryItem {
  const fields = new JsonFields(value, `config, history[${at}]`, HISTORY_FIELDS);
  const created = fields.text('created');
  const createdBy = fields.text('created_by');
  const comment = fields.text('comment');
  const author = fields.text('author');
  return {
    ...(created === undefined ? {} : { created }),
    ...(createdBy === undefined ? {} : { createdBy }),
    ...(comment === undefined ? {} : { comment }),
    ...(author === undefined ? {} : { author }),
    emptyLayer: fields.boolean('empty_layer'),
  };
}
