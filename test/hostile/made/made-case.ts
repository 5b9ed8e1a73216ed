/** A hostile input made by hand (FAULTS section 5), and what must become of it. */
import type { Form } from '../readers.ts';

export interface MadeCase {
  readonly name: string;
  readonly form: Form;
  readonly bytes: Buffer;
  /** What the reader says of it (`readers.ts`), or the word for its refusal. */
  readonly expected: string | readonly string[];
}

export const INVALID = 'ERR_LAYER_INVALID';
export const LIMIT = 'ERR_LIMIT_EXCEEDED';
