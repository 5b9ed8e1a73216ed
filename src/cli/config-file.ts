/**
 * `$XDG_CONFIG_HOME/peel/config.json`: an object whose keys are the long names of the options that every
 * command has. A key that is not one of them, or a value of the wrong kind, is an error that names it:
 * a setting that is silently ignored is worse than one that is refused.
 */
import { PeelError } from '../errors.ts';
import { readSmallFile } from '../source/registry/small-file.ts';
import type { OptionValues } from './arguments.ts';
import { GLOBAL_NAMES, GLOBAL_OPTIONS, type GlobalName } from './global-options.ts';
import { nearest } from './suggest.ts';

const MAX_CONFIG_FILE_BYTES = 1024 * 1024;

/** The values that `file` sets; none where there is no such file. @throws PeelError ERR_USAGE where it is malformed. */
export async function readConfigFile(file: string): Promise<OptionValues> {
  const text = await readSmallFile(file, MAX_CONFIG_FILE_BYTES);
  if (text === undefined) return new Map();
  return parseConfig(text, file);
}

function parseConfig(text: string, file: string): OptionValues {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw new PeelError('ERR_USAGE', `configuration ${file}: is not JSON: ${String(error)}`, {
      cause: error,
    });
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw new PeelError('ERR_USAGE', `configuration ${file}: is no JSON object`);
  }
  const values = new Map<string, true | string | readonly string[]>();
  for (const [key, value] of Object.entries(document)) {
    if (!isGlobalName(key)) throw unknownKey(key, file);
    const parsed = parseValue(key, value);
    if (parsed === undefined) {
      throw new PeelError('ERR_USAGE', `configuration ${file}: ${key} must be ${kindOf(key)}`);
    }
    if (parsed !== false) values.set(key, parsed);
  }
  return values;
}

/** The value as options have it; false for a boolean that is off, undefined where the kind is wrong. */
function parseValue(key: GlobalName, value: unknown): true | false | string | readonly string[] | undefined {
  const spec: { type: string; multiple?: boolean } = GLOBAL_OPTIONS[key];
  if (spec.type === 'boolean') return typeof value === 'boolean' ? value : undefined;
  if (spec.multiple === true) {
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    return list.every((item) => typeof item === 'string') ? list : undefined;
  }
  if (typeof value === 'number' && Number.isFinite(value)) return String(value);
  return typeof value === 'string' ? value : undefined;
}

function isGlobalName(key: string): key is GlobalName {
  return Object.hasOwn(GLOBAL_OPTIONS, key);
}

function kindOf(key: GlobalName): string {
  const spec: { type: string; multiple?: boolean } = GLOBAL_OPTIONS[key];
  if (spec.type === 'boolean') return 'true or false';
  return spec.multiple === true ? 'a text or a list of texts' : 'a text';
}

function unknownKey(key: string, file: string): PeelError {
  const similar = nearest(key, GLOBAL_NAMES);
  const hint = similar === undefined ? `known are ${GLOBAL_NAMES.join(', ')}` : `did you mean '${similar}'?`;
  return new PeelError('ERR_USAGE', `configuration ${file}: unknown key '${key}'; ${hint}`);
}
