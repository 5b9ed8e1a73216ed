// A table as a picture: horizontal bars in an SVG of its own, readable on a light and a dark page. Bars start at
// zero and are as long as their value; every row of the table has its own scale, since rows differ in unit and size.

const WIDTH = 760;
const LABEL_WIDTH = 222;
const VALUE_WIDTH = 130;
const BAR_HEIGHT = 13;
const ROW_GAP = 12;
const TOP = 34;
const LEGEND_LINE = 18;
/** About what a character of the 12-pixel font is wide. */
const CHARACTER = 6.6;

/** Told apart without red and green (Okabe and Ito); peel's own in the warm ones. */
const COOL = ['#8c959f', '#56b4e9', '#009e73', '#0072b2'];
const WARM = ['#d55e00', '#e69f00', '#a15c2f', '#cc79a7'];

/** One grey that reads on white and on black: a picture does not know the page it stands on. */
const STYLE = 'text{font:12px system-ui,sans-serif;fill:#6e7681}.title{font-weight:600}line{stroke:#6e7681}';

/**
 * @typedef {object} PlotRow
 * @property {string} label
 * @property {{series: string, value: number, text: string}[]} bars text: the value as it is written beside the bar
 */

/** @param {string} text */
export const escapeXml = (text) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/**
 * @param {readonly string[]} series
 * @returns {Map<string, string>} a colour for each; names that begin with `peel` get the warm ones
 */
function coloursOf(series) {
  let cool = 0;
  let warm = 0;
  return new Map(
    series.map((name) => [
      name,
      name.startsWith('peel') ? WARM[warm++ % WARM.length] : COOL[cool++ % COOL.length],
    ]),
  );
}

/**
 * @param {{title: string, rows: readonly PlotRow[]}} plot
 * @returns {string} an SVG document
 */
export function barPlot({ title, rows }) {
  const series = [...new Set(rows.flatMap((row) => row.bars.map((bar) => bar.series)))];
  const colours = coloursOf(series);
  const parts = [`<text class="title" x="8" y="20">${escapeXml(title)}</text>`];

  let x = 8;
  let y = TOP + 6;
  // One series needs no legend.
  for (const name of series.length > 1 ? series : []) {
    const width = 24 + name.length * CHARACTER;
    if (x + width > WIDTH) {
      x = 8;
      y += LEGEND_LINE;
    }
    parts.push(`<rect x="${x}" y="${y - 9}" width="10" height="10" rx="2" fill="${colours.get(name)}"/>`);
    parts.push(`<text x="${x + 15}" y="${y}">${escapeXml(name)}</text>`);
    x += Math.ceil(width) + 8;
  }
  y += series.length > 1 ? 16 : 0;

  const room = WIDTH - LABEL_WIDTH - VALUE_WIDTH;
  for (const { label, bars } of rows) {
    const largest = Math.max(...bars.map((bar) => bar.value), Number.MIN_VALUE);
    const middle = y + (bars.length * BAR_HEIGHT) / 2 + 4;
    parts.push(`<text x="${LABEL_WIDTH - 8}" y="${middle}" text-anchor="end">${escapeXml(label)}</text>`);
    const top = y;
    for (const { series: name, value, text } of bars) {
      const length = Math.max(1, (room * value) / largest).toFixed(1);
      parts.push(
        `<rect x="${LABEL_WIDTH}" y="${y + 1}" width="${length}" height="${BAR_HEIGHT - 2}" fill="${colours.get(name)}"><title>${escapeXml(`${label}, ${name}: ${text}`)}</title></rect>`,
      );
      parts.push(
        `<text x="${(LABEL_WIDTH + Number(length) + 6).toFixed(1)}" y="${y + 10}">${escapeXml(text)}</text>`,
      );
      y += BAR_HEIGHT;
    }
    parts.push(
      `<line x1="${LABEL_WIDTH - 0.5}" y1="${top - 2}" x2="${LABEL_WIDTH - 0.5}" y2="${y + 2}" stroke-width="1"/>`,
    );
    y += ROW_GAP;
  }
  const height = y;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escapeXml(title)}"><style>${STYLE}</style>\n${parts.join('\n')}\n</svg>\n`;
}
