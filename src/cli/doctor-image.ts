/**
 * The checks of `peel doctor IMAGE`: how the registry of an image behaves. Reads the documents and the last
 * byte of the top layer, which tells whether ranges are served.
 */
import { connect, type TLSSocket } from 'node:tls';
import { PeelError } from '../errors.ts';
import { archiveTools } from '../image/archive-tools.ts';
import { openCache } from '../image/open-cache.ts';
import { parsePlatform } from '../reference/platform.ts';
import { type RegistryReference } from '../reference/registry-reference.ts';
import { parseImageName } from '../reference/transport.ts';
import { openSource } from '../source/open-source.ts';
import { CredentialFinder } from '../source/registry/credentials.ts';
import type { RequestInfo } from '../source/registry/options.ts';
import { resolveImage } from '../source/resolve-image.ts';
import type { ImageSource } from '../source/source.ts';
import { compressed } from '../units.ts';
import type { Context } from './command.ts';
import { type CheckResult, check } from './doctor-host.ts';
import { registryOptionsOf } from './open-images.ts';
import { decimalSize } from './size.ts';

const TLS_DEADLINE_MS = 5000;
const HTTPS_PORT = 443;

type ImageContext = Pick<Context, 'env' | 'settings' | 'signal'>;

export async function checkImage(context: ImageContext, text: string): Promise<CheckResult[]> {
  const { settings, env, signal } = context;
  const requests: RequestInfo[] = [];
  const results: CheckResult[] = [];
  const name = parseImageName(text);
  const registry = {
    ...registryOptionsOf(settings, env),
    onRequest: (info: RequestInfo) => requests.push(info),
  };
  if (name.transport === 'docker' && settings.offline) {
    return [{ name: 'image', status: 'warn', found: 'not looked at: --offline forbids to ask the registry' }];
  }
  if (name.transport === 'docker') {
    results.push(await check('credentials', () => findCredentials(name.reference, registry)));
    results.push(await check('tls', () => describeTLS(name.reference)));
  }
  const tools = archiveTools(await openCache(settings.cacheDir));
  const source = await openSource(name, { registry }, tools, signal);
  try {
    const platform = settings.platform === undefined ? undefined : parsePlatform(settings.platform);
    results.push(await check('image', () => describeImage(source, platform, signal)));
    if (results.at(-1)?.status === 'ok') {
      results.push(await check('ranges', () => readLastByte(source, platform, requests, signal)));
    }
    // Nothing is known of the way to a registry that did not answer.
    if (requests.length > 0) {
      results.push(await check('redirects', () => describeRedirects(requests)));
      results.push(
        await check('requests', () => requests.map(({ method, status }) => `${method} ${status}`).join(', ')),
      );
    }
  } finally {
    await source.close();
  }
  return results;
}

async function findCredentials(
  reference: RegistryReference,
  options: ConstructorParameters<typeof CredentialFinder>[0],
): Promise<string> {
  const found = await new CredentialFinder(options).find(reference.registry, reference.repository);
  return found === undefined ? 'none found: asked without' : `from ${found.source}`;
}

type Platform = ReturnType<typeof parsePlatform> | undefined;

async function describeImage(source: ImageSource, platform: Platform, signal: AbortSignal): Promise<string> {
  const { manifest, manifestDocument } = await resolveImage(source, platform, signal);
  const size = manifest.layers.reduce((sum, layer) => sum + layer.size, 0);
  return `${source.name}: ${manifestDocument.digest}, ${manifest.layers.length} layers, ${decimalSize(size)}`;
}

/** A registry that ignores ranges answers 200 with the whole layer: every small read then costs all of it. */
async function readLastByte(
  source: ImageSource,
  platform: Platform,
  requests: readonly RequestInfo[],
  signal: AbortSignal,
): Promise<string | { readonly warn: string }> {
  const { manifest } = await resolveImage(source, platform, signal);
  const layer = manifest.layers.at(-1);
  if (layer === undefined || layer.size === 0) return 'the image has no layer to ask for';
  const before = requests.length;
  const range = { start: compressed(layer.size - 1), end: compressed(layer.size) };
  let received = 0;
  for await (const chunk of source.openBlob(layer).fetch(range, signal)) received += chunk.length;
  if (received !== 1)
    throw new PeelError('ERR_REGISTRY_RESPONSE', `asked for 1 byte of ${layer.digest}, got ${received}`);
  const statuses = requests.slice(before).map((request) => request.status);
  if (statuses.includes(200) && !statuses.includes(206)) {
    return { warn: 'not served: the registry sends whole layers, and a small read costs all of one' };
  }
  return requests.length === 0 ? 'read from the file' : 'served';
}

function describeRedirects(requests: readonly RequestInfo[]): string {
  const hosts = new Set(requests.map((request) => request.host));
  const isRedirected = requests.some((request) => request.status >= 300 && request.status < 400);
  return `${isRedirected ? 'yes' : 'none'}; hosts asked: ${[...hosts].join(', ')}`;
}

/** OpenSSL's own messages begin with numbers of threads and end with its source files. */
function reasonOf(error: Error): string {
  const { reason } = error as Error & { readonly reason?: unknown };
  if (reason === 'wrong version number') return 'the answer was no TLS, as of a server of plain HTTP';
  return typeof reason === 'string' ? reason : error.message;
}

/** A handshake of our own, unverified: it says what is there; the client decides what is trusted. */
function describeTLS(reference: RegistryReference): Promise<string | { readonly warn: string }> {
  const { hostname, port } = new URL(
    `https://${reference.registry === 'docker.io' ? 'registry-1.docker.io' : reference.registry}`,
  );
  const host = hostname.replace(/^\[|\]$/g, '');
  return new Promise((resolve) => {
    const socket: TLSSocket = connect(
      {
        host,
        port: port === '' ? HTTPS_PORT : Number(port),
        servername: /^[\d.]+$|:/.test(host) ? '' : host,
        rejectUnauthorized: false,
        timeout: TLS_DEADLINE_MS,
      },
      () => {
        const { valid_to: until } = socket.getPeerCertificate();
        const trust = socket.authorized
          ? 'trusted by Node'
          : `not trusted by Node (${String(socket.authorizationError)})`;
        done(`${socket.getProtocol() ?? 'TLS'}, certificate until ${until}, ${trust}`);
      },
    );
    const done = (found: string | { readonly warn: string }): void => {
      socket.destroy();
      resolve(found);
    };
    socket.on('timeout', () => done({ warn: `no handshake within ${TLS_DEADLINE_MS / 1000} s` }));
    socket.on('error', (error) => done({ warn: `no TLS: ${reasonOf(error)}` }));
  });
}
