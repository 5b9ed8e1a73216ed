// What every group is given, and the line that says where the figures are from.
import os from 'node:os';

/**
 * @typedef {object} Context
 * @property {import('./scratch.mjs').Scratch} scratch
 * @property {number} runs rounds of each measurement
 * @property {import('./probe.mjs').Probe} probe
 * @property {import('./images.mjs').Image} base
 * @property {{name: string, flags: string[]}[]} columns the ways peel is mounted
 * @property {string[]} stargzMissing programs of the stargz snapshotter; it takes part when there are none
 * @property {string[]} x
 */

/** @param {string} group @param {number} runs */
export function machineLine(group, runs) {
  const cpu = os.cpus()[0]?.model.trim() ?? 'unknown';
  const memory = Math.round(os.totalmem() / 2 ** 30);
  const load = os.loadavg()[0]?.toFixed(1);
  const date = new Date().toISOString().slice(0, 10);
  return `*${os.cpus().length} cores (${cpu}), ${memory} GiB, Linux ${os.release()}, Node ${process.versions.node}, load ${load} at the end, ${date}; medians of ${runs}; \`npm run bench -- --only ${group}\`.*`;
}
