/**
 * Debian's docker-registry as a child process, with storage, configuration and certificates in a folder of
 * its own, all of which `close` removes.
 *
 *   const registry = await startRegistry({ auth: 'token', tls: true });
 *   await registry.pushImage('app', 'latest', [layerBytes]);     // or pushBlob, pushManifest, pushLayout
 *   ... `${registry.address}/app`, registry.caFile, registry.user, registry.password ...
 *   await registry.close();
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { makeAuthority } from './certificates.ts';
import { sha256Digest } from './digests.ts';
import type { ServedDescriptor } from './scripted-server.ts';
import { startTokenServer, TOKEN_ISSUER, TOKEN_SERVICE, type TokenServer } from './token-server.ts';

const run = promisify(execFile);
const PROGRAM = '/usr/bin/docker-registry';
const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar';
const OCI_LAYER_GZIP = `${OCI_LAYER}+gzip`;

/** Is docker-registry installed? Tests that need it skip with this as the reason. */
export function hasRegistry(): boolean {
  return existsSync(PROGRAM);
}

export interface RegistryServerOptions {
  /** Default `none`. */
  readonly auth?: 'none' | 'htpasswd' | 'token';
  readonly tls?: boolean;
  /** Takes and gives manifests of schema 1; it makes and signs them for clients that name no type. */
  readonly schema1?: boolean;
  /** Life of tokens in seconds; default 60. */
  readonly tokenSeconds?: number;
  /** Token auth: may anybody pull? Default true. */
  readonly isOpen?: boolean;
  /** The origin of a registry of which it is a pull-through cache; nothing can be pushed to it then. */
  readonly cacheOf?: string;
}

