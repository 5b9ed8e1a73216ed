/** A tar file opened once: its table of members, and the members as files. */
import { PeelError } from '../../errors.ts';
import { STANDARD_INPUT } from '../../reference/transport.ts';
import type { Folder } from '../layout/folder.ts';
import { type OpenFile, openLocalFile } from '../local-file.ts';
import type { ArchiveTools } from './archive-tools.ts';
import { type CompressionName, compressionOf, MAGIC_LENGTH } from './magic.ts';
import { type Member, type MemberTable, readMemberTable } from './member-table.ts';

export interface Archive extends Folder {
  readonly members: MemberTable;
  /** The member as a file of its own. */
  openMember(member: Member): OpenFile;
}

/** Documents that decide what an archive is; two of a name would make it two images (FAULTS B3). */
const DECIDING_MEMBERS = ['oci-layout', 'index.json', 'manifest.json'];

/**
 * @throws PeelError ERR_IMAGE_NOT_FOUND when there is no such file, or it is no tar, ERR_DOCUMENT_INVALID for a broken
 * one, also where it is compressed (E180).
 */
export async function openArchive(path: string, tools: ArchiveTools, signal?: AbortSignal): Promise<Archive> {
  const name = path === STANDARD_INPUT ? 'standard input' : path;
  const found = path === STANDARD_INPUT ? await tools.openStandardInput(signal) : await openLocalFile(path);
  if (found === undefined) throw new PeelError('ERR_IMAGE_NOT_FOUND', `${path} does not exist`);
  const file = await openUncompressed(found, tools, name, signal);
  try {
    const members = await readMemberTable(file, name, signal);
    for (const member of DECIDING_MEMBERS) {
      if (members.isRepeated(member)) {
        throw new PeelError(
          'ERR_DOCUMENT_INVALID',
          `${name} has several members named ${member}: it is ambiguous`,
        );
      }
    }
    return new OpenArchive(file, members);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The file, or what it unpacks to. Closes it where that fails. */
async function openUncompressed(
  file: OpenFile,
  tools: ArchiveTools,
  name: string,
  signal: AbortSignal | undefined,
): Promise<OpenFile> {
  let compression: CompressionName | undefined;
  try {
    if (file.size === 0) {
      throw new PeelError('ERR_IMAGE_NOT_FOUND', `${name} is not an image archive: it is empty`);
    }
    compression = compressionOf(await file.read(0, Math.min(MAGIC_LENGTH, file.size)));
  } catch (error) {
    await file.close();
    throw error;
  }
  return compression === undefined ? file : tools.unpack(file, compression, name, signal);
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
