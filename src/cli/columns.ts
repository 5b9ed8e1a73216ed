/** Names in columns, filled from top to bottom, as GNU ls does on a terminal. */

const WIDE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60]/u;
const COMBINING = /\p{M}/u;
const GAP = 2;
/** The narrowest column: one letter and the gap. */
const MIN_COLUMN = 3;

/**
 * Lines of at most `lineWidth` cells, without line ends; a name that is wider has a line of its own.
 * `painted` are the names as they go out, with colours that take no cells.
 */
export function formatColumns(
  names: readonly string[],
  lineWidth: number,
  painted: readonly string[] = names,
): string[] {
  const widths = names.map(displayWidth);
  const mostColumns = Math.max(1, Math.min(names.length, Math.floor(lineWidth / MIN_COLUMN)));
  for (let columns = mostColumns; columns > 1; columns -= 1) {
    const rows = Math.ceil(names.length / columns);
    const columnWidths = widthsOfColumns(widths, rows, columns);
    const total = columnWidths.reduce((sum, width) => sum + width, 0);
    if (total - GAP < lineWidth) return layOut(painted, widths, rows, columnWidths);
  }
  return [...painted];
}

/** Cells that a text takes: none for combining marks, two for East Asian letters and emoji. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) width += COMBINING.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return width;
}

function widthsOfColumns(widths: readonly number[], rows: number, columns: number): number[] {
  const result = Array.from({ length: columns }, () => 0);
  for (const [index, width] of widths.entries()) {
    const column = Math.floor(index / rows);
    result[column] = Math.max(result[column] ?? 0, width + GAP);
  }
  return result;
}

function layOut(
  names: readonly string[],
  widths: readonly number[],
  rows: number,
  columnWidths: readonly number[],
): string[] {
  const lines: string[] = [];
  for (let row = 0; row < rows; row += 1) {
    let line = '';
    let padding = 0;
    for (let index = row; index < names.length; index += rows) {
      line += ' '.repeat(padding) + (names[index] ?? '');
      padding = (columnWidths[Math.floor(index / rows)] ?? 0) - (widths[index] ?? 0);
    }
    lines.push(line);
  }
  return lines;
}
