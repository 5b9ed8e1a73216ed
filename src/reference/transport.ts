/**
 * What a user writes for IMAGE, parsed: the transports of containers-transports(5), verbatim, and bare
 * paths. Pure: whether a file is there, and what a bare path holds, is found out by `src/source/`.
 *
 *   alpine, docker://alpine            registry
 *   oci:DIR[:TAG|:@INDEX|:@DIGEST]     OCI layout folder
 *   oci-archive:FILE[...]              the same in a tar
 *   docker-archive:FILE[:REF|:@INDEX]  what `docker save` writes
 *   /x  ./x  ../x  ~/x                 recognised by content
 *   -                                  an archive on standard input; also as FILE
 */
import { PeelError } from '../errors.ts';
import type { Digest } from '../units.ts';
import { excerpt, parseDigest } from './digest.ts';
import { formatReference, parseRegistryReference, type RegistryReference } from './registry-reference.ts';

/** Which of the images in a layout or archive. */
export type Selection =
  | { readonly by: 'name'; readonly name: string }
  /** 0 = first in index.json or manifest.json. */
  | { readonly by: 'position'; readonly position: number }
  | { readonly by: 'digest'; readonly digest: Digest };

/** The path that stands for it, as for GNU tar and `docker load`. */
export const STANDARD_INPUT = '-';

type FileTransport = 'oci' | 'oci-archive' | 'docker-archive';

export type ImageName =
  | { readonly transport: 'docker'; readonly reference: RegistryReference }
  | { readonly transport: FileTransport; readonly path: string; readonly selection?: Selection }
  | { readonly transport: 'path'; readonly path: string };

const FILE_TRANSPORTS: readonly FileTransport[] = ['oci', 'oci-archive', 'docker-archive'];

/** Of containers-transports(5) and its relatives; named so that they are not taken for a host and a tag. */
const UNSUPPORTED_TRANSPORTS: readonly string[] = [
  'containers-storage',
  'docker-daemon',
  'dir',
  'ostree',
  'sif',
  'tarball',
  'atomic',
  'containerd',
  'podman',
  'registry',
];

/** `docker://alpine@sha256:…` has none: no path follows. */
const WITH_CREDENTIALS = /^docker:\/\/[^/@]*@[^/]*\/|^(?!docker:)[a-z][a-z0-9+.-]*:\/\/[^/]*@/i;

const TRANSPORTS_THERE_ARE = 'docker://REF, oci:DIR, oci-archive:FILE, docker-archive:FILE, or a path';

/** @throws PeelError ERR_USAGE, or ERR_UNSUPPORTED for a transport that exists but is not read here. */
export function parseImageName(text: string): ImageName {
  if (text === '') throw new PeelError('ERR_USAGE', 'the image has an empty name');
  if (text.includes('\0')) throw new PeelError('ERR_USAGE', `the image name ${excerpt(text)} holds a NUL`);
  if (text === STANDARD_INPUT) return { transport: 'path', path: text };
  if (/^(?:\.{0,2}\/|~\/|\.{1,2}$|~$)/.test(text)) return { transport: 'path', path: text };
  if (WITH_CREDENTIALS.test(text)) {
    // Not quoted: it would end in logs.
    const advice = 'leave them out; peel takes what `docker login` or `skopeo login` stored, or --authfile';
    throw new PeelError('ERR_USAGE', `an image name holds no user and password: ${advice}`);
  }
  if (text.startsWith('docker://')) {
    return { transport: 'docker', reference: parseRegistryReference(text.slice('docker://'.length)) };
  }
  const colon = text.indexOf(':');
  const prefix = colon < 0 ? '' : text.slice(0, colon);
  const transport = FILE_TRANSPORTS.find((known) => known === prefix);
  if (transport !== undefined) return parseFileName(transport, text.slice(colon + 1), text);
  if (UNSUPPORTED_TRANSPORTS.includes(prefix)) {
    throw new PeelError(
      'ERR_UNSUPPORTED',
      `${excerpt(text)}: the transport ${prefix}: is not supported; there are ${TRANSPORTS_THERE_ARE}`,
    );
  }
  return { transport: 'docker', reference: parseRegistryReference(text) };
}

/** Whether the image is an archive on standard input. */
export function isStandardInput(name: ImageName): boolean {
  return name.transport !== 'docker' && name.transport !== 'oci' && name.path === STANDARD_INPUT;
}

/** The name as a user would write it again. */
export function formatImageName(name: ImageName): string {
  if (name.transport === 'docker') return formatReference(name.reference);
  if (name.transport === 'path') return name.path;
  return `${name.transport}:${name.path}${formatSelection(name.selection)}`;
}

export function formatSelection(selection: Selection | undefined): string {
  if (selection === undefined) return '';
  if (selection.by === 'name') return `:${selection.name}`;
  return selection.by === 'position' ? `:@${selection.position}` : `:@${selection.digest}`;
}

/** As containers-transports(5) says, the path ends at the first colon; a path with a colon is written bare. */
function parseFileName(transport: FileTransport, rest: string, text: string): ImageName {
  if (rest.startsWith('//')) {
    throw new PeelError(
      'ERR_USAGE',
      `${excerpt(text)}: ${transport}: names a local ${transport === 'oci' ? 'folder' : 'file'}; an image in a registry is docker://REF or REF`,
    );
  }
  const colon = rest.indexOf(':');
  const path = colon < 0 ? rest : rest.slice(0, colon);
  if (path === '') throw new PeelError('ERR_USAGE', `${excerpt(text)}: a path must follow ${transport}:`);
  if (colon < 0) return { transport, path };
  return { transport, path, selection: parseSelection(rest.slice(colon + 1), text) };
}

function parseSelection(written: string, text: string): Selection {
  if (written === '' || written === '@') {
    throw new PeelError(
      'ERR_USAGE',
      `${excerpt(text)}: a name, @INDEX or @DIGEST must follow the last colon`,
    );
  }
  if (!written.startsWith('@')) return { by: 'name', name: written };
  const after = written.slice(1);
  if (/^[0-9]{1,9}$/.test(after)) return { by: 'position', position: Number(after) };
  if (after.includes(':')) {
    try {
      return { by: 'digest', digest: parseDigest(after) };
    } catch (error) {
      throw new PeelError('ERR_USAGE', `${excerpt(text)}: ${(error as Error).message}`, { cause: error });
    }
  }
  throw new PeelError(
    'ERR_USAGE',
    `${excerpt(text)}: ${excerpt(written)} is neither @INDEX (0, 1, ...) nor @DIGEST`,
  );
}
