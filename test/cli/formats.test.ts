import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { displayWidth, formatColumns } from '../../src/cli/columns.ts';
import { decimalTime, entryJSON } from '../../src/cli/entry-json.ts';
import { formatLong, modeString, shortTime } from '../../src/cli/long-format.ts';
import { createProgress, type Progress } from '../../src/cli/progress.ts';
import type { IndexProgress } from '../../src/image/opened-layers.ts';
import type { Node } from '../../src/tree/node.ts';
import type { ByteString } from '../../src/units.ts';
import { bytesOfText } from '../../src/units.ts';
import { useSharedTempDirs } from '../support/temp-dirs.ts';

function node(fields: Partial<Node>): Node {
  return {
    ino: 7,
    kind: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtimeSec: 0,
    mtimeNsec: 0,
    nlink: 1,
    rdev: undefined,
    target: undefined,
    xattrs: undefined,
    layer: 0,
    implied: false,
    content: undefined,
    children: undefined,
    parent: undefined,
    ...fields,
  };
}

describe('columns, beside GNU ls', () => {
  const folder = useSharedTempDirs()();

  const words = [
    'bin',
    'boot',
    'dev',
    'etc',
    'home',
    'lib',
    'lib32',
    'lib64',
    'libx32',
    'media',
    'mnt',
    'opt',
  ];
  const longWord = 'a-name-that-is-much-longer-than-all-the-others-beside-it';
  test.each([
    [words, 80],
    [words, 40],
    [words, 20],
    [words, 10],
    [words, 3],
    [[...words, longWord], 80],
    [[...words, longWord], 60],
    [['a'], 80],
    [Array.from({ length: 100 }, (_, index) => `f${index}`), 80],
  ])('%j on %d cells look the same', (names, width) => {
    const place = mkdtempSync(path.join(folder, 'd'));
    for (const name of names) writeFileSync(path.join(place, name), '');
    const sorted = [...names].sort();
    const expected = execFileSync('ls', ['-C', `-w${width}`, '-T0'], {
      cwd: place,
      env: { LC_ALL: 'C', PATH: process.env['PATH'] },
      encoding: 'utf8',
      timeout: 10_000,
    });
    expect(`${formatColumns(sorted, width).join('\n')}\n`).toBe(expected);
  });

  test('East Asian letters take two cells, combining marks none', () => {
    expect(displayWidth('日本')).toBe(4);
    expect(displayWidth('e\u0301')).toBe(1);
    expect(displayWidth('abc')).toBe(3);
  });
});

