/**
 * B6: an image whose names, links, attributes, labels and history attack the terminal of whoever looks into it.
 * Every command that shows them is run, into a pipe and on a real terminal.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ByteString, bufferOfBytes, textOfBytes } from '../../src/units.ts';
import { HOSTILE_NAMES, unsafeIn } from '../support/hostile-names.ts';
import { member, writeLayout } from '../support/image-layout.ts';
import { PeelUser } from '../support/run-peel.ts';
import { startScriptedServer } from '../support/scripted-server.ts';

/** Those that can be file names: no NUL, no slash, not empty. In byte order, as they are listed. */
const FILES = HOSTILE_NAMES.filter(([, name]) => name !== '' && !/[\0/]/u.test(name)).sort(([, a], [, b]) =>
  a < b ? -1 : 1,
);
const ATTACK = '\x1b]52;c;eA==\x07\u009b31m\u202egpj.\n\r\x7f';

let user: PeelUser;
let image: string;

beforeAll(() => {
  user = new PeelUser();
  image = path.join(user.work, 'hostile');
  const attacks = Object.fromEntries(
    HOSTILE_NAMES.map(([what], index) => [`${what}${ATTACK}${index}`, `v${ATTACK}`]),
  );
  writeLayout(image, {
    layers: [
      [
        member('d', { type: 'dir' }),
        ...FILES.map(([, name], index) =>
          index % 2 === 0
            ? member(`d/${name}`, { content: Buffer.from(`content of ${index}`) })
            : member(`d/${name}`, { type: 'symlink', mode: 0o777, target: name }),
        ),
        member('x', { xattrs: new Map([[`user.${ATTACK}` as ByteString, Buffer.from(ATTACK)]]) }),
      ],
    ],
    config: {
      Env: [`A=${ATTACK}`],
      Cmd: ['/bin/sh', '-c', ATTACK],
      Entrypoint: [ATTACK],
      User: ATTACK,
      WorkingDir: `/${ATTACK}`,
      Labels: attacks,
      ExposedPorts: { [`80${ATTACK}`]: {} },
      Volumes: { [`/v${ATTACK}`]: {} },
      StopSignal: ATTACK,
    },
    history: [{ created_by: ATTACK, comment: ATTACK, author: ATTACK }],
    annotations: attacks,
  });
});
afterAll(() => {
  user.close();
});

/** What of an output no terminal may get; line ends are ours. */
function unsafeOutput(output: Buffer): string[] {
  const text = output.toString('utf8');
  expect(Buffer.from(text, 'utf8').equals(output)).toBe(true);
  return unsafeIn(text).filter((character) => character !== '\n');
}

