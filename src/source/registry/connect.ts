/**
 * Connections, and which addresses they may go to.
 *
 * A registry names other hosts: where a blob lies (Location), where tokens come from (realm). Without a rule it
 * could make this host talk to services that only this host can reach. The rule, applied to the address that is
 * really connected to, for each hop, so that a name that resolves differently each time gains nothing:
 *
 *   - The host that the user named, and mirrors that the user configured, may lie anywhere.
 *   - Any other host may lie at a public address.
 *   - It may lie at a loopback or private address only when the registry that named it was itself reached at
 *     an address of that kind: a private network's own registry, storage and token server work together.
 *   - Link-local (cloud metadata), unspecified, multicast and v4-mapped addresses are always refused.
 */
import { lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { createSecureContext, rootCertificates, type SecureContextOptions } from 'node:tls';
import type { buildConnector as UndiciConnector } from 'undici';
import { PeelError, systemCodeOf } from '../../errors.ts';
import { type AddressKind, addressKind } from './address-kind.ts';
import { type HostConfig, namesHost } from './host-config.ts';
import type { RegistryOptions } from './options.ts';
import { openSmallFile } from './small-file.ts';
import { TransportFailure } from './transport-failure.ts';
import { buildConnector } from './undici-parts.ts';

/** The kinds of address at which one registry host was reached. */
export class ReachedKinds {
  readonly #kinds = new Set<AddressKind>();

  add(kind: AddressKind): void {
    this.#kinds.add(kind);
  }

  /** Why a host that the registry named may not be reached at `address`, or undefined. */
  refusalOf(address: string): string | undefined {
    const kind = addressKind(address);
    if (kind === 'public' || (kind !== 'forbidden' && this.#kinds.has(kind))) {
      return undefined;
    }
    return kind === 'forbidden'
      ? 'an address that no registry may name'
      : `a ${kind} address, and the registry is not at one`;
  }
}

/** To the host that the user named: anywhere, remembering the kind of its address. */
export async function connectorToNamed(
  host: HostConfig,
  options: RegistryOptions,
  connectMs: number,
  reached: ReachedKinds,
): Promise<UndiciConnector.connector> {
  const client = await Promise.all(
    host.clientFiles.map(async ({ certificate, key }) => ({
      cert: await readPem(certificate),
      key: await readPem(key ?? certificate),
    })),
  );
  const connect = connectorOf(
    { timeout: connectMs, lookup: options.lookup ?? systemLookup, rejectUnauthorized: !host.skipVerify },
    {
      ca: await authoritiesOf(options, host.caFiles),
      ...(client.length === 0
        ? {}
        : { cert: client.map(({ cert }) => cert), key: client.map(({ key }) => key) }),
    },
  );
  return (target, callback) => {
    connect(target, (...result) => {
      const address = result[1]?.remoteAddress;
      if (address !== undefined) {
        reached.add(addressKind(address.replace(/^::ffff:(?=\d+\.)/i, '')));
      }
      callback(...result);
    });
  };
}

/** To hosts that the registry named: by the rule above. */
export async function connectorToForeign(
  options: RegistryOptions,
  connectMs: number,
  reached: ReachedKinds,
): Promise<UndiciConnector.connector> {
  const socket = { timeout: connectMs, lookup: guardedLookup(options.lookup ?? systemLookup, reached) };
  const trust = { ca: await authoritiesOf(options, []) };
  const verifying = connectorOf(socket, trust);
  const trusting = connectorOf({ ...socket, rejectUnauthorized: false }, trust);
  return (target, callback) => {
    const literal = target.hostname.replace(/^\[|\]$/g, '');
    // A literal address is connected to without a lookup.
    const refusal = isIP(literal) === 0 ? undefined : reached.refusalOf(literal);
    if (refusal !== undefined) {
      callback(refused(literal, refusal), null);
      return;
    }
    const isTrusted = namesHost(
      options.tlsSkipVerify,
      target.port === '' ? target.hostname : `${target.hostname}:${target.port}`,
    );
    (isTrusted ? trusting : verifying)(target, callback);
  };
}

interface SocketOptions {
  readonly timeout: number;
  readonly lookup: LookupFunction;
  readonly rejectUnauthorized?: boolean;
}

/** Certificates are parsed once, with the first connection that speaks TLS: it takes as long as some requests. */
function connectorOf(socket: SocketOptions, trust: SecureContextOptions): UndiciConnector.connector {
  const plain = buildConnector({ timeout: socket.timeout, lookup: socket.lookup });
  let secure: UndiciConnector.connector | undefined;
  return (target, callback) => {
    if (target.protocol !== 'https:') {
      plain(target, callback);
      return;
    }
    try {
      secure ??= buildConnector({ ...socket, secureContext: createSecureContext(trust) });
    } catch (error) {
      const why = `the TLS certificates or keys cannot be used (${systemCodeOf(error) ?? 'unknown reason'})`;
      callback(new TransportFailure(why, { code: 'ERR_USAGE' }), null);
      return;
    }
    secure(target, callback);
  };
}

/** Answers only with addresses that may be reached. */
export function guardedLookup(lookup: LookupFunction, reached: ReachedKinds): LookupFunction {
  return (hostname, lookupOptions, callback) => {
    lookup(hostname, { ...lookupOptions, all: true }, (error, found) => {
      if (error !== null) {
        callback(error, []);
        return;
      }
      const addresses = Array.isArray(found) ? found : [];
      const allowed = addresses.filter(({ address }) => reached.refusalOf(address) === undefined);
      const first = allowed[0];
      if (first === undefined) {
        const address = addresses[0]?.address ?? 'no address';
        callback(refused(`${hostname} (${address})`, reached.refusalOf(address) ?? 'nothing'), []);
      } else if (lookupOptions.all === true) {
        callback(null, allowed);
      } else {
        callback(null, first.address, first.family);
      }
    });
  };
}

function refused(where: string, why: string): TransportFailure {
  return new TransportFailure(`the registry points to ${where}, ${why}: not connected`, {
    code: 'ERR_REGISTRY_RESPONSE',
  });
}

const SYSTEM_BUNDLE = '/etc/ssl/certs/ca-certificates.crt';
const MAX_PEM_BYTES = 4 * 1024 * 1024;

/** The system's certificate authorities (what Docker trusts), or Node's own; and those that the user added. */
async function authoritiesOf(options: RegistryOptions, hostFiles: readonly string[]): Promise<string[]> {
  const env = options.env ?? process.env;
  const system = await openSmallFile(env['SSL_CERT_FILE'] ?? SYSTEM_BUNDLE, MAX_PEM_BYTES);
  const added = [env['NODE_EXTRA_CA_CERTS'], options.tlsCa, ...hostFiles].filter(
    (name) => name !== undefined,
  );
  const own = await Promise.all(added.filter((name) => name !== '').map(readPem));
  return [...(system === undefined ? rootCertificates : [system.text]), ...own];
}

async function readPem(file: string): Promise<string> {
  const found = await openSmallFile(file, MAX_PEM_BYTES);
  if (found === undefined) {
    throw new PeelError('ERR_USAGE', `TLS file ${file} does not exist`, { facts: { file } });
  }
  if (!found.text.includes('-----BEGIN ')) {
    throw new PeelError('ERR_USAGE', `TLS file ${file} is not PEM`, { facts: { file } });
  }
  return found.text;
}
