// Figures out of repeated measurements. All of a round was measured close together in time, so that a machine
// which drifts between rounds moves medians of ratios less than ratios of medians.

/**
 * @param {readonly number[]} values
 * @returns {number} the middle one; of an even count, the mean of the two in the middle
 */
export function median(values) {
  if (values.length === 0) throw new RangeError('the median of nothing');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The median of what `values` were, round by round, beside `base`.
 * @param {readonly number[]} values
 * @param {readonly number[]} base of the same rounds
 */
export function medianRatio(values, base) {
  if (values.length !== base.length) throw new RangeError(`${values.length} rounds beside ${base.length}`);
  return median(values.map((value, round) => value / base[round]));
}

/**
 * Round after round, every contestant once in each (A B C A B C), so that none has a quiet machine to itself.
 * @template T
 * @param {number} runs
 * @param {Record<string, (round: number) => Promise<T>>} contestants
 * @returns {Promise<Record<string, T[]>>} what each gave, by round
 */
export async function interleaved(runs, contestants) {
  const results = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let round = 0; round < runs; round += 1) {
    for (const [name, measure] of Object.entries(contestants)) results[name].push(await measure(round));
  }
  return results;
}
