/**
 * What an index takes as it travels, on layers of what a Debian has: at most 2.2 % of the compressed layer, of which
 * `ls` needs the TOC alone (docs/INDEX-ARTIFACT.md has the figures of larger ones).
 */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unpackWindows } from '../../src/layer/packed-windows.ts';
import { packToc } from '../../src/layer/travelling-toc.ts';
import { run } from '../native/support.ts';
import { tocOfBlob } from '../support/layer-toc.ts';

/** Enough that what a layer costs once does not show. */
const TAR_BYTES = 12 * 1024 * 1024;

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(path.join(os.tmpdir(), 'peel-size-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** The files below some folders, up to so many bytes. */
function tarOf(...folders: string[]): Buffer {
  const files: string[] = [];
  let bytes = 0;
  const walk = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      const name = path.join(folder, entry.name);
      if (bytes > TAR_BYTES) return;
      if (entry.isDirectory() && entry.name !== '__pycache__') walk(name);
      if (!entry.isFile()) continue;
      bytes += statSync(name).size;
      files.push(name);
    }
  };
  folders.forEach(walk);
  const list = path.join(scratch, 'list');
  writeFileSync(list, files.join('\n'));
  return run('tar', ['-cPf', '-', '--no-recursion', '-T', list]);
}

/** What Python and Perl bring. */
function scriptsBelow(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => /^(?:python3\.\d+|perl)$/.test(name));
  return names.map((name) => path.join(folder, name));
}

describe('an index as it travels takes at most 2.2 % of the layer', () => {
  test.each<[string, string[]]>([
    ['programs', ['/usr/bin']],
    ['scripts', ['/usr/lib', '/usr/share'].flatMap(scriptsBelow)],
  ])('of %s', async (_, folders) => {
    const tar = tarOf(...folders);
    for (const level of [6, 9]) {
      const blob = gzipSync(tar, { level });
      const { toc, windows } = await tocOfBlob(blob);
      const packed = await packToc(toc, windows);
      expect((await unpackWindows(toc, packed.windows)).equals(windows)).toBe(true);
      const share = (bytes: number): number => bytes / blob.length;
      expect(share(packed.toc.length + packed.windows.length)).toBeLessThan(0.022);
      expect(share(packed.toc.length)).toBeLessThan(0.004);
      // Spans are as small as they were.
      expect(toc.uncompressedSize / toc.spans.length).toBeLessThan(1.3 * 256 * 1024);
    }
  });
});
