/** A mounted image whose registry is slow, silent or gone: FAULTS F3 and F23, through the kernel. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256Hex } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import {
  closeMounts,
  mountCommand,
  python,
  TRANSPORTS,
  transportFlags,
  whyNoMounts,
} from '../support/mount-child.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { serveImage } from '../support/served-image.ts';
import { writeTar } from '../support/tar-bytes.ts';

const SIZE = 4_000_000;
const READERS = 1000;
const BLOBS = /\/blobs\//;
const content = randomBytes(SIZE);

let server: ScriptedServer;
let image = '';

beforeEach(async () => {
  server = await startScriptedServer();
  image = `${server.address}/app`;
  serveImage(server, 'app', [gzipSync(writeTar([member('big', { content })]).bytes)]);
});
afterEach(async () => {
  // Readers first: they may wait for what the server does not say.
  await closeMounts();
  await server.close();
});

/** Reads `size` bytes at `offset` past the page cache; prints their sha256 or the errno. */
const READ = `import errno, hashlib, json, mmap, os, sys
file, offset, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
room = mmap.mmap(-1, size)
try:
    f = os.open(file, os.O_RDONLY | os.O_DIRECT)
    r = hashlib.sha256(room[:os.preadv(f, [room], offset)]).hexdigest()
except OSError as e:
    r = errno.errorcode[e.errno]
print(json.dumps(r))`;

/** The same by many threads that begin together; prints each answer that there was. */
const READ_TOGETHER = `import errno, hashlib, json, mmap, os, sys, threading
file, offset, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
threading.stack_size(1 << 18)
barrier = threading.Barrier(count)
answers = []
def read():
    room = mmap.mmap(-1, size)
    f = os.open(file, os.O_RDONLY | os.O_DIRECT)
    barrier.wait()
    try:
        answers.append(hashlib.sha256(room[:os.preadv(f, [room], offset)]).hexdigest())
    except OSError as e:
        answers.append(errno.errorcode[e.errno])
    os.close(f)
threads = [threading.Thread(target=read) for _ in range(count)]
for t in threads: t.start()
for t in threads: t.join()
print(json.dumps([len(answers), sorted(set(answers))]))`;

const sha256Of = (offset: number, size: number): string => sha256Hex(content.subarray(offset, offset + size));

describe.skipIf(whyNoMounts() !== undefined).each(TRANSPORTS)('a mounted image (%s)', (transport) => {
  test('of a registry that falls silent, or cuts every connection, gives EIO in time, and bytes once it is back (F3)', async () => {
    const mounted = await mountCommand([...transportFlags(transport), '--read-timeout', '1', image]);
    const read = (offset: number) =>
      python(READ, path.join(mounted.mountPoint, 'big'), String(offset), '4096');
    server.rule({ path: BLOBS, reply: { silent: true } });
    expect(await read(1 << 20)).toBe('EIO');
    server.clearRules();
    expect(await read(1 << 20)).toBe(sha256Of(1 << 20, 4096));
    server.rule({ path: BLOBS, reply: (request) => ({ ...server.content(request), resetAfter: 0 }) });
    expect(await read(3 << 20)).toBe('EIO');
    server.clearRules();
    expect(await read(3 << 20)).toBe(sha256Of(3 << 20, 4096));
  });

  test('asks once for a span that a thousand readers miss at once (F23)', async () => {
    const mounted = await mountCommand([...transportFlags(transport), image]);
    const offset = 2 << 20;
    // Slow enough for all of them to come.
    server.rule({ path: BLOBS, reply: (request) => ({ ...server.content(request), delayMs: 500 }) });
    server.clearRequests();
    const answers = await python(
      READ_TOGETHER,
      path.join(mounted.mountPoint, 'big'),
      String(offset),
      '4096',
      String(READERS),
    );
    expect(answers).toEqual([READERS, [sha256Of(offset, 4096)]]);
    expect(server.requests.filter((request) => BLOBS.test(request.path))).toHaveLength(1);
  });
});
