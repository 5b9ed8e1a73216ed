/** The documents say what the code has. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'smol-toml';
import { expect, test } from 'vitest';
import { findCommand } from '../src/cli/commands.ts';
import { EXIT_STATUS_OF } from '../src/errors.ts';
import { parseHosts } from '../src/source/registry/hosts-file.ts';

const root = path.resolve(import.meta.dirname, '..');
const read = (name: string): string => readFileSync(path.join(root, name), 'utf8');

test('every error code is explained in TROUBLESHOOTING', () => {
  const text = read('docs/TROUBLESHOOTING.md');
  const codes = Object.keys(EXIT_STATUS_OF);
  expect(codes.length).toBeGreaterThan(20);
  expect(codes.filter((code) => !text.includes(`\`${code}\``) && !text.includes(`**\`${code}`))).toEqual([]);
});

test('every code that TROUBLESHOOTING names exists', () => {
  const named = read('docs/TROUBLESHOOTING.md').match(/ERR_[A-Z_]+/g) ?? [];
  expect([...new Set(named)].filter((code) => !Object.hasOwn(EXIT_STATUS_OF, code))).toEqual([]);
});

test('links between the documents lead somewhere', () => {
  const files = [
    'README.md',
    'native/README.md',
    ...readdirSync(path.join(root, 'docs')).map((name) => `docs/${name}`),
  ];
  const broken: string[] = [];
  for (const file of files.filter((name) => name.endsWith('.md'))) {
    for (const [, target = ''] of read(file).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) {
      if (/^https?:/.test(target)) continue;
      if (!existsSync(path.join(root, path.dirname(file), target))) broken.push(`${file}: ${target}`);
    }
  }
  expect(broken).toEqual([]);
});

test('every test file that SEMANTICS names exists', () => {
  const named = read('docs/SEMANTICS.md').match(/test\/[\w/.-]+\.(?:ts|json)/g) ?? [];
  expect(named.length).toBeGreaterThan(8);
  expect(named.filter((file) => !existsSync(path.join(root, file)))).toEqual([]);
});

test('the README is short enough to be read', () => {
  expect(read('README.md').split('\n').length).toBeLessThan(150);
});

/** What stands between fences. */
const blocksOf = (text: string): string[] =>
  [...text.matchAll(/^```\n(.*?)^```/gms)].map(([, block = '']) => block);

test.each(['SNAPSHOTTER', 'KUBERNETES'])(
  'units, configurations and flags in %s lead to one socket',
  async (name) => {
    const text = read(`docs/${name}.md`);
    const sockets = text.match(/\/run\/peel\/[\w.]+/g) ?? [];
    expect(sockets.length).toBeGreaterThan(2);
    expect([...new Set(sockets)]).toEqual(['/run/peel/snapshotter.sock']);
    const flags = [...text.matchAll(/peel snapshotter ((?:--.*)+)/g)].flatMap(([, rest = '']) =>
      [...rest.matchAll(/--([\w-]+)/g)].map(([, flag = '']) => flag),
    );
    expect(flags).toContain('image-service');
    const { options } = (await findCommand('snapshotter')) ?? { options: {} };
    expect(flags.filter((flag) => !Object.hasOwn(options, flag))).toEqual([]);
  },
);

test('the configurations of containerd and of its hosts in KUBERNETES are ones', async () => {
  const blocks = blocksOf(read('docs/KUBERNETES.md'));
  const hosts = blocks.filter((block) => block.startsWith('server ='));
  expect(hosts.length).toBe(2);
  for (const block of hosts) {
    const [mirror, registry] = await parseHosts(block, 'hosts.toml', 'docker.io', {});
    expect(mirror).toMatchObject({ isProxy: true, mayPull: true, mayResolveTags: true, scheme: 'http' });
    expect(registry).toMatchObject({ isProxy: false, address: 'registry-1.docker.io' });
  }
  const [config = ''] = blocks.filter((block) => block.includes('[proxy_plugins.peel]'));
  expect(parse(config)).toMatchObject({
    proxy_plugins: { peel: { type: 'snapshot' } },
    plugins: { 'io.containerd.grpc.v1.cri': { containerd: { runtimes: { peel: { snapshotter: 'peel' } } } } },
  });
});
