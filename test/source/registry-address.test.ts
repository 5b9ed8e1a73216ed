import { describe, expect, test } from 'vitest';
import { type AddressKind, addressKind, isLoopbackHost } from '../../src/source/registry/address-kind.ts';

// RFC 6890 and its updates (IANA special-purpose address registries).
const KINDS: readonly (readonly [string, AddressKind])[] = [
  ['8.8.8.8', 'public'],
  ['172.32.0.1', 'public'],
  ['100.128.0.1', 'public'],
  ['2606:4700::1', 'public'],
  ['64:ff9b::808:808', 'public'],
  ['127.0.0.1', 'loopback'],
  ['127.255.255.254', 'loopback'],
  ['::1', 'loopback'],
  ['10.1.2.3', 'private'],
  ['172.16.0.1', 'private'],
  ['172.31.255.255', 'private'],
  ['192.168.1.1', 'private'],
  ['100.64.0.1', 'private'],
  ['fd00::1', 'private'],
  ['0.0.0.0', 'forbidden'],
  ['0.1.2.3', 'forbidden'],
  ['169.254.169.254', 'forbidden'],
  ['224.0.0.1', 'forbidden'],
  ['255.255.255.255', 'forbidden'],
  ['192.0.2.1', 'forbidden'],
  ['::', 'forbidden'],
  ['::ffff:127.0.0.1', 'forbidden'],
  ['::ffff:7f00:1', 'forbidden'],
  ['::ffff:8.8.8.8', 'forbidden'],
  ['::127.0.0.1', 'forbidden'],
  ['fe80::1', 'forbidden'],
  ['fe80::1%eth0', 'forbidden'],
  ['fec0::1', 'forbidden'],
  ['ff02::1', 'forbidden'],
  ['2002:7f00:1::', 'forbidden'],
  ['2001:0:1::', 'forbidden'],
  ['2001:db8::1', 'forbidden'],
  ['64:ff9b::10.0.0.1', 'forbidden'],
  ['64:ff9b::a9fe:a9fe', 'forbidden'],
  ['64:ff9b:1::1', 'forbidden'],
  ['not an address', 'forbidden'],
  ['', 'forbidden'],
];

describe('addressKind', () => {
  test.each(KINDS)('%s is %s', (address, kind) => {
    expect(addressKind(address)).toBe(kind);
  });
});

describe('isLoopbackHost', () => {
  test.each(['localhost', 'LOCALHOST', 'a.localhost', '127.0.0.1', '127.9.9.9', '::1'])(
    '%s is loopback',
    (host) => {
      expect(isLoopbackHost(host)).toBe(true);
    },
  );
  test.each(['localhost.example', 'example.com', '10.0.0.1', '::ffff:127.0.0.1', '128.0.0.1'])(
    '%s is not',
    (host) => {
      expect(isLoopbackHost(host)).toBe(false);
    },
  );
});
