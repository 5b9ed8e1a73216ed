/** A tar file opened once: its table of members, and the members as files. */
import { PeelError } from '../../errors.ts';
import type { Folder } from '../layout/folder.ts';
import { type OpenFile, openLocalFile } from '../local-file.ts';
import { type CompressionName, compressionOf, MAGIC_LENGTH } from './magic.ts';
import { type Member, type MemberTable, readMemberTable } from './member-table.ts';

export interface Archive extends Folder {
  readonly members: MemberTable;
  /** The member as a file of its own. */
  openMember(member: Member): OpenFile;
}

/** Documents that decide what an archive is; two of a name would make it two images (FAULTS B3). */
const DECIDING_MEMBERS = ['oci-layout', 'index.json', 'manifest.json'];

/** The program that undoes it. */
const DECOMPRESSOR_OF: Readonly<Record<CompressionName, string>> = {
  gzip: 'gunzip',
  zstd: 'unzstd',
  xz: 'unxz',
  bzip2: 'bunzip2',
};

/**
 * @throws PeelError ERR_IMAGE_NOT_FOUND when there is no such file, ERR_UNSUPPORTED for a compressed archive
 * (E180), ERR_DOCUMENT_INVALID for what is no tar.
 */
export async function openArchive(path: string, signal?: AbortSignal): Promise<Archive> {
  const file = await openLocalFile(path);
  if (file === undefined) throw new PeelError('ERR_IMAGE_NOT_FOUND', `${path} does not exist`);
  try {
    await refuseCompressed(file, path);
    const members = await readMemberTable(file, path, signal);
    for (const name of DECIDING_MEMBERS) {
      if (members.isRepeated(name)) {
        throw new PeelError(
          'ERR_DOCUMENT_INVALID',
          `${path} has several members named ${name}: it is ambiguous`,
        );
      }
    }
    return new OpenArchive(file, members);
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function refuseCompressed(file: OpenFile, path: string): Promise<void> {
  if (file.size === 0)
    throw new PeelError('ERR_IMAGE_NOT_FOUND', `${path} is not an image archive: it is empty`);
  const name = compressionOf(await file.read(0, Math.min(MAGIC_LENGTH, file.size)));
  if (name === undefined) return;
  throw new PeelError(
    'ERR_UNSUPPORTED',
    `${path} is compressed with ${name}, so that no part of it can be read alone: decompress it first (${DECOMPRESSOR_OF[name]})`,
  );
}

class OpenArchive implements Archive {
  readonly members: MemberTable;
  readonly #file: OpenFile;

  constructor(file: OpenFile, members: MemberTable) {
    this.#file = file;
    this.members = members;
  }

  async open(path: string): Promise<OpenFile | undefined> {
    const member = this.members.find(path);
    return member === undefined ? undefined : this.openMember(member);
  }

  openMember({ size, start }: Member): OpenFile {
    return {
      size,
      read: (position, length) => this.#file.read(start + position, length),
      // The archive is one file; it stays open for the other members.
      close: () => Promise.resolve(),
    };
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
