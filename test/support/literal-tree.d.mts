import type { Contents } from '../../src/filesystem/contents.ts';
import type { Tree } from '../../src/tree/node.ts';

interface LiteralAttributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtimeSec?: number;
  readonly mtimeNsec?: number;
  /** Name to base64. */
  readonly xattrs?: Readonly<Record<string, string>>;
}

/** Keys of `children` are names as ByteStrings: one character a byte. */
export type LiteralNode = LiteralAttributes &
  (
    | { readonly kind: 'dir'; readonly children?: Readonly<Record<string, LiteralNode>> }
    | {
        readonly kind: 'file';
        /** Base64. */
        readonly data?: string;
        /** When it differs from the stored bytes: sparse files. */
        readonly size?: number;
        readonly sparse?: readonly { readonly offset: number; readonly length: number }[];
        /** Reads wait until this file of the host exists. */
        readonly waitFor?: string;
        /** Reads that wait do not listen to their signal. */
        readonly isDeaf?: boolean;
        /** So many reads fail, then all succeed. */
        readonly failures?: number;
        /** An error code of PeelError (default ERR_REGISTRY_UNREACHABLE), `TypeError`, or `short`. */
        readonly failWith?: string;
      }
    | { readonly kind: 'symlink'; readonly target: string }
    | { readonly kind: 'hardlink'; readonly to: string }
    | { readonly kind: 'char' | 'block'; readonly rdev: readonly [number, number] }
    | { readonly kind: 'fifo' }
  );

export interface BuiltLiteral {
  readonly tree: Tree;
  readonly contents: Contents;
  /** Every read that reached the layers. */
  readonly reads: { layer: number; start: number; end: number }[];
  /** The bytes of the one layer. */
  readonly layer: Buffer;
}

export function buildLiteral(
  root: LiteralNode,
  makeError?: (code: string, message: string) => Error,
): BuiltLiteral;
