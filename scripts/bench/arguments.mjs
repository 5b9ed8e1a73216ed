// The command line of `npm run bench`, parsed into values that cannot be malformed.

export const GROUPS = ['bytes', 'first-look', 'metadata', 'data', 'container', 'start', 'index', 'memory'];

const MAX_RUNS = 99;

export const USAGE = `Usage: npm run bench -- [--runs N] [--only GROUP[,GROUP...]] [--column 'NAME=FLAGS'] [--write]

  --runs N             rounds of each measurement; the median is shown (default: 5)
  --only GROUP,...     ${GROUPS.join(', ')} (default: all)
  --column NAME=FLAGS  one more column of the metadata and data tables: peel mounted with these flags
                       (with \`passthrough\` in its name it has that bar of sequential reads)
  --write              puts the tables and plots of the groups that ran into docs/BENCHMARKS.md

PEEL_BENCH_DIR names a folder on the disk to measure on (default: /var/tmp).
`;

/**
 * @param {readonly string[]} words
 * @returns {{runs: number, only: string[], write: boolean, help: boolean, columns: {name: string, flags: string[]}[]}}
 * @throws {Error} with a message for the user
 */
export function parseArguments(words) {
  const options = { runs: 5, only: [...GROUPS], write: false, help: false, columns: [] };
  const rest = [...words];
  const valueOf = (flag) => {
    const value = rest.shift();
    if (value === undefined || value === '') throw new Error(`${flag} needs a value`);
    return value;
  };
  while (rest.length > 0) {
    const word = rest.shift();
    if (word === '--write') options.write = true;
    else if (word === '--help' || word === '-h') options.help = true;
    else if (word === '--runs') options.runs = parseRuns(valueOf(word));
    else if (word === '--only') options.only = parseGroups(valueOf(word));
    else if (word === '--column') options.columns.push(parseColumn(valueOf(word)));
    else throw new Error(`unknown argument '${word}'`);
  }
  return options;
}

function parseRuns(text) {
  const runs = Number(text);
  if (Number.isInteger(runs) && runs >= 1 && runs <= MAX_RUNS) return runs;
  throw new Error(`--runs: '${text}' is not a number from 1 to ${MAX_RUNS}`);
}

function parseGroups(text) {
  const names = text.split(',');
  const unknown = names.find((name) => !GROUPS.includes(name));
  if (unknown !== undefined)
    throw new Error(`--only: '${unknown}' is no group; there are ${GROUPS.join(', ')}`);
  return GROUPS.filter((name) => names.includes(name));
}

function parseColumn(text) {
  const at = text.indexOf('=');
  if (at < 1) throw new Error(`--column: '${text}' is not NAME=FLAGS`);
  return {
    name: `peel, ${text.slice(0, at)}`,
    flags: text
      .slice(at + 1)
      .split(/\s+/)
      .filter((flag) => flag !== ''),
  };
}
