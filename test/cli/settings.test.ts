import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { readConfigFile } from '../../src/cli/config-file.ts';
import { registryOptionsOf } from '../../src/cli/open-images.ts';
import { configFileOf, mergeSettings, type Settings, wantsColor } from '../../src/cli/settings.ts';
import { humanSize, parsePercent, parseSize } from '../../src/cli/size.ts';
import { isPeelError } from '../../src/errors.ts';
import { useSharedTempDirs } from '../support/temp-dirs.ts';

const NONE = new Map<string, never>();
const HOME = { HOME: '/home/u' };

function merge(
  flags: Record<string, true | string | readonly string[]>,
  env: NodeJS.ProcessEnv = {},
  file: Record<string, true | string | readonly string[]> = {},
): Settings {
  return mergeSettings(new Map(Object.entries(flags)), { ...HOME, ...env }, new Map(Object.entries(file)));
}

describe('mergeSettings', () => {
  test('a flag wins over the environment, the environment over the file, the file over the default', () => {
    expect(merge({}).cacheMaxSize).toBe(10 * 1024 ** 3);
    expect(merge({}, {}, { 'cache-max-size': '3G' }).cacheMaxSize).toBe(3 * 1024 ** 3);
    const env = { PEEL_CACHE_MAX_SIZE: '2G' };
    expect(merge({}, env, { 'cache-max-size': '3G' }).cacheMaxSize).toBe(2 * 1024 ** 3);
    expect(merge({ 'cache-max-size': '1G' }, env, { 'cache-max-size': '3G' }).cacheMaxSize).toBe(1024 ** 3);
  });

  test('PEEL_PLATFORM wins over DOCKER_DEFAULT_PLATFORM', () => {
    expect(merge({}, { DOCKER_DEFAULT_PLATFORM: 'linux/arm64' }).platform).toBe('linux/arm64');
    const both = { DOCKER_DEFAULT_PLATFORM: 'linux/arm64', PEEL_PLATFORM: 'linux/s390x' };
    expect(merge({}, both).platform).toBe('linux/s390x');
    expect(merge({ platform: 'linux/386' }, both).platform).toBe('linux/386');
  });

  test('lists in the environment are separated by commas or blanks', () => {
    expect(merge({}, { PEEL_PLAIN_HTTP: 'a:5000, b c' }).plainHttp).toEqual(['a:5000', 'b', 'c']);
  });

  test('a switch in the environment is on, off or refused', () => {
    expect(merge({}, { PEEL_OFFLINE: '1' }).offline).toBe(true);
    expect(merge({}, { PEEL_OFFLINE: 'false' }).offline).toBe(false);
    expect(merge({}, { PEEL_OFFLINE: '' }).offline).toBe(false);
    expect(() => merge({}, { PEEL_OFFLINE: 'maybe' })).toThrow(/PEEL_OFFLINE: 'maybe' is neither/u);
  });

  test('a switch that is off in the environment takes the place of one that is on in the file', () => {
    expect(merge({}, {}, { offline: true }).offline).toBe(true);
    expect(merge({}, { PEEL_OFFLINE: '0' }, { offline: true }).offline).toBe(false);
    expect(merge({ offline: true }, { PEEL_OFFLINE: '0' }).offline).toBe(true);
  });

  test('token servers that may see credentials are named by flag, environment or file', () => {
    expect(merge({}).trustedRealms).toEqual([]);
    expect(merge({}, { PEEL_TRUST_REALM: 'a:1,b' }).trustedRealms).toEqual(['a:1', 'b']);
    expect(merge({}, {}, { 'trust-realm': ['c'] }).trustedRealms).toEqual(['c']);
    expect(registryOptionsOf(merge({ 'trust-realm': ['d'] }), {}).trustedRealms).toEqual(['d']);
  });

  test('the cache lies in XDG_CACHE_HOME where that is absolute, else below the home', () => {
    expect(merge({}).cacheDir).toBe('/home/u/.cache/peel');
    expect(merge({}, { XDG_CACHE_HOME: '/c' }).cacheDir).toBe('/c/peel');
    expect(merge({}, { XDG_CACHE_HOME: 'relative' }).cacheDir).toBe('/home/u/.cache/peel');
    expect(merge({ 'cache-dir': '/d' }).cacheDir).toBe('/d');
  });

  test('a value that makes no sense is refused with the name the user wrote', () => {
    expect(() => merge({ format: 'xml' })).toThrow(/--format: 'xml' is none of table, json, jsonl/u);
    expect(() => merge({}, { PEEL_FORMAT: 'xml' })).toThrow(/PEEL_FORMAT: 'xml'/u);
    expect(() => merge({}, {}, { format: 'xml' })).toThrow(/format of config.json: 'xml'/u);
    expect(() => merge({ 'cache-min-free': '101' })).toThrow(/--cache-min-free: '101' is no percentage/u);
    expect(() => merge({ 'cache-dir': '' })).toThrow(/--cache-dir: the value is empty/u);
  });

  test('NO_COLOR and --color decide about colours', () => {
    expect(wantsColor('auto', {}, true)).toBe(true);
    expect(wantsColor('auto', {}, false)).toBe(false);
    expect(wantsColor('auto', { NO_COLOR: '1' }, true)).toBe(false);
    expect(wantsColor('always', { NO_COLOR: '1' }, false)).toBe(true);
    expect(wantsColor('never', {}, true)).toBe(false);
  });
});

