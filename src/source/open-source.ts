/**
 * From the name of an image to where it comes from. The one place that knows all kinds of sources. The client of
 * registries and the reader of archives are loaded for an image that needs them: it takes as long as answering.
 */
import { stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { PeelError, systemCodeOf } from '../errors.ts';
import { formatImageName, type ImageName, type Selection, STANDARD_INPUT } from '../reference/transport.ts';
import type { ArchiveTools } from './archive/archive-tools.ts';
import { openFolder } from './layout/folder.ts';
import { LayoutSource } from './layout/layout-source.ts';
import type { RegistryOptions } from './registry/options.ts';
import type { ImageSource } from './source.ts';

export interface SourceOptions {
  readonly registry: RegistryOptions;
  /** What `~` stands for; the default is the user's home. */
  readonly home?: string;
}

/**
 * Files are looked at, registries are not asked yet.
 * @throws PeelError ERR_IMAGE_NOT_FOUND for a path that is not there or holds no image, ERR_DOCUMENT_INVALID for
 * broken archives.
 */
export async function openSource(
  name: ImageName,
  options: SourceOptions,
  tools: ArchiveTools,
  signal?: AbortSignal,
): Promise<ImageSource> {
  switch (name.transport) {
    case 'docker':
      return (await import('./registry/registry-source.ts')).openRegistry(name.reference, options.registry);
    case 'oci':
      return openLayout(name.path, formatImageName(name), name.selection);
    case 'oci-archive':
    case 'docker-archive':
      if (name.path !== STANDARD_INPUT) await expectFile(name.path);
      return openArchive(name.path, name.transport, name.selection, tools, signal);
    case 'path':
      return openPath(expandHome(name.path, options.home), tools, signal);
    default:
      return name satisfies never;
  }
}

async function openPath(
  file: string,
  tools: ArchiveTools,
  signal: AbortSignal | undefined,
): Promise<ImageSource> {
  return file !== STANDARD_INPUT && (await kindOf(file)) === 'folder'
    ? openLayout(file, `oci:${file}`, undefined)
    : openArchive(file, undefined, undefined, tools, signal);
}

async function openArchive(
  file: string,
  transport: 'oci-archive' | 'docker-archive' | undefined,
  selection: Selection | undefined,
  tools: ArchiveTools,
  signal: AbortSignal | undefined,
): Promise<ImageSource> {
  const { openArchiveSource } = await import('./archive/open-archive-source.ts');
  return openArchiveSource(file, transport, selection, tools, signal);
}

async function openLayout(
  directory: string,
  name: string,
  selection: Selection | undefined,
): Promise<ImageSource> {
  if ((await kindOf(directory)) === 'file') {
    throw new PeelError(
      'ERR_IMAGE_NOT_FOUND',
      `${directory} is a file, expected the folder of an OCI layout; archives are oci-archive:FILE or docker-archive:FILE`,
    );
  }
  return new LayoutSource(name, openFolder(directory), selection);
}

async function expectFile(file: string): Promise<void> {
  if ((await kindOf(file)) === 'file') return;
  throw new PeelError(
    'ERR_IMAGE_NOT_FOUND',
    `${file} is a folder, expected an archive; an OCI layout is oci:DIR`,
  );
}

async function kindOf(file: string): Promise<'file' | 'folder'> {
  try {
    return (await stat(file)).isDirectory() ? 'folder' : 'file';
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new PeelError('ERR_IMAGE_NOT_FOUND', `${file} does not exist`, { cause: error });
    }
    const kind = code === 'EACCES' ? 'ERR_PERMISSION' : 'ERR_IO';
    throw new PeelError(kind, `${file} cannot be looked at (${code ?? 'unknown error'})`, { cause: error });
  }
}

function expandHome(file: string, home: string | undefined): string {
  return file === '~' || file.startsWith('~/') ? path.join(home ?? os.homedir(), file.slice(1)) : file;
}
