/**
 * What users meet when something is wrong: each case with its message on one line and its exit status (CLI
 * contract: 2 usage, 3 not found, 4 authentication, 5 registry or network, 6 digest mismatch, 7 unsupported).
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blobFile, member } from '../support/image-layout.ts';
import { freePort, hasRegistry, startRegistry, type TestRegistry } from '../support/registry.ts';
import type { PeelUser } from '../support/run-peel.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { image, useImage, user, written } from '../support/user-with-image.ts';

/** Does not compress, so that a flipped bit inside it breaks nothing but the digest. */
const NOISE = Buffer.concat(
  Array.from({ length: 6_000 }, (_, index) => createHash('sha256').update(String(index)).digest()),
);

useImage({
  layers: [
    [
      member('etc', { type: 'dir' }),
      member('etc/hostname', { content: Buffer.from('peel\n') }),
      member('noise', { content: NOISE }),
      member('loop', { type: 'symlink', mode: 0o777, target: 'loop' as never }),
      member('dangling', { type: 'symlink', mode: 0o777, target: 'nowhere' as never }),
      member('null', { type: 'char', mode: 0o666, rdev: [1, 3] }),
    ],
  ],
});

/** One line that begins with `peel: ` and matches; the exit status. */
async function expectFailure(
  args: readonly string[],
  status: number,
  message: RegExp,
  run: (args: readonly string[]) => ReturnType<PeelUser['run']> = (words) => user.run(words),
): Promise<void> {
  const result = await run(args);
  expect(result.stderr).toMatch(message);
  expect(result.stderr).toMatch(/^peel: [^\n]*\n$/u);
  expect(result.stderr).not.toMatch(/\n\s+at |internal error/u);
  expect(result.status).toBe(status);
  expect(result.stdout.toString('utf8')).toBe('');
}

/** A copy of the image's layout, to be spoilt. */
function copyOf(name: string): string {
  const folder = path.join(user.work, name);
  mkdirSync(path.join(folder, 'blobs', 'sha256'), { recursive: true });
  for (const file of ['oci-layout', 'index.json'])
    copyFileSync(path.join(image, file), path.join(folder, file));
  const manifest = JSON.parse(readFileSync(blobFile(image, written.manifest.digest), 'utf8')) as {
    config: { digest: string };
  };
  for (const digest of [
    written.manifest.digest,
    manifest.config.digest,
    ...written.layers.map((layer) => layer.digest),
  ]) {
    copyFileSync(blobFile(image, digest), blobFile(folder, digest));
  }
  return folder;
}

const layerDigest = (): string => written.layers[0]?.digest ?? '';