describe('the long format, beside GNU ls', () => {
  const folder = useSharedTempDirs()();

  test('modes, widths, times and links are those of ls -ln', () => {
    const now = Math.floor(Date.now() / 1000);
    const files = [
      { name: 'big', mode: 0o4755, size: 123_456, mtime: now - 3600 },
      { name: 'month-ago', mode: 0o2640, size: 1, mtime: now - 30 * 86_400 },
      { name: 'future', mode: 0o600, size: 22, mtime: now + 86_400 * 3 },
      { name: 'old', mode: 0o1777, size: 0, mtime: 1_000_000_000 },
      { name: 'before-1970', mode: 0o7000, size: 5, mtime: -86_400 },
      { name: 'sticky-no-x', mode: 0o5466, size: 3, mtime: 0 },
    ];
    for (const { name, mode, size, mtime } of files) {
      const file = path.join(folder, name);
      writeFileSync(file, 'x'.repeat(size));
      chmodSync(file, mode);
      // Not utimesSync: it takes a time before 1970 for the present.
      execFileSync('touch', ['-d', `@${mtime}`, file], { timeout: 10_000 });
    }
    const rows = files.map(({ name, mode, size, mtime }) => ({
      shownName: name,
      node: node({ mode, size, mtimeSec: mtime, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }),
    }));
    const listed = execFileSync('ls', ['-ln', '-U', ...files.map(({ name }) => name)], {
      cwd: folder,
      env: {
        LC_ALL: 'C',
        PATH: process.env['PATH'],
        ...(process.env['TZ'] ? { TZ: process.env['TZ'] } : {}),
      },
      encoding: 'utf8',
      timeout: 10_000,
    });
    const ours = formatLong(rows, { human: false, nowSec: now });
    expect(`${ours.join('\n')}\n`).toBe(listed);
    const human = execFileSync('ls', ['-lnh', '-U', ...files.map(({ name }) => name)], {
      cwd: folder,
      env: {
        LC_ALL: 'C',
        PATH: process.env['PATH'],
        ...(process.env['TZ'] ? { TZ: process.env['TZ'] } : {}),
      },
      encoding: 'utf8',
      timeout: 10_000,
    });
    expect(`${formatLong(rows, { human: true, nowSec: now }).join('\n')}\n`).toBe(human);
  });

  test('a directory and a link to it have their letters', () => {
    mkdirSync(path.join(folder, 'dir'));
    symlinkSync('dir', path.join(folder, 'link'));
    expect(modeString({ kind: 'dir', mode: 0o755 })).toBe('drwxr-xr-x');
    const [line] = formatLong(
      [
        {
          shownName: 'link',
          node: node({ kind: 'symlink', mode: 0o777, target: bytesOfText('a\x1bb'), size: 3 }),
        },
      ],
      { human: false, nowSec: 0 },
    );
    expect(line).toMatch(/^lrwxrwxrwx .* link -> "a\\x1bb"$/u);
  });

  test('devices show major and minor in the column of the size', () => {
    const file = path.join(folder, 'seven-digits');
    writeFileSync(file, Buffer.alloc(1_234_567));
    const rows = ['/dev/null', '/dev/tty', file].map((name) => {
      const { mode, nlink, uid, gid, size, rdev, mtimeMs } = statSync(name);
      const isDevice = rdev !== 0;
      return {
        shownName: name,
        node: node({
          kind: isDevice ? 'char' : 'file',
          mode: mode & 0o7777,
          nlink,
          uid,
          gid,
          size,
          // Small device numbers: eight bits each, as in the days when that was all.
          rdev: isDevice ? [rdev >> 8, rdev & 0xff] : undefined,
          mtimeSec: Math.floor(mtimeMs / 1000),
        }),
      };
    });
    const listed = execFileSync('ls', ['-ln', '-U', '/dev/null', '/dev/tty', file], {
      env: {
        LC_ALL: 'C',
        PATH: process.env['PATH'],
        ...(process.env['TZ'] ? { TZ: process.env['TZ'] } : {}),
      },
      encoding: 'utf8',
      timeout: 10_000,
    });
    const nowSec = Math.floor(Date.now() / 1000);
    expect(`${formatLong(rows, { human: false, nowSec }).join('\n')}\n`).toBe(listed);
  });

  test('an access list shows as a plus, and the lines without one stay aligned', () => {
    const xattrs = new Map([['system.posix_acl_access' as ByteString, Buffer.from('x')]]);
    const lines = formatLong(
      [
        { shownName: 'a', node: node({ xattrs }) },
        { shownName: 'b', node: node({}) },
      ],
      { human: false, nowSec: 0 },
    );
    expect(lines[0]).toMatch(/^-rw-r--r--\+ 1 /u);
    expect(lines[1]).toMatch(/^-rw-r--r-- {2}1 /u);
  });

  test('a time that no calendar has is shown in seconds', () => {
    expect(shortTime(8_000_000_000_000_000, 0)).toBe('8000000000000000');
  });
});

