import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { digestOf } from '../../src/reference/digest.ts';
import { DocumentStore, withDocumentStore } from '../../src/source/document-store.ts';
import type { ImageSource } from '../../src/source/source.ts';
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

describe('withDocumentStore', () => {
  /** A registry whose tag leads to what `served` holds. */
  function sourceOf(served: { bytes: Buffer }): ImageSource {
    const unused = () => Promise.reject(new Error('not asked for here'));
    return {
      name: 'registry.test/a:latest',
      stats: { requests: 0, bytesFetched: 0 },
      resolve: () =>
        Promise.resolve({ mediaType: 'text/x', digest: digestOf(served.bytes), bytes: served.bytes }),
      fetchDocument: unused,
      fetchBlob: unused,
      measureBlob: unused,
      openBlob: () => {
        throw new Error('not asked for here');
      },
      close: () => Promise.resolve(),
    };
  }

  test('writes nothing again while a tag stays where it is, and follows it when it moves', async () => {
    const folder = makeDir();
    const store = new DocumentStore(folder);
    const served = { bytes };
    const source = withDocumentStore(sourceOf(served), store, false);
    const files = (): string[] =>
      readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => `${entry.name} ${statSync(path.join(entry.parentPath, entry.name)).ino}`)
        .sort((a, b) => (a < b ? -1 : 1));
    await source.resolve();
    const before = files();
    expect(before).toHaveLength(2);
    await source.resolve();
    expect(files()).toEqual(before);

    served.bytes = Buffer.from('{"schemaVersion":2,"moved":true}');
    await source.resolve();
    const offline = withDocumentStore(sourceOf({ bytes }), store, true);
    expect((await offline.resolve()).bytes).toEqual(served.bytes);
    expect(files()).toHaveLength(3);
  });
});
