/** Rows in columns, for the commands that are not listings of files. */
import { displayWidth } from './columns.ts';

export interface Column {
  readonly heading: string;
  readonly alignRight?: boolean;
}

/** Lines with their line ends: the headings, then the rows. Cells must be quoted already. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const all = [columns.map((column) => column.heading), ...rows];
  const widths = columns.map((_, column) =>
    all.reduce((width, row) => Math.max(width, displayWidth(row[column] ?? '')), 0),
  );
  return all
    .map((row) => {
      const cells = columns.map((column, index) => {
        const cell = row[index] ?? '';
        const blanks = ' '.repeat((widths[index] ?? 0) - displayWidth(cell));
        return column.alignRight === true ? blanks + cell : cell + blanks;
      });
      return `${cells.join('  ').trimEnd()}\n`;
    })
    .join('');
}

/** `Name: value` lines with the values below each other; an item without value is left out. */
export function formatFields(
  fields: readonly (readonly [name: string, value: string | readonly string[]])[],
): string {
  const shown = fields.filter(([, value]) => value.length > 0);
  const width = shown.reduce((most, [name]) => Math.max(most, name.length + 1), 0);
  let text = '';
  for (const [name, value] of shown) {
    const lines = typeof value === 'string' ? [value] : value;
    for (const [index, line] of lines.entries()) {
      text += `${(index === 0 ? `${name}:` : '').padEnd(width)}  ${line}\n`;
    }
  }
  return text;
}
