/** Holds what an index says of an entry against what the tar says. */
import { isDeepStrictEqual } from 'node:util';
import type { Entry } from './toc.ts';

/**
 * The first field that differs. Where contents lie is another matter: the spaces of the two differ, and so does what is
 * taken for a hole.
 */
export function differentField(claimed: Entry, real: Entry): keyof Entry | undefined {
  // What only one of them has (xattrs, a target) differs, too, whichever it is.
  const fields = Object.keys({ ...claimed, ...real }) as (keyof Entry)[];
  return fields.find(
    (field) =>
      field !== 'dataOffset' &&
      field !== 'sparse' &&
      claimed[field] !== real[field] &&
      !isDeepStrictEqual(claimed[field], real[field]),
  );
}
