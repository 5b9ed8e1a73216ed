/** The sets of hostile input that are made by hand, as FAULTS section 5 names them. */
import { COMPRESSIONS } from './compressions.ts';
import { DOCUMENTS } from './documents.ts';
import type { MadeCase } from './made-case.ts';
import { TAR_FIELDS } from './tar-fields.ts';
import { TAR_RECORDS } from './tar-records.ts';
import { TAR_TREES } from './tar-trees.ts';
import { TARS } from './tars.ts';

export const MADE_SETS: Readonly<Record<'B1' | 'B2' | 'B3', readonly MadeCase[]>> = {
  B1: [...TARS, ...TAR_FIELDS, ...TAR_RECORDS, ...TAR_TREES],
  B2: COMPRESSIONS,
  B3: DOCUMENTS,
};
