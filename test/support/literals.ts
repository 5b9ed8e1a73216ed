/** Short ways to write a literal tree. */
import type { LiteralNode } from './literal-tree.mjs';

export const base64 = (data: string | Buffer): string =>
  Buffer.from(data as string, 'latin1').toString('base64');

export const dir = (children: Record<string, LiteralNode>): LiteralNode => ({ kind: 'dir', children });

/** `more`: whatever else a file of a literal tree may have. */
export const file = (data: string | Buffer, more: object = {}): LiteralNode => ({
  kind: 'file',
  data: base64(data),
  ...more,
});