export interface TestRegistry {
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  readonly origin: string;
  readonly user: string;
  readonly password: string;
  /** The authority of its certificate, with `tls`. */
  readonly caFile: string | undefined;
  readonly tokenServer: TokenServer | undefined;
  /** An auth file with its user. */
  readonly authfile: string;
  pushBlob(repository: string, bytes: Uint8Array): Promise<ServedDescriptor>;
  pushManifest(
    repository: string,
    tag: string,
    bytes: Uint8Array,
    mediaType: string,
  ): Promise<ServedDescriptor>;
  /** An image of these layers (gzip or plain tar), lowest first; `config` adds to its configuration. */
  pushImage(
    repository: string,
    tag: string,
    layers: readonly Uint8Array[],
    config?: object,
  ): Promise<ServedDescriptor>;
  /** An OCI layout, `oci:DIR:TAG` as skopeo names it. */
  pushLayout(repository: string, tag: string, layout: string): Promise<void>;
  /** Ends the process; the registry can no longer be reached. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

export async function startRegistry(options: RegistryServerOptions = {}): Promise<TestRegistry> {
  const directory = await mkdtemp(path.join(tmpdir(), 'peel-registry-'));
  try {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await start(directory, options);
      } catch (error) {
        // Another process took the port between its release and the start.
        if (attempt >= 3) {
          throw error;
        }
      }
    }
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

async function start(directory: string, options: RegistryServerOptions): Promise<TestRegistry> {
  const user = 'tester';
  const password = 'correct-horse-battery';
  const address = `127.0.0.1:${await freePort()}`;
  const config = [
    'version: 0.1',
    'log: {level: error, accesslog: {disabled: true}}',
    'storage:',
    `  filesystem: {rootdirectory: ${path.join(directory, 'data')}}`,
    '  delete: {enabled: true}',
    'http:',
    `  addr: ${address}`,
    '  secret: not-a-secret',
  ];
  if (options.schema1 === true) config.push('compatibility: {schema1: {enabled: true}}');
  if (options.cacheOf !== undefined) config.push(`proxy: {remoteurl: "${options.cacheOf}"}`);
  let caFile: string | undefined;
  let ca: string | undefined;
  if (options.tls === true) {
    const authority = await makeAuthority(directory);
    const server = await authority.issue('server', 'DNS:localhost,IP:127.0.0.1');
    config.push(`  tls: {certificate: ${server.certFile}, key: ${server.keyFile}}`);
    caFile = authority.certFile;
    ca = authority.cert;
  }
  let tokenServer: TokenServer | undefined;
  if (options.auth === 'htpasswd') {
    const { stdout } = await run('htpasswd', ['-Bbn', user, password], { timeout: 10_000 });
    await writeFile(path.join(directory, 'htpasswd'), stdout);
    config.push(`auth: {htpasswd: {realm: peel test, path: ${path.join(directory, 'htpasswd')}}}`);
  } else if (options.auth === 'token') {
    const signer = await makeAuthority(path.join(directory, 'jwt'));
    tokenServer = await startTokenServer({
      signer,
      user,
      password,
      ...(options.tokenSeconds === undefined ? {} : { expiresIn: options.tokenSeconds }),
      ...(options.isOpen === undefined ? {} : { isOpen: options.isOpen }),
    });
    const { realm } = tokenServer;
    config.push(
      `auth: {token: {realm: "${realm}", service: ${TOKEN_SERVICE}, issuer: ${TOKEN_ISSUER}, rootcertbundle: ${signer.certFile}}}`,
    );
  }
  const configFile = path.join(directory, 'config.yml');
  await writeFile(configFile, `${config.join('\n')}\n`);
  const origin = `${options.tls === true ? 'https' : 'http'}://${address}`;

  let child: ChildProcess;
  try {
    child = await launch(configFile, `${origin}/v2/`, ca);
  } catch (error) {
    await tokenServer?.close();
    throw error;
  }
  const authfile = path.join(directory, 'auth.json');
  const auth = Buffer.from(`${user}:${password}`).toString('base64');
  await writeFile(authfile, JSON.stringify({ auths: { [address]: { auth } } }), { mode: 0o600 });

  const authorization = (repository: string): Record<string, string> => {
    if (options.auth === 'htpasswd') return { authorization: `Basic ${auth}` };
    if (tokenServer === undefined) return {};
    return { authorization: `Bearer ${tokenServer.tokenFor(repository, ['pull', 'push'])}` };
  };
  const call = async (repository: string, method: string, url: string, body?: Uint8Array, type?: string) => {
    const headers = { ...authorization(repository), ...(type === undefined ? {} : { 'content-type': type }) };
    const answer = await ask(method, new URL(url, origin), headers, body, ca);
    if (answer.status >= 300) {
      throw new Error(`${method} ${url}: status ${answer.status}: ${answer.body}`);
    }
    return answer;
  };
  const pushBlob = async (repository: string, bytes: Uint8Array): Promise<ServedDescriptor> => {
    const descriptor = describe(bytes, OCI_LAYER);
    const begun = await call(repository, 'POST', `/v2/${repository}/blobs/uploads/`);
    const upload = new URL(begun.headers.location ?? '', origin);
    upload.searchParams.set('digest', descriptor.digest);
    await call(repository, 'PUT', upload.href, bytes, 'application/octet-stream');
    return descriptor;
  };
  const pushManifest = async (
    repository: string,
    tag: string,
    bytes: Uint8Array,
    mediaType: string,
  ): Promise<ServedDescriptor> => {
    await call(repository, 'PUT', `/v2/${repository}/manifests/${tag}`, bytes, mediaType);
    return describe(bytes, mediaType);
  };
  const stop = (): Promise<void> => endChild(child);

  return {
    address,
    origin,
    user,
    password,
    caFile,
    tokenServer,
    authfile,
    pushBlob,
    pushManifest,
    pushImage: async (repository, tag, layers, extra = {}) => {
      const descriptors: ServedDescriptor[] = [];
      for (const layer of layers) {
        descriptors.push({
          ...(await pushBlob(repository, layer)),
          mediaType: isGzip(layer) ? OCI_LAYER_GZIP : OCI_LAYER,
        });
      }
      const diffIDs = layers.map((layer) => sha256Digest(isGzip(layer) ? gunzipSync(layer) : layer));
      const rootfs = { type: 'layers', diff_ids: diffIDs };
      const configBytes = Buffer.from(
        JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs, ...extra }),
      );
      const configDescriptor = { ...(await pushBlob(repository, configBytes)), mediaType: OCI_CONFIG };
      const manifest = {
        schemaVersion: 2,
        mediaType: OCI_MANIFEST,
        config: configDescriptor,
        layers: descriptors,
      };
      return pushManifest(repository, tag, Buffer.from(JSON.stringify(manifest)), OCI_MANIFEST);
    },
    pushLayout: async (repository, tag, layout) => {
      const credentials =
        options.auth === undefined || options.auth === 'none' ? [] : ['--dest-creds', `${user}:${password}`];
      const args = ['copy', '--insecure-policy', '--dest-tls-verify=false', ...credentials];
      await run('skopeo', [...args, layout, `docker://${address}/${repository}:${tag}`], { timeout: 60_000 });
    },
    stop,
    close: async () => {
      await stop();
      await tokenServer?.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Once it answers. */
async function launch(configFile: string, url: string, ca: string | undefined): Promise<ChildProcess> {
  const logFile = `${configFile}.log`;
  const child = spawn(PROGRAM, ['serve', configFile], { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr?.on('data', (chunk: Buffer) => void appendFile(logFile, chunk).catch(() => {}));
  // No registry may outlive the test's process.
  const onExit = (): void => void child.kill('SIGKILL');
  process.once('exit', onExit);
  child.once('exit', () => process.off('exit', onExit));
  const giveUpAt = performance.now() + 20_000;
  for (;;) {
    if (child.exitCode !== null || performance.now() > giveUpAt) {
      await endChild(child);
      throw new Error(`docker-registry did not start with ${configFile}`);
    }
    try {
      await ask('GET', new URL(url), {}, undefined, ca);
      return child;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return;
  }
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

function ask(
  method: string,
  url: URL,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array | undefined,
  ca: string | undefined,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const length = { 'content-length': String(body?.length ?? 0) };
    const options = { method, headers: { ...headers, ...length }, agent: false, timeout: 20_000 } as const;
    const request =
      url.protocol === 'https:'
        ? httpsRequest(url, { ...options, ...(ca === undefined ? {} : { ca }) })
        : httpRequest(url, options);
    request.on('timeout', () => request.destroy(new Error(`${method} ${url.href}: no answer`)));
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
      });
    });
    request.end(body);
  });
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function describe(bytes: Uint8Array, mediaType: string): ServedDescriptor {
  return { mediaType, digest: sha256Digest(bytes), size: bytes.length };
}

function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}
