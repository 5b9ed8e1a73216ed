/**
 * The native server against a peer that is not the kernel: it speaks the protocol over a socket (/dev/fd/N), first
 * as the kernel would, then with seeded damage. No answer may be wrong, missing or malformed, and nothing may crash.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { base64, dir, file } from '../support/literals.ts';
import { closeMounts, DIST, python, temporaryFolder } from '../support/mount-child.ts';

/** One that offers all that the server takes. */
const KERNEL = '6.9';
const MUTATIONS = 3000;
const PEER = readFileSync(path.join(import.meta.dirname, 'fuse-peer.py'), 'utf8');

interface PeerResult {
  readonly answers: Readonly<Record<string, unknown>>;
  readonly sent: number;
  readonly answered: number;
  readonly status: number;
}

/** The server of a small tree, asked by the peer. */
async function askedBy(kernel: string, seed = 1, mutations = 0): Promise<PeerResult> {
  const folder = temporaryFolder();
  const request = path.join(folder, 'request.json');
  const root = dir({
    f: file('content', { xattrs: { 'user.a': base64('value') } }),
    '\xff': { kind: 'symlink', target: 'f' },
    sparse: file('ab', { size: 9999, sparse: [{ offset: 5000, length: 2 }] }),
  });
  writeFileSync(
    request,
    JSON.stringify({
      dist: DIST,
      name: 'test/peer',
      root,
      transport: 'native',
      place: '/dev/fd/HANDED',
      options: { runtimeDir: path.join(folder, 'run') },
    }),
  );
  // The descriptor's number is known when the peer has opened it: the server's shell writes it into the request.
  const server = path.join(import.meta.dirname, '../support/mount-server.mjs');
  const script = 'sed "s,/dev/fd/HANDED,/dev/fd/$2," "$1" > "$1.fd" && exec "$3" "$4" "$1.fd"';
  const words = ['sh', '-c', script, 'sh', request, '@FD@', process.execPath, server];
  return (await python(PEER, kernel, String(seed), String(mutations), ...words)) as PeerResult;
}

afterEach(closeMounts);

describe('the native server', () => {
  test('answers a peer as the protocol says, feature by feature', async () => {
    const { answers, status } = await askedBy(KERNEL);
    expect(answers).toEqual({
      'init of version 8': [0, 7],
      init: [0, 64, [7, 40], [0, 13, 14, 17, 18, 22, 23, 24, 30], 0, 256],
      'lookup f': [0, 128, 7],
      'lookup none': [0, 0, true],
      'lookup in a file': 'ENOTDIR',
      'lookup of 256 bytes': 'ENAMETOOLONG',
      'lookup without an end': 'EIO',
      'a node that is not there': 'ESTALE',
      'node 0': 'ESTALE',
      read: ['content', 'te'],
      'read past the end': [0, 0],
      'read of a directory': 'EISDIR',
      'read of 4 GiB': 'EINVAL',
      'readdir without room': 'EINVAL',
      'readdir far behind the end': [0, 0],
      'readdir in small pieces': ['.', '..', 'f', 'sparse', '\xff'],
      open: ['ENOSYS', 'EROFS', 'EROFS'],
      opendir: 'ENOSYS',
      release: [0, 0],
      destroy: 0,
      writing: ['EROFS'],
      access: ['ENOSYS', 'EROFS'],
      'unknown opcodes': ['ENOSYS'],
      statfs: [0, [4096, 255]],
      'a length that lies': 'EIO',
      'after the damage': 'content',
    });
    expect(status).toBe(0);
  });

  test('takes of an older kernel what it offers: the INIT of 5.10 is shorter and has one word of features', async () => {
    const { answers, status } = await askedBy('5.10');
    // All but ASYNC_DIO (15) of what helps a read-only file system; 1 MiB requests.
    expect(answers['init']).toEqual([0, 64, [7, 32], [0, 4, 13, 14, 17, 18, 21, 22, 23, 24], 0, 256]);
    expect(answers).toMatchObject({ open: ['ENOSYS', 'EROFS', 'EROFS'], opendir: 'ENOSYS' });
    expect(answers).toMatchObject({ read: ['content', 'te'], 'after the damage': 'content' });
    expect(status).toBe(0);
  });

  test('of a kernel without features opens files and folders, which then keep their caches', async () => {
    const { answers, status } = await askedBy('without features');
    expect(answers['init']).toEqual([0, 64, [7, 31], [], 0, 0]);
    // FOPEN_KEEP_CACHE; with FOPEN_CACHE_DIR.
    expect(answers).toMatchObject({ open: [2, 'EROFS', 'EROFS'], opendir: 2 | 8, release: [0, 0] });
    expect(answers).toMatchObject({ read: ['content', 'te'], 'after the damage': 'content' });
    expect(status).toBe(0);
  });

  test('refuses a kernel whose protocol is too old, and ends', async () => {
    expect(await askedBy('3.8')).toMatchObject({ answers: { init: 'EPROTO' }, status: 1 });
  });

  test.each([2, 3, 4])(`survives damaged requests, seed %i, and goes on being right`, async (seed) => {
    const { answers, sent, answered, status } = await askedBy(KERNEL, seed, MUTATIONS);
    expect(answers['after the damage']).toBe('content');
    expect(sent).toBe(MUTATIONS);
    // Most damage leaves a header that can be answered.
    expect(answered).toBeGreaterThan(MUTATIONS / 3);
    expect(status).toBe(0);
  });
});
