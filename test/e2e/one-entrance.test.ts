/** Layers that decompression can enter only at their start: what a read deep inside costs, and what it leaves. */
import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { madeBytes } from '../blob/made-toc.ts';
import { sha256Digest } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { PeelUser } from '../support/run-peel.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { serveImage } from '../support/served-image.ts';
import { writeTar } from '../support/tar-bytes.ts';

let user: PeelUser;
let server: ScriptedServer;

beforeAll(async () => {
  server = await startScriptedServer();
});
beforeEach(() => {
  user = new PeelUser();
});
afterEach(() => user.close());
afterAll(() => server.close());

const FILES = [0, 1, 2, 3].map((file) => Buffer.from(madeBytes(400_000, file + 1).toString('hex')));
const TAR = writeTar(FILES.map((content, file) => member(`file${file}`, { content }))).bytes;

/** Bytes of the layer that were asked for since the last call. */
function takeBytes(layer: string): number {
  const asked = server.requests.filter(({ path }) => path.endsWith(layer));
  const bytes = asked.map(({ headers }) => /^bytes=(\d+)-(\d+)$/.exec(headers['range'] ?? ''));
  server.clearRequests();
  return bytes.reduce(
    (sum, range) => sum + (range === null ? 1e9 : Number(range[2]) + 1 - Number(range[1])),
    0,
  );
}

describe.each(['zstd', 'xz', 'bzip2'])('a layer of one frame or stream (%s)', (program) => {
  test('costs what lies before the file, once; all of that is at hand for the next process', async () => {
    const blob = execFileSync(program, ['-c', '-q', '-1'], {
      input: TAR,
      maxBuffer: 1 << 26,
      timeout: 60_000,
    });
    const [layer] = serveImage(server, program, [blob], [sha256Digest(TAR)]);
    const image = `${server.address}/${program}`;
    const digest = layer?.digest ?? '';
    const cat = async (file: number): Promise<number> => {
      const { status, stdout } = await user.run(['cat', image, `/file${file}`]);
      expect([status, stdout.equals(FILES[file] ?? stdout.subarray(1))]).toEqual([0, true]);
      return takeBytes(digest);
    };
    expect((await user.run(['ls', image])).stdout.toString()).toBe('file0\nfile1\nfile2\nfile3\n');
    takeBytes(digest);

    const forTwo = await cat(2);
    // At least to its end; what a decoder needs beyond that is not much, and never the whole.
    expect(forTwo).toBeGreaterThan(blob.length * 0.7);
    expect(forTwo).toBeLessThan(blob.length);
    expect([await cat(2), await cat(0)]).toEqual([0, 0]);
    // Behind it, it begins anew.
    expect(await cat(3)).toBeGreaterThan(blob.length * 0.9);
  });
});
