/** The one error of this folder for a header that breaks its format; whoever knows the layer adds its digest. */
import { PeelError } from '../errors.ts';

/** `offset` is the header's, in the tar. `problem` says what was found and what was expected. */
export function invalidHeader(offset: number, problem: string): PeelError {
  return new PeelError('ERR_LAYER_INVALID', `tar header at offset ${offset}: ${problem}`, {
    facts: { offset },
  });
}

/** As `invalidHeader`, for input that is well-formed but passes one of our caps. */
export function headerOverLimit(offset: number, problem: string): PeelError {
  return new PeelError('ERR_LIMIT_EXCEEDED', `tar header at offset ${offset}: ${problem}`, {
    facts: { offset },
  });
}
