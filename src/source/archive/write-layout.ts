/** Writes an OCI layout as one tar file: what `oci-archive:` reads, here and in skopeo. */
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';
import { PeelError, systemCodeOf } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import { algorithmOf, hexOf } from '../../reference/digest.ts';
import { OCI_INDEX } from '../../reference/media-types.ts';

interface Content {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

/** Members have no time and no owner, so that the same content is the same file. */
const MEMBER = { mode: 0o644, mtime: new Date(0), uid: 0, gid: 0 };

/**
 * Replaces `file` once all is written. `contents` returns what index.json shall name.
 * @throws PeelError ERR_IO; errors of `contents` pass.
 */
export async function writeLayoutArchive(
  file: string,
  contents: AsyncGenerator<Content, Content, undefined>,
): Promise<void> {
  const temporary = `${file}.partial-${process.pid}`;
  const tar = pack();
  const writing = pipeline(tar, createWriteStream(temporary, { flags: 'wx' }));
  // Whoever writes a member meets the error, too.
  writing.catch((error: unknown) => tar.destroy(error instanceof Error ? error : undefined));
  try {
    const written = new Set<string>();
    const add = async ({ descriptor: { digest }, bytes }: Content): Promise<void> => {
      if (written.has(digest)) return;
      written.add(digest);
      await entry(tar, `blobs/${algorithmOf(digest)}/${hexOf(digest)}`, bytes);
    };
    await entry(tar, 'oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
    let step = await contents.next();
    for (; step.done !== true; step = await contents.next()) await add(step.value);
    await add(step.value);
    const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [step.value.descriptor] };
    await entry(tar, 'index.json', Buffer.from(JSON.stringify(index)));
    tar.finalize();
    await writing;
    await rename(temporary, file);
  } catch (error) {
    tar.destroy();
    await writing.catch(() => {});
    await rm(temporary, { force: true });
    const code = systemCodeOf(error);
    if (error instanceof PeelError || code === undefined) throw error;
    throw new PeelError('ERR_IO', `${file} cannot be written (${code})`, {
      facts: { path: file },
      cause: error,
    });
  }
}

function entry(tar: ReturnType<typeof pack>, name: string, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    tar.once('error', reject);
    tar.entry({ ...MEMBER, name, size: bytes.length }, bytes, (error) => {
      tar.off('error', reject);
      if (error === undefined || error === null) resolve();
      else reject(error);
    });
  });
}
