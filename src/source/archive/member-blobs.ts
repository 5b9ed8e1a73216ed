/**
 * Members of an archive that stand for blobs: what a made-up manifest calls by digest, the archive has by name.
 */
import { PeelError } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import type { Digest } from '../../units.ts';
import { FileBlob, readWholeBlob } from '../file-blob.ts';
import type { OpenFile } from '../local-file.ts';
import type { BlobSource } from '../source.ts';
import type { Member } from './member-table.ts';
import type { Archive } from './open-archive.ts';

export class MemberBlobs {
  readonly #archive: Archive;
  /** Of the image, for messages. */
  readonly #name: string;
  readonly #members = new Map<Digest, Member>();

  /** `archive` is closed by whoever opened it. */
  constructor(name: string, archive: Archive) {
    this.#name = name;
    this.#archive = archive;
  }

  set(digest: Digest, member: Member): void {
    this.#members.set(digest, member);
  }

  /** The whole of a small blob, digest and size checked. @throws PeelError as `readWholeBlob` */
  read(descriptor: Descriptor, maxSize: number): Promise<Buffer> {
    return readWholeBlob(this.#find(descriptor), descriptor, maxSize, `${this.#name}: blob`);
  }

  open(descriptor: Descriptor): BlobSource {
    // Nobody reads from a blob of size 0, which is what a layer that is left out has when nothing tells its size.
    if (descriptor.size === 0) this.#find(descriptor);
    return new FileBlob(descriptor, `${this.#name}: layer`, async () => this.#find(descriptor));
  }

  /** Bytes. @throws PeelError ERR_IMAGE_NOT_FOUND */
  measure(digest: Digest): number {
    return this.#find({ digest }).size;
  }

  #find({ digest, urls }: Pick<Descriptor, 'digest' | 'urls'>): OpenFile {
    const member = this.#members.get(digest);
    if (member !== undefined) return this.#archive.openMember(member);
    const why = urls?.length ? '; it is a foreign layer, which `docker save` leaves out' : '';
    throw new PeelError('ERR_IMAGE_NOT_FOUND', `${this.#name} does not have the blob ${digest}${why}`, {
      facts: { digest },
    });
  }
}
