/** A profile in a file that the user names (docs/PROFILES.md). */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { PeelError, systemCodeOf } from '../errors.ts';
import { MAX_PROFILE_BYTES, parseProfile, type StartProfile } from '../image/start-profile.ts';

/** @throws PeelError ERR_USAGE where there is no such file; what `parseProfile` says of what is in it. */
export function readProfileFile(file: string): StartProfile {
  return parseProfile(readBounded(file), `the profile ${file}`);
}

/** One byte more than a profile may have is enough to see that it is none. */
function readBounded(file: string): Buffer {
  try {
    // Whoever names a FIFO that nobody writes to does not wait for it.
    const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (!fstatSync(descriptor).isFile())
        throw new PeelError('ERR_USAGE', `the profile ${file}: not a file`);
      const bytes = Buffer.alloc(MAX_PROFILE_BYTES + 1);
      let length = 0;
      for (let read = -1; read !== 0; length += read) {
        read = readSync(descriptor, bytes, length, bytes.length - length, null);
      }
      return bytes.subarray(0, length);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === undefined || error instanceof PeelError) throw error;
    throw new PeelError('ERR_USAGE', `the profile ${file} cannot be read: ${code}`, {
      facts: { path: file },
      cause: error,
    });
  }
}
