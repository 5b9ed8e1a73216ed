/** Colours of names by kind, those of `ls --color` without LS_COLORS. Only ever around text that is quoted. */
import type { Node } from '../tree/node.ts';

const RESET = '\x1b[0m';

/** `shown` in the colour of its node, as it stands where the kind has none. */
export function paintName(shown: string, node: Pick<Node, 'kind' | 'mode'>): string {
  const color = colorOf(node);
  return color === undefined ? shown : `\x1b[${color}m${shown}${RESET}`;
}

function colorOf({ kind, mode }: Pick<Node, 'kind' | 'mode'>): string | undefined {
  switch (kind) {
    case 'dir':
      return (mode & 0o1002) === 0o1002 ? '30;42' : '01;34';
    case 'symlink':
      return '01;36';
    case 'char':
    case 'block':
      return '40;33;01';
    case 'fifo':
      return '40;33';
    case 'file':
      if ((mode & 0o4000) !== 0) return '37;41';
      if ((mode & 0o2000) !== 0) return '30;43';
      return (mode & 0o111) === 0 ? undefined : '01;32';
    default:
      return kind satisfies never;
  }
}