describe('the command line', () => {
  test.each([
    [[], /no command; 'peel help' lists them/u],
    [['lss'], /there is no command 'lss'; did you mean 'ls'\?/u],
    [['ls', '--recursve', 'x'], /unknown option --recursve; did you mean --recursive\?/u],
    [['ls'], /ls: too few arguments; usage: peel ls /u],
    [['layers', 'a', 'b'], /layers: unexpected argument 'b'/u],
    [['cat', 'IMAGE'], /cat: too few arguments/u],
    [['ls', '--platform', 'a/b/c/d', 'IMAGE'], /platform/u],
    [['ls', '--format', 'yaml', 'IMAGE'], /--format: 'yaml' is none of table, json, jsonl/u],
    [['ls', '--layer', '1', 'IMAGE'], /--layer 1: the image has only layer 0/u],
    [['ls', '--layer', '-1', 'IMAGE'], /--layer -1: the image has only layer 0/u],
    [['cat', '--range', '5', 'IMAGE', '/noise'], /--range 5: write A-B/u],
    [['cat', '--range', '9-5', 'IMAGE', '/noise'], /--range 9-5: write A-B/u],
    [['tree', '-L', '0', 'IMAGE'], /-L 0: write a number of levels/u],
    [['cache', 'frob'], /cache: 'frob' is none of du, path, prune/u],
    [['ls', 'Alpine'], /"Alpine" must be lower case/u],
    [['tags', 'oci:/layout'], /tags: 'oci:\/layout' is a file or folder; name a repository/u],
    [['tags', './layout'], /is a file or folder; name a repository/u],
    [['tags', 'host/app:v1'], /names one image; name its repository/u],
    [['ls', 'docker://'], /is not an image reference: it is empty/u],
  ])('%j is refused with exit status 2', async (args, message) => {
    await expectFailure(
      args.map((word) => (word === 'IMAGE' ? image : word)),
      2,
      message,
    );
  });

  test('a FIFO in the place of the configuration is refused, not waited for', async () => {
    const folder = path.join(user.work, 'fifo-config');
    mkdirSync(path.join(folder, 'peel'), { recursive: true });
    execFileSync('mkfifo', [path.join(folder, 'peel', 'config.json')], { timeout: 10_000 });
    const run = await user.run(['ls', image], { env: { XDG_CONFIG_HOME: folder } });
    expect(run.status).toBe(2);
    expect(run.stderr).toMatch(/config\.json: it is not a regular file/u);
  });

  test('a configuration with an unknown key is refused by name', async () => {
    const folder = path.join(user.home, 'config', 'peel');
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'config.json'), '{"cach-dir":"/x"}');
    try {
      await expectFailure(
        ['ls', image],
        2,
        /config\.json: unknown key 'cach-dir'; did you mean 'cache-dir'\?/u,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('a layout', () => {
  test('that is not there, or is none, is refused by name', async () => {
    await expectFailure(['ls', './absent'], 3, /absent/u);
    await expectFailure(['ls', 'oci:/absent'], 3, /\/absent/u);
    const empty = path.join(user.work, 'empty');
    mkdirSync(empty);
    await expectFailure(['ls', empty], 3, /empty/u);
    const text = path.join(user.work, 'text');
    writeFileSync(text, 'hello');
    await expectFailure(['ls', text], 3, /text is not an image archive: it does not begin as a tar/u);
  });

  test('without the platform asked for names those there are, exit status 3', async () => {
    await expectFailure(['ls', '--platform', 'linux/s390x', image], 3, /linux\/s390x.*linux\/amd64/u);
  });

  test('a path that is not there is exit status 3', async () => {
    await expectFailure(['ls', image, '/absent'], 3, /\/absent/u);
    await expectFailure(['cat', image, '/etc/hostname/x'], 3, /\/etc\/hostname\/x/u);
    await expectFailure(['cat', image, '/loop'], 3, /\/loop.*symbolic links/u);
    await expectFailure(['cat', image, '/dangling'], 3, /\/dangling/u);
    await expectFailure(['stat', image, '/absent'], 3, /\/absent/u);
    await expectFailure(['stat', image, `/${'n'.repeat(256)}`], 3, /255/u);
  });

  test('a folder and a device have no content, exit status 1', async () => {
    await expectFailure(['cat', image, '/etc'], 1, /cat \/etc: is a directory/u);
    await expectFailure(['cat', image, '/null'], 1, /cat \/null: is a char/u);
  });

  test('a range past the end is exit status 2', async () => {
    await expectFailure(
      ['cat', '--range', '5-', image, '/etc/hostname'],
      2,
      /past the end; the file has 5 bytes/u,
    );
  });

  test('a truncated layer is exit status 6 and names the layer', async () => {
    const folder = copyOf('truncated');
    truncateSync(blobFile(folder, layerDigest()), (written.layers[0]?.size ?? 0) - 1);
    const message = new RegExp(layerDigest(), 'u');
    await expectFailure(['--cache-dir', path.join(user.work, 'c1'), 'ls', folder], 6, message);
  });

  test('a flipped bit in a layer is exit status 6, and nothing of it is shown', async () => {
    const folder = copyOf('flipped');
    const file = blobFile(folder, layerDigest());
    const bytes = readFileSync(file);
    const at = Math.floor(bytes.length / 2);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(file, bytes);
    const message = new RegExp(layerDigest(), 'u');
    for (const words of [
      ['ls', folder],
      ['cat', folder, '/etc/hostname'],
      ['cat', folder, '/noise'],
    ]) {
      await expectFailure(['--cache-dir', path.join(user.work, 'c2'), ...words], 6, message);
    }
  });

  test('a manifest with another digest is exit status 6', async () => {
    const folder = copyOf('forged');
    const file = blobFile(folder, written.manifest.digest);
    writeFileSync(
      file,
      readFileSync(file, 'utf8').replace('"schemaVersion":2', '"schemaVersion": 2').slice(0, -1),
    );
    await expectFailure(['inspect', folder], 6, new RegExp(written.manifest.digest, 'u'));
  });

  test('a missing layer blob is named', async () => {
    const folder = copyOf('missing');
    rmSync(blobFile(folder, layerDigest()));
    await expectFailure(
      ['--cache-dir', path.join(user.work, 'c3'), 'ls', folder],
      3,
      new RegExp(layerDigest(), 'u'),
    );
  });
});

describe('several paths', () => {
  test('the ones that can be read are written, the others reported, and the first failure gives the status', async () => {
    const run = await user.run(['cat', image, '/etc/hostname', '/absent', '/etc', '/etc/hostname']);
    expect(run.stdout.toString('utf8')).toBe('peel\npeel\n');
    expect(run.stderr).toMatch(/^peel: \/absent[^\n]*\npeel: cat \/etc: is a directory\n$/u);
    expect(run.status).toBe(3);
  });
});

describe('the cache', () => {
  // With 24k the index fits and the content does not; with 4k nothing does.
  test.each(['24k', '4k'])('that is full at %s costs a warning, not the answer', async (size) => {
    const place = path.join(user.work, `full-${size}`);
    mkdirSync(place, { mode: 0o700 });
    const run = await user.run(['--cache-dir', place, 'cat', image, '/noise'], {
      wrapper: [
        'unshare',
        '-m',
        'sh',
        '-c',
        `mount -t tmpfs -o size=${size},mode=0700 peel-test '${place}' && exec "$@"`,
        'sh',
      ],
    });
    expect(run.status).toBe(0);
    expect(run.stdout.equals(NOISE)).toBe(true);
    expect(run.stderr).toMatch(/^(peel: warning: [^\n]*\n)+$/u);
  });

  test('that is read-only costs a warning, not the answer', async () => {
    const place = path.join(user.work, 'read-only');
    mkdirSync(place, { mode: 0o700 });
    const run = await user.run(['--cache-dir', path.join(place, 'peel'), 'cat', image, '/noise'], {
      wrapper: [
        'unshare',
        '-m',
        'sh',
        '-c',
        `mount -t tmpfs -o ro,mode=0700 peel-test '${place}' && exec "$@"`,
        'sh',
      ],
    });
    expect(run.status).toBe(0);
    expect(run.stdout.equals(NOISE)).toBe(true);
    expect(run.stderr).toMatch(/^(peel: warning: [^\n]*\n)+$/u);
    // Said once, whatever the number of documents and layers.
    const lines = run.stderr.split('\n').filter(Boolean);
    expect(lines).toEqual([...new Set(lines)]);
  });

  test('that others could write to is refused, exit status 1', async () => {
    const place = path.join(user.work, 'open');
    mkdirSync(place);
    chmodSync(place, 0o777);
    await expectFailure(['--cache-dir', place, 'ls', image], 1, /cache/u);
  });

  test('--offline without what is needed is exit status 5', async () => {
    await expectFailure(['--offline', 'ls', '127.0.0.1:1/nothing'], 5, /offline/u);
  });
});

describe('standard output', () => {
  test('that is full is exit status 1', async () => {
    const run = await user.run(['cat', image, '/noise'], {
      wrapper: ['sh', '-c', 'exec "$@" > /dev/full', 'sh'],
    });
    expect(run.stderr).toMatch(/^peel: writing standard output: [^\n]*no space[^\n]*\n$/u);
    expect(run.status).toBe(1);
  });

  test('whose reader leaves ends the command quietly', async () => {
    const run = await user.run(['cat', image, '/noise', '/noise', '/noise'], {
      wrapper: ['bash', '-c', '"$@" | head -c 4 >/dev/null; echo "${PIPESTATUS[0]}"', 'bash'],
    });
    expect(run.stdout.toString('utf8')).toBe('0\n');
    expect(run.stderr).toBe('');
  });
});

describe('a registry', () => {
  let server: ScriptedServer;
  beforeAll(async () => {
    server = await startScriptedServer();
    const manifest = readFileSync(blobFile(image, written.manifest.digest));
    const parsed = JSON.parse(manifest.toString('utf8')) as { config: { digest: string } };
    server.addBlob('app', readFileSync(blobFile(image, layerDigest())));
    server.addBlob('app', readFileSync(blobFile(image, parsed.config.digest)));
    server.addManifest('app', 'latest', manifest, written.manifest.mediaType);
  });
  afterAll(async () => {
    await server.close();
  });

  const cached = (name: string): string[] => ['--cache-dir', path.join(user.work, `cache-${name}`)];

  test('that is well is read', async () => {
    server.clearRules();
    const run = await user.run([...cached('well'), 'cat', `${server.address}/app`, '/etc/hostname']);
    expect(run).toMatchObject({ status: 0, stderr: '' });
    expect(run.stdout.toString('utf8')).toBe('peel\n');
  });

  test('that is down is exit status 5, with what to do', async () => {
    const port = await freePort();
    await expectFailure(['ls', `127.0.0.1:${port}/app`], 5, new RegExp(`127\\.0\\.0\\.1:${port}`, 'u'));
  });

  test('that does not know the image is exit status 3', async () => {
    server.clearRules();
    await expectFailure(['ls', `${server.address}/other`], 3, /other/u);
    await expectFailure(['ls', `${server.address}/app:absent`], 3, /absent/u);
  });

  test('that answers a manifest with a web page is exit status 5', async () => {
    server.clearRules();
    server.rule({
      reply: { status: 200, headers: { 'content-type': 'text/html; charset=utf-8' }, body: '<html>' },
    });
    await expectFailure(['ls', `${server.address}/app`], 5, /app: .*web page.*login page or proxy/u);
  });

  test('that answers a manifest with something else is named', async () => {
    server.clearRules();
    server.rule({ reply: { status: 200, headers: { 'content-type': 'application/json' }, body: 'x' } });
    await expectFailure(['ls', `${server.address}/app`], 1, /\/app:latest: manifest is not valid JSON/u);
  });

  test('that is down is said by doctor, which claims nothing else of it', async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const run = await user.run(['doctor', `${address}/app`]);
    expect(run.status).toBe(1);
    const said = run.stdout.toString('utf8');
    expect(said).toMatch(new RegExp(`^fail {2}image .*${address}`, 'mu'));
    expect(said).not.toMatch(/^ok +(?:ranges|redirects|requests)/mu);
  });

  test('is not asked by doctor --offline', async () => {
    server.clearRules();
    server.clearRequests();
    const run = await user.run(['--offline', 'doctor', `${server.address}/app`]);
    expect(run.stdout.toString('utf8')).toMatch(/^warn {2}image .*--offline/mu);
    expect(server.requests).toEqual([]);
  });

  test('whose image is in the cache is read --offline by tag and by digest', async () => {
    server.clearRules();
    const words = [...cached('by-digest'), 'cat', `${server.address}/app`, '/etc/hostname'];
    expect(await user.run(words)).toMatchObject({ status: 0 });
    server.clearRequests();
    const byDigest = words.with(3, `${server.address}/app@${written.manifest.digest}`);
    for (const each of [words, byDigest]) {
      const run = await user.run(['--offline', ...each]);
      expect(run).toMatchObject({ status: 0, stderr: '' });
      expect(run.stdout.toString('utf8')).toBe('peel\n');
    }
    expect(server.requests).toEqual([]);
  });

  test.each([401, 403])('that answers %d is exit status 4, with what to do', async (status) => {
    server.clearRules();
    server.rule({
      reply: { status, headers: status === 401 ? { 'www-authenticate': 'Basic realm="x"' } : {} },
    });
    await expectFailure(['ls', `${server.address}/app`], 4, /login/u);
  });

  test('that cannot say a thing but errors is exit status 5', async () => {
    server.clearRules();
    server.rule({ reply: { status: 400, body: 'bad' } });
    await expectFailure(['ls', `${server.address}/app`], 5, /400/u);
  });

  test('that serves another manifest than the digest asked for is exit status 6', async () => {
    server.clearRules();
    const digest = `sha256:${'0'.repeat(64)}`;
    server.rule({
      path: `/v2/app/manifests/${digest}`,
      reply: (request) => server.content({ ...request, path: '/v2/app/manifests/latest' }),
    });
    await expectFailure(['ls', `${server.address}/app@${digest}`], 6, /sha256:0000/u);
  });

  test('that flips a bit of a layer is exit status 6', async () => {
    server.clearRules();
    server.rule({
      path: new RegExp(layerDigest(), 'u'),
      reply: (request) => ({ ...server.content(request), flipBit: 80_001 }),
    });
    await expectFailure(
      [...cached('flip'), 'ls', `${server.address}/app`],
      6,
      new RegExp(layerDigest(), 'u'),
    );
  });

  test('that is interrupted while it is silent ends with 130', async () => {
    server.clearRules();
    server.clearRequests();
    server.rule({ reply: { silent: true } });
    const run = await user.run(['ls', `${server.address}/app`], {
      onStart: (child) => {
        const timer = setInterval(() => {
          if (server.requests.length === 0) return;
          clearInterval(timer);
          child.kill('SIGINT');
        }, 20);
        child.once('exit', () => clearInterval(timer));
      },
    });
    expect(run.stderr).toBe('peel: interrupted by SIGINT\n');
    expect(run.status).toBe(130);
  });
});

test.each([
  ['--authfile', ['--authfile', '/nonexistent/auth.json'], {}],
  ['PEEL_AUTHFILE', [], { PEEL_AUTHFILE: '/nonexistent/auth.json' }],
])('credentials named by %s that are not there are an error, needed or not', async (_how, flags, env) => {
  const run = await user.run([...flags, 'ls', `oci:${image}`], { env });
  expect(run.stderr).toContain('--authfile: there is no file /nonexistent/auth.json');
  expect(run.status).toBe(2);
  // Nothing is read that they could be for.
  expect((await user.run([...flags, 'cache', 'path'], { env })).status).toBe(0);
});

describe.skipIf(!hasRegistry())('a real registry', () => {
  let registry: TestRegistry | undefined;
  afterAll(async () => {
    await registry?.close();
  });

  test('with passwords refuses without one, and serves with one', async () => {
    registry = await startRegistry({ auth: 'htpasswd' });
    await registry.pushLayout('app', 'latest', `oci:${image}`);
    const name = `${registry.address}/app`;
    await expectFailure(['ls', name], 4, /login|authfile/u);
    const run = await user.run(['--authfile', registry.authfile, 'cat', name, '/etc/hostname']);
    expect(run).toMatchObject({ status: 0, stderr: '' });
    expect(run.stdout.toString('utf8')).toBe('peel\n');
    // Once it is known, it is read without the registry.
    await registry.stop();
    const offline = await user.run([
      '--offline',
      '--authfile',
      registry.authfile,
      'cat',
      name,
      '/etc/hostname',
    ]);
    expect(offline).toMatchObject({ status: 0, stderr: '' });
    expect(offline.stdout.toString('utf8')).toBe('peel\n');
  });
});
