// A table whose columns are contestants and whose rows are jobs, from what each round gave: the median of every
// cell, and what the rounds were beside the first column.
import { digits, table, times } from './format.mjs';
import { median, medianRatio } from './statistics.mjs';

/**
 * @typedef {object} Job
 * @property {string} key of the figure in what a round gave
 * @property {string} label
 * @property {string} unit
 * @property {(figure: number) => number} [shown] the figure in that unit
 */

/**
 * @param {readonly Job[]} jobs
 * @param {Record<string, Record<string, number>[]>} rounds by column, one object of figures a round
 * @returns {{markdown: string, rows: import('./plot.mjs').PlotRow[]}}
 */
export function columnTable(jobs, rounds) {
  const columns = Object.keys(rounds);
  const [base = ''] = columns;
  const rows = [];
  const plotted = [];
  for (const { key, label, unit, shown = (figure) => figure } of jobs) {
    const bars = columns.map((column) => {
      const value = median(figures(rounds, column, key).map(shown));
      const ratio = ratioOf(rounds, column, base, key, shown);
      const text = column === base ? digits(value) : `${digits(value)} (${times(ratio)})`;
      return { series: column, value, text };
    });
    rows.push([`${label} (${unit})`, ...bars.map((bar) => bar.text)]);
    plotted.push({ label: `${label} (${unit})`, bars });
  }
  return { markdown: table(['', ...columns], rows), rows: plotted };
}

function figures(rounds, column, key) {
  return (rounds[column] ?? []).map((round) => {
    const figure = round[key];
    if (figure === undefined) throw new RangeError(`${column} has no figure for ${key}`);
    return figure;
  });
}

/**
 * The median of what a column was beside another, round by round.
 * @param {Record<string, Record<string, number>[]>} rounds
 * @param {string | undefined} column
 * @param {string | undefined} base
 * @param {string} key
 * @param {(figure: number) => number} [shown]
 */
export function ratioOf(rounds, column, base, key, shown = (figure) => figure) {
  return medianRatio(figures(rounds, column, key).map(shown), figures(rounds, base, key).map(shown));
}
