/** The ways to the kernel, by the name that `--transport` takes. */
import { fuseNativeTransport } from './fuse-native-transport.ts';
import { nativeTransport } from './native-transport.ts';
import type { Transport } from './transport.ts';

export const TRANSPORT_NAMES = ['native', 'fuse-native'] as const;
export type TransportName = (typeof TRANSPORT_NAMES)[number];

export const TRANSPORTS: Readonly<Record<TransportName, Transport>> = {
  native: nativeTransport,
  'fuse-native': fuseNativeTransport,
};