describe('JSON entries', () => {
  test('a name that is not UTF-8 stands as base64, and so does a target', () => {
    const entry = entryJSON(
      '/caf\xe9' as ByteString,
      node({ kind: 'symlink', target: '\xff' as ByteString }),
    );
    expect(entry).toMatchObject({ pathBase64: 'L2NhZuk=', targetBase64: '/w==' });
    expect(entry).not.toHaveProperty('path');
    expect(entry).not.toHaveProperty('target');
  });

  test('attributes with hostile names stay names', () => {
    const xattrs = new Map([
      ['__proto__' as ByteString, Buffer.from('v')],
      ['user.\xff' as ByteString, Buffer.from([0])],
    ]);
    const parsed: unknown = JSON.parse(JSON.stringify(entryJSON('/f' as ByteString, node({ xattrs }))));
    expect(Object.entries((parsed as { xattrs: object }).xattrs)).toEqual([['__proto__', 'dg==']]);
    expect((parsed as { xattrsBase64: object }).xattrsBase64).toEqual({ 'dXNlci7/': 'AA==' });
  });

  test.each([
    [0, 0, '0.000000000'],
    [1_700_000_000, 5, '1700000000.000000005'],
    [-1, 0, '-1.000000000'],
    [-1, 500_000_000, '-0.500000000'],
    [-2, 999_999_999, '-1.000000001'],
  ])('the time (%d, %d) is %s', (sec, nsec, text) => {
    expect(decimalTime(sec, nsec)).toBe(text);
  });
});

describe('progress', () => {
  function record(
    style: 'auto' | 'plain' | 'none',
    isTerminal: boolean,
    quiet = false,
  ): { events: (bytes: number, isDone: boolean) => void; text: () => string; progress: Progress } {
    let text = '';
    let now = 0;
    const progress = createProgress(style, {
      quiet,
      isTerminal,
      columns: () => 60,
      write: (chunk) => {
        text += chunk;
      },
      now: () => now,
    });
    const event = (bytes: number, isDone: boolean): IndexProgress => ({
      layer: 1,
      layerCount: 3,
      bytes,
      size: 10_000_000,
      isDone,
    });
    return {
      events: (bytes, isDone) => {
        now += 1_000;
        progress.layerProgress(event(bytes, isDone));
      },
      text: () => {
        progress.clear();
        return text;
      },
      progress,
    };
  }

  test('a terminal gets a bar that fits its width and is gone in the end', () => {
    const { events, text } = record('auto', true);
    events(0, false);
    events(4_000_000, false);
    const drawn = text();
    expect(drawn).toContain('indexing layer 2 of 3  [########------------]  40 %');
    for (const line of drawn.split('\r\x1b[K')) expect(line.length).toBeLessThan(60);
    expect(drawn.endsWith('\r\x1b[K')).toBe(true);
    expect(drawn).not.toContain('\n');
  });

  test('a bar that is held stays away until it is released', () => {
    const { events, text, progress } = record('auto', true);
    events(1_000_000, false);
    progress.hold();
    const held = text();
    events(2_000_000, false);
    expect([held.endsWith('\r\x1b[K'), text()]).toEqual([true, held]);
    progress.release();
    events(3_000_000, false);
    expect(text().slice(held.length)).toContain(' 30 %');
  });

  test('plain progress is whole lines, without escapes', () => {
    const { events, text } = record('plain', true);
    for (let step = 0; step < 10; step += 1) events(step * 1_000_000, false);
    events(10_000_000, true);
    const lines = text().trimEnd().split('\n');
    expect(lines[0]).toBe('indexing layer 2 of 3: 10.0 MB');
    expect(lines[1]).toBe('indexing layer 2 of 3: 5.0 MB of 10.0 MB  1.0 MB/s');
    expect(lines.at(-1)).toBe('indexed layer 2 of 3: 10.0 MB  1.0 MB/s');
    expect(text()).not.toMatch(/[\x1b\r]/u);
  });

  test.each([
    ['auto', false, false],
    ['none', true, false],
    ['auto', true, true],
    ['plain', true, true],
  ] as const)('%s on a terminal: %s, quiet: %s, shows nothing', (style, isTerminal, quiet) => {
    const { events, text } = record(style, isTerminal, quiet);
    events(1, false);
    events(10_000_000, true);
    expect(text()).toBe('');
  });
});
