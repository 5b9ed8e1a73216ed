/** What each command writes, over a small image whose every byte the test knows. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ByteString } from '../../src/units.ts';
import { sha256Digest } from '../support/digests.ts';
import { blobFile, member, writeLayout } from '../support/image-layout.ts';
import { startScriptedServer } from '../support/scripted-server.ts';
import { serveImage } from '../support/served-image.ts';
import { image, useImage, user, written } from '../support/user-with-image.ts';

const BIG = Buffer.concat(
  Array.from({ length: 50_000 }, (_, index) => createHash('sha256').update(String(index)).digest()),
);

useImage({
  layers: [
    [
      member('.hidden', { content: Buffer.from('h') }),
      member('usr', { type: 'dir' }),
      member('usr/lib', { type: 'dir' }),
      member('usr/lib/os-release', { content: Buffer.from('ID=peel\n'), mtimeNsec: 5 }),
      member('etc', { type: 'dir' }),
      member('etc/os-release', {
        type: 'symlink',
        mode: 0o777,
        target: '../usr/lib/os-release' as ByteString,
      }),
      member('etc/passwd', { content: Buffer.from('old\n') }),
      member('lib', { type: 'symlink', mode: 0o777, target: '/usr/lib' as ByteString }),
    ],
    [
      member('etc/passwd', {
        content: Buffer.from('root:x:0:0\n'),
        mode: 0o4755,
        uid: 1,
        gid: 42,
        mtimeSec: 1_600_000_000,
      }),
      member('usr/lib/big', { content: BIG }),
      member('usr/lib/big.link', { type: 'hardlink', target: 'usr/lib/big' as ByteString }),
      member('null', { type: 'char', mode: 0o666, rdev: [1, 3] }),
      member('caps', { xattrs: new Map([['user.note' as ByteString, Buffer.from('hi')]]) }),
    ],
  ],
  config: {
    Env: ['PATH=/bin', 'A=b c'],
    Entrypoint: ['/bin/sh', '-c'],
    Labels: { a: 'b' },
    User: 'nobody',
  },
});

async function peel(...args: string[]): Promise<string> {
  const run = await user.run(args);
  expect(run.stderr).toBe('');
  expect(run.status).toBe(0);
  return run.stdout.toString('utf8');
}

test('an image of one other platform is shown with a warning, and without one when it was asked for', async () => {
  const other = path.join(user.work, 'other');
  writeLayout(other, { layers: [[member('file')]], architecture: 's390x' });
  const shown = await user.run(['ls', `oci:${other}`]);
  expect(shown).toMatchObject({ status: 0, stdout: Buffer.from('file\n') });
  expect(shown.stderr).toMatch(
    /^peel: warning: oci:.* is for linux\/s390x alone, not for this host \(linux\/\w+\)\n$/,
  );
  const asked = await user.run(['ls', '--platform', 'linux/s390x', `oci:${other}`]);
  expect(asked).toMatchObject({ status: 0, stderr: '' });
});

describe('ls', () => {
  test('lists the root by default, without hidden names', async () => {
    expect(await peel('ls', image)).toBe('caps\netc\nlib\nnull\nusr\n');
    expect(await peel('ls', '-A', image, '/')).toBe('.hidden\ncaps\netc\nlib\nnull\nusr\n');
    expect(await peel('ls', '-a', image, '/')).toBe('.\n..\n.hidden\ncaps\netc\nlib\nnull\nusr\n');
  });

  test('follows a link to a folder that is named, unless -l or -d asks for the link', async () => {
    expect(await peel('ls', image, '/lib')).toBe('big\nbig.link\nos-release\n');
    expect(await peel('ls', '-l', image, '/lib')).toMatch(
      /^lrwxrwxrwx 1 0 0 8 Nov 14 {2}2023 \/lib -> \/usr\/lib\n$/u,
    );
    expect(await peel('ls', '-d', image, '/lib')).toBe('/lib\n');
    expect(await peel('ls', '-l', image, '/lib/')).toMatch(/^total \d+\n-rw-r--r-- 2 /u);
  });

  test('paths count from the root of the image, with and without a slash in front', async () => {
    expect(await peel('ls', image, 'etc')).toBe('os-release\npasswd\n');
    expect(await peel('ls', image, '/usr/../etc/./')).toBe('os-release\npasswd\n');
  });

  test('several paths get headings, files come first', async () => {
    expect(await peel('ls', image, '/usr', 'etc/passwd', '/etc')).toBe(
      'etc/passwd\n\n/usr:\nlib\n\n/etc:\nos-release\npasswd\n',
    );
  });

  test('-R goes down, with a heading for each folder', async () => {
    expect(await peel('ls', '-R', image, '/usr')).toBe(
      '/usr:\nlib\n\n/usr/lib:\nbig\nbig.link\nos-release\n',
    );
  });

  test('-l shows what stat would say', async () => {
    expect(await peel('ls', '-l', image, '/etc')).toBe(
      'total 8\n' +
        'lrwxrwxrwx 1 0  0 21 Nov 14  2023 os-release -> ../usr/lib/os-release\n' +
        '-rwsr-xr-x 1 1 42 11 Sep 13  2020 passwd\n',
    );
  });

  test('-t and -S sort, -r turns it round', async () => {
    expect(await peel('ls', '-t', image, '/etc')).toBe('os-release\npasswd\n');
    expect(await peel('ls', '-tr', image, '/etc')).toBe('passwd\nos-release\n');
    expect(await peel('ls', '-S', image, '/usr/lib')).toBe('big\nbig.link\nos-release\n');
  });

  test('--layers tells where an entry comes from, --layer shows one layer alone', async () => {
    expect(await peel('ls', '--layers', image, '/etc')).toBe('0 os-release\n1 passwd\n');
    expect(await peel('ls', '-R', '--layer', '1', image, '/')).toContain('/etc:\npasswd\n');
    expect(await peel('cat', '--layer', '0', image, '/etc/passwd')).toBe('old\n');
  });

  test('a terminal gets columns', async () => {
    const run = await user.runOnTerminal(['-q', '--color', 'never', 'ls', image]);
    expect(run.stdout.toString('utf8')).toBe('caps  etc  lib  null  usr\n');
  });

  test('colours are for terminals, --color and NO_COLOR say otherwise', async () => {
    const inColor =
      'caps\n\x1b[01;34metc\x1b[0m\n\x1b[01;36mlib\x1b[0m\n\x1b[40;33;01mnull\x1b[0m\n\x1b[01;34musr\x1b[0m\n';
    expect(await peel('--color', 'always', 'ls', image)).toBe(inColor);
    const shown = await user.runOnTerminal(['-q', 'ls', '-1', image]);
    expect(shown.stdout.toString('utf8')).toBe(inColor);
    const plain = await user.runOnTerminal(['-q', 'ls', '-1', image], { env: { NO_COLOR: '1' } });
    expect(plain.stdout.toString('utf8')).toBe('caps\netc\nlib\nnull\nusr\n');
    const columns = await user.runOnTerminal(['-q', 'ls', image]);
    expect(columns.stdout.toString('utf8').replaceAll(/\x1b\[[\d;]*m/gu, '')).toBe(
      'caps  etc  lib  null  usr\n',
    );
  });
});

describe('ls --format', () => {
  test('json has every field of the contract', async () => {
    const { schemaVersion, entries } = JSON.parse(await peel('ls', '--format', 'json', image, '/')) as {
      schemaVersion: number;
      entries: { path: string; ino: number }[];
    };
    expect(schemaVersion).toBe(1);
    const byPath = new Map(entries.map((entry) => [entry.path, entry]));
    expect(byPath.get('/null')).toEqual({
      path: '/null',
      type: 'char',
      mode: '666',
      uid: 0,
      gid: 0,
      size: 0,
      mtime: '1700000000.000000000',
      rdev: [1, 3],
      nlink: 1,
      ino: expect.any(Number) as number,
      layer: 1,
    });
    expect(byPath.get('/caps')).toMatchObject({ xattrs: { 'user.note': 'aGk=' } });
    expect(byPath.get('/lib')).toMatchObject({ type: 'symlink', target: '/usr/lib', size: 8 });
    expect(byPath.has('/.hidden')).toBe(false);
  });

  test('an empty list is a document too', async () => {
    const none = await user.run(['ls', '--format', 'json', image, '/absent']);
    expect(none.status).toBe(3);
    expect(JSON.parse(none.stdout.toString('utf8'))).toEqual({ schemaVersion: 1, entries: [] });
  });

  test('nanoseconds are kept', async () => {
    const text = await peel('ls', '--format', 'jsonl', image, '/usr/lib/os-release');
    expect(JSON.parse(text)).toMatchObject({ mtime: '1700000000.000000005', schemaVersion: 1 });
  });
});

describe('cat', () => {
  test('writes files one after the other, following links inside the image', async () => {
    expect(await peel('cat', image, '/etc/os-release', '/lib/os-release', 'etc/passwd')).toBe(
      'ID=peel\nID=peel\nroot:x:0:0\n',
    );
  });

  test.each([
    ['0-0', 0, 1],
    ['0-', 0, BIG.length],
    ['1000-1999', 1000, 2000],
    ['262143-262144', 262_143, 262_145],
    ['1500000-9999999999', 1_500_000, BIG.length],
    ['-5', BIG.length - 5, BIG.length],
    ['-99999999999', 0, BIG.length],
  ])('--range %s writes just these bytes', async (range, start, end) => {
    const run = await user.run(['cat', '--range', range, image, '/usr/lib/big']);
    expect(run).toMatchObject({ status: 0, stderr: '' });
    expect(run.stdout.equals(BIG.subarray(start, end))).toBe(true);
  });
});

describe('tree', () => {
  test('draws what tree(1) draws', async () => {
    expect(await peel('tree', image)).toBe(
      [
        '/',
        '├── caps',
        '├── etc',
        '│   ├── os-release -> ../usr/lib/os-release',
        '│   └── passwd',
        '├── lib -> /usr/lib',
        '├── null',
        '└── usr',
        '    └── lib',
        '        ├── big',
        '        ├── big.link',
        '        └── os-release',
        '',
        '3 directories, 8 files',
        '',
      ].join('\n'),
    );
  });

  test('-L, -d and --du narrow and sum; a file with two names counts once', async () => {
    expect(await peel('tree', '-L', '1', '-d', image, 'usr')).toBe('usr\n└── lib\n\n1 directory\n');
    expect(await peel('tree', '-L', '1', '--du', image, '/usr')).toBe(
      '[    1600008]  /usr\n└── [    1600008]  lib\n\n1600008 bytes used in 1 directory, 0 files\n',
    );
  });

  test('json nests', async () => {
    const { trees } = JSON.parse(await peel('tree', '--format', 'json', '-L', '2', image, '/usr')) as {
      trees: { path: string; children: { path: string; children: { path: string }[] }[] }[];
    };
    expect(trees[0]?.path).toBe('/usr');
    expect(trees[0]?.children[0]?.children.map((child) => child.path)).toEqual([
      '/usr/lib/big',
      '/usr/lib/big.link',
      '/usr/lib/os-release',
    ]);
  });
});

describe('stat', () => {
  test('says what stat(1) says, and the layer', async () => {
    const layer = written.layers[1]?.digest ?? '';
    const shown = await peel('stat', image, '/etc/passwd');
    expect(shown).toMatch(
      /^ {2}File: \/etc\/passwd\n {2}Size: 11 .*Blocks: 8 .*IO Block: 4096 +regular file\n/u,
    );
    expect(shown).toMatch(/^Access: \(4755\/-rwsr-xr-x\) {2}Uid: 1 {3}Gid: 42$/mu);
    expect(shown).toMatch(/^Modify: 2020-09-13 12:26:40\.000000000 \+0000$/mu);
    expect(shown).toContain(` Layer: 1  ${layer}\n`);
  });

  test('shows the link, or with -L what it leads to', async () => {
    expect(await peel('stat', image, '/etc/os-release')).toContain(
      'File: /etc/os-release -> ../usr/lib/os-release\n',
    );
    expect(await peel('stat', '-L', image, '/etc/os-release')).toMatch(/Size: 8 .*regular file/u);
  });

  test('the cached share grows when the file is read', async () => {
    const cache = ['--cache-dir', path.join(user.work, 'cache-stat')];
    const cachedBytes = async (): Promise<unknown> => {
      const { entries } = JSON.parse(
        await peel(...cache, 'stat', '--format', 'json', image, '/usr/lib/big'),
      ) as {
        entries: { cachedBytes: number }[];
      };
      return entries[0]?.cachedBytes;
    };
    expect(await cachedBytes()).toBe(0);
    await user.run([...cache, 'cat', image, '/usr/lib/big']);
    expect(await cachedBytes()).toBe(BIG.length);
    const usage = JSON.parse(await peel(...cache, 'cache', 'du', '--format', 'json')) as {
      layers: { digest: string; spanBytes: number; spansPresent: number; spansTotal: number }[];
    };
    const layer = usage.layers.find(({ digest }) => digest === written.layers[1]?.digest);
    expect(layer?.spanBytes).toBeGreaterThanOrEqual(BIG.length);
    expect(layer?.spansPresent).toBe(layer?.spansTotal);
    expect(await peel(...cache, 'cache', 'prune', '--all')).toMatch(/^freed [1-9]/u);
    expect(JSON.parse(await peel(...cache, 'cache', 'du', '--format', 'json'))).toEqual({
      schemaVersion: 1,
      layers: [],
    });
  });
});

describe('documents', () => {
  test('manifest and config --raw are the bytes that the digest names', async () => {
    const manifest = await user.run(['manifest', '--raw', image]);
    expect(sha256Digest(manifest.stdout)).toBe(written.manifest.digest);
    const parsed = JSON.parse(manifest.stdout.toString('utf8')) as { config: { digest: string } };
    const config = await user.run(['config', '--raw', image]);
    expect(config.stdout.equals(readFileSync(blobFile(image, parsed.config.digest)))).toBe(true);
    expect(JSON.parse(await peel('manifest', image))).toEqual(parsed);
    expect(await peel('config', image)).toContain('\n  "architecture": "amd64",\n');
  });

  test('inspect says what runs', async () => {
    const shown = await peel('inspect', image);
    expect(shown).toContain(`Digest:      ${written.manifest.digest}\n`);
    expect(shown).toContain('Entrypoint:  ["/bin/sh","-c"]\n');
    expect(shown).toContain('Env:         PATH=/bin\n             A=b c\n');
    const json = JSON.parse(await peel('inspect', '--format', 'json', image)) as object;
    expect(json).toMatchObject({
      schemaVersion: 1,
      digest: written.manifest.digest,
      platform: 'linux/amd64',
      config: { User: 'nobody', Labels: { a: 'b' } },
    });
  });

  test('layers says which are indexed, without indexing', async () => {
    const cache = ['--cache-dir', path.join(user.work, 'cache-layers')];
    const read = async (): Promise<object[]> =>
      (JSON.parse(await peel(...cache, 'layers', '--format', 'json', image)) as { layers: object[] }).layers;
    expect(await read()).toMatchObject([
      { layer: 0, digest: written.layers[0]?.digest, isIndexed: false, verificationClass: 'A' },
      { layer: 1, digest: written.layers[1]?.digest, isIndexed: false },
    ]);
    expect(await read()).toMatchObject([{ isIndexed: false }, { isIndexed: false }]);
    await user.run([...cache, 'ls', image]);
    expect(await read()).toMatchObject([
      { isIndexed: true, entries: 8 },
      { isIndexed: true, entries: 5 },
    ]);
    expect(await peel(...cache, 'layers', image)).toMatch(/^LAYER {2}DIGEST .*\n {4}0 {2}[0-9a-f]{12} /u);
  });
});

describe('progress', () => {
  test('plain progress is lines on standard error, and none of it is data', async () => {
    const run = await user.run([
      '--cache-dir',
      path.join(user.work, 'cache-p'),
      '--progress',
      'plain',
      'ls',
      image,
    ]);
    expect(run.stdout.toString('utf8')).toBe('caps\netc\nlib\nnull\nusr\n');
    expect(run.stderr).toMatch(/^indexing layer 1 of 2: /mu);
    expect(run.stderr).toMatch(/^indexed layer 2 of 2: /mu);
  });

  test('a slow layer shows a bar on a terminal, and the bar is gone in the end', async () => {
    const server = await startScriptedServer();
    try {
      const blobs = written.layers.map(({ digest }) => readFileSync(blobFile(image, digest)));
      serveImage(server, 'app', blobs);
      server.rule({
        path: new RegExp(written.layers[1]?.digest ?? '', 'u'),
        reply: (request) => ({ ...server.content(request), drip: { bytes: 200_000, everyMs: 60 } }),
      });
      const cache = ['--cache-dir', path.join(user.work, 'cache-bar')];
      const run = await user.runOnTerminal([...cache, '--color', 'never', 'ls', `${server.address}/app`]);
      const text = run.stdout.toString('utf8');
      expect(text).toMatch(/\r\x1b\[Kindexing layer 2 of 2 {2}\[#/u);
      // What is left on the screen is the list alone.
      expect(text.split('\r\x1b[K').at(-1)).toBe('caps  etc  lib  null  usr\n');
      expect(run.status).toBe(0);
    } finally {
      await server.close();
    }
  });
});
