import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { digestOf } from '../../src/reference/digest.ts';
import { DocumentStore } from '../../src/source/document-store.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const makeDir = useTempDirs();
const bytes = Buffer.from('{"schemaVersion":2}');
const digest = digestOf(bytes);

async function storeWithDocument(): Promise<{ store: DocumentStore; file: string }> {
  const folder = makeDir();
  const store = new DocumentStore(folder);
  await store.writeDocument(digest, bytes);
  return { store, file: path.join(folder, 'documents', 'sha256', digest.slice('sha256:'.length)) };
}

describe('DocumentStore', () => {
  test('keeps documents by digest and names by their text, and nothing beside them', async () => {
    const { store, file } = await storeWithDocument();
    await store.writeName('localhost/a:b', { digest, mediaType: 'text/x' });
    expect(await store.readDocument(digest)).toEqual(bytes);
    expect(await store.readName('localhost/a:b')).toEqual({ digest, mediaType: 'text/x' });
    expect(await store.readName('localhost/a:c')).toBeUndefined();
    expect(readdirSync(path.dirname(file))).toEqual([path.basename(file)]);
  });

  const damages: readonly (readonly [string, (file: string) => void])[] = [
    ['that is cut short', (file) => truncateSync(file, 5)],
    ['that was changed', (file) => writeFileSync(file, Buffer.from(bytes).fill(32, 3, 4))],
    ['that is gone', (file) => rmSync(file)],
    [
      'whose place a FIFO took',
      (file) => {
        rmSync(file);
        execFileSync('mkfifo', [file], { timeout: 10_000 });
      },
    ],
    [
      'whose place a link to the same bytes took',
      (file) => {
        renameSync(file, `${file}.moved`);
        symlinkSync(`${file}.moved`, file);
      },
    ],
    [
      'whose place a folder took',
      (file) => {
        rmSync(file);
        mkdirSync(path.join(file, 'x'), { recursive: true });
      },
    ],
  ];
  test.each(damages)('a document %s counts as absent, and is written again', async (_, damage) => {
    const { store, file } = await storeWithDocument();
    damage(file);
    expect(await store.readDocument(digest)).toBeUndefined();
    await store.writeDocument(digest, bytes);
    expect(await store.readDocument(digest)).toEqual(bytes);
  });

  // Node's own recursive mkdir never returns there.
  test('P12: a file system that answers ENOENT to every mkdir keeps nothing, and nobody waits', async () => {
    const store = new DocumentStore('/proc/self/fdinfo/peel');
    await store.writeDocument(digest, bytes);
    expect(await store.readDocument(digest)).toBeUndefined();
  });
});
