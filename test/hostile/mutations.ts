/** Damage to bytes, from a seed: the same seed gives the same damage for ever. */

const BLOCK = 512;
const MAX_CHANGES = 4;
/** What readers of numbers, names and lengths trip over. */
const TOKENS = [
  '\0',
  '/',
  '..',
  '-1',
  '9'.repeat(22),
  '\xff'.repeat(8),
  '\x80',
  ' ',
  '\n',
  '"',
  '{',
  '[',
  '0',
  'null',
];

/** One to four changes: flipped bits, other bytes, tokens, pieces left out, doubled or moved, the end cut off. */
export function mutated(bytes: Buffer, random: () => number): Buffer {
  const below = (limit: number): number => Math.floor(random() * limit);
  let changed = Buffer.from(bytes);
  for (let left = 1 + below(MAX_CHANGES); left > 0 && changed.length > 0; left -= 1) {
    const at = below(changed.length);
    const length = 1 + below(random() < 0.5 ? 16 : 2 * BLOCK);
    const piece = changed.subarray(at, at + length);
    const rest = changed.subarray(at + piece.length);
    const before = changed.subarray(0, at);
    const token = Buffer.from(TOKENS[below(TOKENS.length)] ?? '', 'latin1');
    switch (below(7)) {
      case 0:
        changed[at] = (changed[at] ?? 0) ^ (1 << below(8));
        break;
      case 1:
        changed[at] = below(256);
        break;
      case 2:
        changed.set(token.subarray(0, changed.length - at), at);
        break;
      case 3:
        changed = Buffer.concat([before, token, changed.subarray(at)]);
        break;
      case 4:
        changed = Buffer.concat([before, rest]);
        break;
      case 5:
        changed = Buffer.concat([before, piece, piece, rest]);
        break;
      default:
        changed = Buffer.from(random() < 0.3 ? before : Buffer.concat([rest, before, piece]));
    }
  }
  return changed;
}

/** The checksums of all headers that had the right one set right again, so that what else is wrong is seen. */
export function withChecksums(tar: Buffer): Buffer {
  const fixed = Buffer.from(tar);
  for (let at = 0; at + BLOCK <= fixed.length; at += BLOCK) {
    const header = fixed.subarray(at, at + BLOCK);
    // Content that only looks like a header changes too: it is content still.
    if (!/^[0-7]{6}\0 $/.test(header.toString('latin1', 148, 156))) continue;
    header.fill(' ', 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }
  return fixed;
}
