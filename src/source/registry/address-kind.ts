/**
 * What kind of network an IP address lies in, so that a registry cannot make us talk to places that only
 * this host can reach (SSRF): IANA special-purpose address registries, RFC 6890.
 *
 *   public     the Internet
 *   loopback   127.0.0.0/8, ::1
 *   private    RFC 1918, CGNAT (RFC 6598), unique local IPv6 (fc00::/7)
 *   forbidden  everything that no registry has business to point at: unspecified, link-local (cloud metadata
 *              services), multicast, documentation, and IPv6 forms that wrap another address (v4-mapped, 6to4, Teredo)
 */
import { BlockList, isIPv4, isIPv6 } from 'node:net';

export type AddressKind = 'public' | 'loopback' | 'private' | 'forbidden';

const V4_LOOPBACK = ['127.0.0.0/8'];
const V4_PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'];
const V4_FORBIDDEN = [
  '0.0.0.0/8',
  '169.254.0.0/16',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
];
const V4_SPECIAL = [...V4_LOOPBACK, ...V4_PRIVATE, ...V4_FORBIDDEN];
const V4 = {
  loopback: list('ipv4', V4_LOOPBACK),
  private: list('ipv4', V4_PRIVATE),
  forbidden: list('ipv4', V4_FORBIDDEN),
};

const V6 = {
  loopback: list('ipv6', ['::1/128']),
  private: list('ipv6', ['fc00::/7']),
  // Only 2000::/3 is given out as global unicast; these parts of it wrap other addresses or are for documents.
  global: list('ipv6', ['2000::/3']),
  forbidden: list('ipv6', ['2001::/32', '2001:db8::/32', '2002::/16', '3fff::/20']),
};

// An IPv6-only network reaches IPv4 hosts through these addresses (RFC 6052): the IPv4 address inside decides.
const NAT64_PREFIX = '64:ff9b::';
const NAT64 = list('ipv6', [`${NAT64_PREFIX}/96`]);
const NAT64_SPECIAL = list(
  'ipv6',
  V4_SPECIAL.map((subnet) => {
    const [net = '', bits = ''] = subnet.split('/');
    return `${NAT64_PREFIX}${net}/${Number(bits) + 96}`;
  }),
);

export function addressKind(address: string): AddressKind {
  if (isIPv4(address)) {
    return v4Kind(address);
  }
  const bare = address.split('%', 1)[0] ?? '';
  if (!isIPv6(bare)) {
    return 'forbidden';
  }
  if (V6.loopback.check(bare, 'ipv6')) {
    return 'loopback';
  }
  if (V6.private.check(bare, 'ipv6')) {
    return 'private';
  }
  if (NAT64.check(bare, 'ipv6')) {
    return NAT64_SPECIAL.check(bare, 'ipv6') ? 'forbidden' : 'public';
  }
  return V6.global.check(bare, 'ipv6') && !V6.forbidden.check(bare, 'ipv6') ? 'public' : 'forbidden';
}

/** `localhost` and what is under it (RFC 6761), 127.0.0.0/8, ::1. `host` is without port and brackets. */
export function isLoopbackHost(host: string): boolean {
  const name = host.toLowerCase();
  return name === 'localhost' || name.endsWith('.localhost') || addressKind(name) === 'loopback';
}

function v4Kind(address: string): AddressKind {
  for (const kind of ['loopback', 'private', 'forbidden'] as const) {
    if (V4[kind].check(address, 'ipv4')) {
      return kind;
    }
  }
  return 'public';
}

function list(family: 'ipv4' | 'ipv6', subnets: readonly string[]): BlockList {
  const block = new BlockList();
  for (const subnet of subnets) {
    const [net = '', bits = ''] = subnet.split('/');
    block.addSubnet(net, Number(bits), family);
  }
  return block;
}