describe('config.json', () => {
  const folder = useSharedTempDirs()();

  async function read(content: string): Promise<ReadonlyMap<string, unknown>> {
    const file = path.join(folder, 'config.json');
    await writeFile(file, content);
    return await readConfigFile(file);
  }

  test('lies in XDG_CONFIG_HOME/peel', () => {
    expect(configFileOf({ XDG_CONFIG_HOME: '/x' })).toBe('/x/peel/config.json');
    expect(configFileOf(HOME)).toBe('/home/u/.config/peel/config.json');
  });

  test('may be missing', async () => {
    expect(await readConfigFile(path.join(folder, 'absent'))).toEqual(NONE);
  });

  test('has the long names of options as keys', async () => {
    const values = await read('{"cache-max-size":"1G","plain-http":["a"],"offline":true,"quiet":false}');
    expect([...values]).toEqual([
      ['cache-max-size', '1G'],
      ['plain-http', ['a']],
      ['offline', true],
    ]);
  });

  test.each([
    ['{"frobnicate":1}', /unknown key 'frobnicate'; known are platform, /u],
    ['{"cache-dirs":"x"}', /unknown key 'cache-dirs'; did you mean 'cache-dir'\?/u],
    ['{"offline":"yes"}', /offline must be true or false/u],
    ['{"plain-http":[1]}', /plain-http must be a text or a list of texts/u],
    ['{"__proto__":1}', /unknown key '__proto__'/u],
    ['[]', /is no JSON object/u],
    ['{', /is not JSON/u],
    ['null', /is no JSON object/u],
  ])('%s is refused by name', async (content, message) => {
    const error: unknown = await read(content).catch((caught: unknown) => caught);
    expect(isPeelError(error, 'ERR_USAGE')).toBe(true);
    expect(String(error)).toMatch(message);
    expect(String(error)).toContain(folder);
  });
});

describe('sizes', () => {
  test.each([
    ['0', 0],
    ['1024', 1024],
    ['1K', 1024],
    ['1KiB', 1024],
    ['1kB', 1000],
    ['10GiB', 10 * 1024 ** 3],
    ['1.5M', 1.5 * 1024 ** 2],
    ['2 GB', 2e9],
    ['7B', 7],
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseSize(text, 'x')).toBe(bytes);
  });

  test.each(['', '-1', '1X', 'G', '1e9', '99999999999E', '0x10', 'NaN'])('%s is no size', (text) => {
    expect(() => parseSize(text, 'x')).toThrow(/is no size/u);
  });

  test('percentages are shares', () => {
    expect(parsePercent('5%', 'x')).toBe(0.05);
    expect(parsePercent('0', 'x')).toBe(0);
    expect(() => parsePercent('100', 'x')).toThrow(/no percentage/u);
  });

  // As `ls -lh` of GNU coreutils 9.1 shows files of these sizes.
  test.each([
    [0, '0'],
    [1023, '1023'],
    [1024, '1.0K'],
    [1025, '1.1K'],
    [10 * 1024, '10K'],
    [10 * 1024 + 1, '11K'],
    [1024 * 1024 - 1, '1.0M'],
    [5_000_000_000, '4.7G'],
  ])('%d bytes are %s for people', (bytes, shown) => {
    expect(humanSize(bytes)).toBe(shown);
  });
});
