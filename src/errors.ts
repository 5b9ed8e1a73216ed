/**
 * One error class for everything that can go wrong with an image, a registry, the cache or a mount.
 * The code is public and stable (docs/TROUBLESHOOTING.md has a paragraph for each); the message is for people.
 * Mistakes of the programmer stay TypeError and RangeError.
 */

/** Every code, with the exit status that the command line gives it (CLI contract). */
export const EXIT_STATUS_OF = {
  /** The command line, a reference or a configuration value does not make sense. */
  ERR_USAGE: 2,
  /** No such image, tag, manifest, archive or layout. */
  ERR_IMAGE_NOT_FOUND: 3,
  /** The image has no manifest for the platform asked for. */
  ERR_PLATFORM_NOT_FOUND: 3,
  /** No such path inside the image. */
  ERR_PATH_NOT_FOUND: 3,
  ERR_NOT_A_DIRECTORY: 3,
  ERR_IS_A_DIRECTORY: 1,
  ERR_NOT_A_SYMLINK: 1,
  ERR_NOT_A_REGULAR_FILE: 1,
  ERR_SYMLINK_LOOP: 3,
  ERR_NAME_TOO_LONG: 3,
  ERR_NO_XATTR: 1,
  ERR_READ_ONLY: 1,
  /** The registry refused our credentials, or asks for some. */
  ERR_AUTH_REFUSED: 4,
  /** No answer: connection refused, DNS, TLS, reset, retries spent. */
  ERR_REGISTRY_UNREACHABLE: 5,
  /** An answer that the protocol does not allow, or an error status. */
  ERR_REGISTRY_RESPONSE: 5,
  /** A deadline passed. */
  ERR_DEADLINE: 5,
  /** Bytes are not the ones that the digest or the size names. */
  ERR_DIGEST_MISMATCH: 6,
  /** A manifest, index, config or other document that breaks its specification. */
  ERR_DOCUMENT_INVALID: 1,
  /** A layer whose compression, tar framing or headers are broken; facts name layer and offset. */
  ERR_LAYER_INVALID: 1,
  /** A file that was given out while its layer was read has a later entry in the same layer: that one is the image's. */
  ERR_ENTRY_REPLACED: 1,
  /** A cap on size, depth or count was passed. */
  ERR_LIMIT_EXCEEDED: 1,
  /** Valid, but not something that peel can read. */
  ERR_UNSUPPORTED: 7,
  ERR_CACHE: 1,
  /** `--offline` and the bytes are not in the cache. */
  ERR_OFFLINE: 5,
  ERR_NATIVE_MISSING: 7,
  ERR_NO_FUSE: 7,
  ERR_PERMISSION: 1,
  ERR_MOUNT: 1,
  ERR_MOUNT_POINT_MISSING: 1,
  ERR_MOUNT_POINT_BUSY: 1,
  /** containerd asked for a snapshot that is not there, */
  ERR_SNAPSHOT_NOT_FOUND: 1,
  /** for a new one under a name that is taken, */
  ERR_SNAPSHOT_EXISTS: 1,
  /** or for something that the snapshot is not in the state for. */
  ERR_SNAPSHOT_STATE: 1,
  ERR_IO: 1,
  /** A container could not be made or started. */
  ERR_CONTAINER: 125,
  /** Its command is there and cannot be run. */
  ERR_COMMAND_NOT_EXECUTABLE: 126,
  /** Its command is not there. */
  ERR_COMMAND_NOT_FOUND: 127,
  ERR_INTERRUPTED: 130,
} as const satisfies Record<`ERR_${string}`, number>;

export type ErrorCode = keyof typeof EXIT_STATUS_OF;
export type ErrorFacts = Readonly<Record<string, string | number>>;

export class PeelError extends Error {
  override readonly name = 'PeelError';
  readonly code: ErrorCode;
  /** What finds the place: digest, layer, path, offset, url (redacted), status. */
  readonly facts: ErrorFacts;

  constructor(code: ErrorCode, message: string, options: { facts?: ErrorFacts; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.facts = options.facts ?? {};
  }
}

export function isPeelError(error: unknown, code?: ErrorCode): error is PeelError {
  return error instanceof PeelError && (code === undefined || error.code === code);
}

const VERDICTS: ReadonlySet<ErrorCode> = new Set([
  'ERR_DIGEST_MISMATCH',
  'ERR_LAYER_INVALID',
  'ERR_LIMIT_EXCEEDED',
  'ERR_UNSUPPORTED',
]);

/** Whether a failure to read a layer says something about the layer itself, which trying again does not change. */
export function isVerdict(error: unknown): error is PeelError {
  return isPeelError(error) && VERDICTS.has(error.code);
}

/** What whoever waits gets once `signal` is aborted: the reason where that says more than that it was. */
export function interruptionOf(signal: AbortSignal | undefined, doing: string): PeelError {
  const reason: unknown = signal?.reason;
  return isPeelError(reason)
    ? reason
    : new PeelError('ERR_INTERRUPTED', `${doing} was interrupted`, { cause: reason });
}

/** @throws PeelError as `interruptionOf` makes it. */
export function throwIfAborted(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted === true) throw interruptionOf(signal, doing);
}

/** The code of a failed system call (`ENOENT`, ...), or undefined for other errors. */
export function systemCodeOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' ? code : undefined;
}