/** Less the colours of kinds, each followed by its reset: the only sequences that are ours. */
function withoutColors(output: Buffer): Buffer {
  const ours = /\x1b\[(?:01;3[246]|40;33(?:;01)?)m([^\x1b]*)\x1b\[0m/gu;
  return Buffer.from(output.toString('utf8').replaceAll(ours, '$1'));
}

/** After the time, up to the end of the line. */
function endsWith(text: string): RegExp {
  return new RegExp(` 2023 ${text.replaceAll(/[\\^$.*+?()[\]{}|]/gu, '\\$&')}$`, 'u');
}

const COMMANDS: readonly (readonly string[])[] = [
  ['ls', 'IMAGE', '/d'],
  ['ls', '-l', 'IMAGE', '/d'],
  ['ls', '-laR', '--layers', '-i', 'IMAGE'],
  ['ls', '--format', 'json', 'IMAGE', '/d'],
  ['ls', '-R', '-a', '--format', 'jsonl', 'IMAGE', '/'],
  ['tree', '-a', '--du', 'IMAGE'],
  ['tree', '--format', 'json', 'IMAGE'],
  ['inspect', 'IMAGE'],
  ['inspect', '--format', 'json', 'IMAGE'],
  ['layers', '--no-trunc', 'IMAGE'],
  ['layers', '--format', 'json', 'IMAGE'],
  ['manifest', 'IMAGE'],
  ['config', 'IMAGE'],
  ['stat', 'IMAGE', '/x'],
  ['stat', '--format', 'json', 'IMAGE', '/x'],
];

describe('a hostile image', () => {
  test('there are at least 60 names', () => {
    expect(HOSTILE_NAMES.length).toBeGreaterThanOrEqual(60);
  });

  test.each(COMMANDS)('B6: %s %s %s writes nothing that acts on a terminal', async (...words) => {
    const args = words.map((word) => (word === 'IMAGE' ? image : word));
    const piped = await user.run(args);
    expect(piped.status).toBe(0);
    expect(piped.stdout.length).toBeGreaterThan(0);
    expect(unsafeOutput(piped.stdout)).toEqual([]);
    expect(unsafeOutput(Buffer.from(piped.stderr))).toEqual([]);
    const shown = await user.runOnTerminal(['-q', ...args]);
    expect(shown.status).toBe(0);
    expect(shown.stdout.length).toBeGreaterThan(0);
    expect(unsafeOutput(withoutColors(shown.stdout))).toEqual([]);
  });

  test('B6: ls -1 shows every name as golden', async () => {
    const run = await user.run(['ls', '-1', image, '/d']);
    expect(run.stdout.toString('utf8').trimEnd().split('\n')).toEqual(FILES.map(([, , shown]) => shown));
  });

  test('B6: link targets are shown as golden', async () => {
    const run = await user.run(['ls', '-l', image, '/d']);
    const links = run.stdout
      .toString('utf8')
      .split('\n')
      .filter((line) => line.startsWith('l'));
    const golden = FILES.filter((_, index) => index % 2 === 1).map(([, , shown]) => `${shown} -> ${shown}`);
    expect(links.length).toBe(golden.length);
    for (const [index, line] of links.entries()) expect(line).toMatch(endsWith(golden[index] ?? ''));
  });

  test('JSON gives every name back exactly', async () => {
    const run = await user.run(['ls', '--format', 'jsonl', image, '/d']);
    const names = run.stdout
      .toString('utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { path?: string; pathBase64?: string })
      .map((entry) =>
        Buffer.from(entry.path ?? entry.pathBase64 ?? '', entry.path === undefined ? 'base64' : 'utf8'),
      );
    expect(names.map((name) => name.toString('latin1'))).toEqual(FILES.map(([, name]) => `/d/${name}`));
  });

  test.each(['-0', '--zero'])('%s writes raw names into a pipe, ended by NUL', async (flag) => {
    const run = await user.run(['ls', flag, image, '/d']);
    expect(run.status).toBe(0);
    expect(run.stdout.toString('latin1')).toBe(FILES.map(([, name]) => `${name}\0`).join(''));
  });

  test('--literal writes raw names into a pipe, and no terminal gets them', async () => {
    const run = await user.run(['ls', '--literal', image, '/d']);
    expect(run.stdout.toString('latin1')).toBe(FILES.map(([, name]) => `${name}\n`).join(''));
    for (const flag of ['--literal', '-0']) {
      const shown = await user.runOnTerminal(['ls', flag, image, '/d']);
      expect(shown.status).toBe(2);
      expect(unsafeOutput(shown.stdout)).toEqual([]);
      expect(shown.stdout.toString('utf8')).toContain('use it into a pipe or file');
    }
  });

  test('--raw documents with control characters go into pipes only', async () => {
    for (const command of ['config', 'manifest']) {
      const shown = await user.runOnTerminal([command, '--raw', image]);
      expect(unsafeOutput(shown.stdout)).toEqual([]);
    }
  });

  test('B6: a path that is not there is quoted in the error', async () => {
    // An argument cannot hold NUL, and Node cannot pass bytes that are not UTF-8.
    const names = FILES.flatMap(([, name]) => textOfBytes(name) ?? []);
    expect(names.length).toBeGreaterThan(40);
    const run = await user.run(['cat', image, ...names.map((name) => `/absent/${name}`)]);
    expect(run.status).toBe(3);
    expect(unsafeOutput(Buffer.from(run.stderr))).toEqual([]);
    expect(run.stderr.trimEnd().split('\n').length).toBe(names.length);
  });

  test('B6: hostile image names, options and values are quoted in errors', async () => {
    for (const args of [
      ['ls', ATTACK],
      ['ls', `./${ATTACK}`],
      [`ls${ATTACK}`],
      ['ls', `--${ATTACK}`],
      ['ls', '--platform', ATTACK, image],
      ['ls', '--format', ATTACK, image],
      ['cat', '--range', ATTACK, image, '/x'],
      ['ls', '--layer', ATTACK, image],
      ['help', ATTACK],
    ]) {
      const run = await user.run(args);
      expect(run.status).toBeGreaterThanOrEqual(2);
      expect(run.stderr).toMatch(/^peel: /u);
      expect(run.stderr.trimEnd()).not.toContain('\n');
      expect(unsafeOutput(Buffer.from(run.stderr))).toEqual([]);
    }
  });

  test('B6: the error text of a registry is quoted, also in the log', async () => {
    const server = await startScriptedServer();
    try {
      const body = JSON.stringify({ errors: [{ code: `DENIED${ATTACK}`, message: ATTACK, detail: ATTACK }] });
      for (const status of [400, 403, 404]) {
        server.clearRules();
        server.rule({ reply: { status, headers: { 'content-type': 'application/json' }, body } });
        const run = await user.run(['--log-level', 'debug', 'ls', `${server.address}/a`]);
        expect(run.status).toBeGreaterThanOrEqual(3);
        expect(run.stderr).toContain('peel: ');
        expect(unsafeOutput(Buffer.from(run.stderr))).toEqual([]);
      }
    } finally {
      await server.close();
    }
  });

  test('a name that is not UTF-8 can be handed back byte for byte', () => {
    const [, name = '' as ByteString] = FILES.find(([what]) => what === 'latin1 letter as a bare byte') ?? [];
    const index = FILES.findIndex(([, candidate]) => candidate === name);
    expect(textOfBytes(name)).toBeUndefined();
    const main = path.resolve(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js');
    const listed = execFileSync(
      'xargs',
      ['-0', process.execPath, main, 'ls', '--format', 'json', '-d', image],
      { input: Buffer.concat([Buffer.from('/d/'), bufferOfBytes(name)]), env: user.env, timeout: 30_000 },
    );
    const { entries } = JSON.parse(listed.toString('utf8')) as {
      entries: { pathBase64: string; type: string }[];
    };
    expect(entries.map(({ pathBase64 }) => Buffer.from(pathBase64, 'base64').toString('latin1'))).toEqual([
      `/d/${name}`,
    ]);
    expect(entries[0]?.type).toBe(index % 2 === 0 ? 'file' : 'symlink');
  });
});
