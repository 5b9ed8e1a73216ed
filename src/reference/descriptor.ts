/** Content by digest: image-spec descriptor.md. */
import type { Digest } from '../units.ts';
import type { Platform } from './platform.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes; a safe integer, 0 or more. */
  readonly size: number;
  /** The content itself (descriptor `data`), decoded and checked against digest and size. */
  readonly data?: Buffer;
  readonly urls?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: Platform;
  readonly artifactType?: string;
}
