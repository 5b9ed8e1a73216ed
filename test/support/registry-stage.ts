/**
 * A registry of one image for each test, and other hosts beside it; all of them, and whatever was opened, are closed
 * after the test. The variables below are those of the test that runs.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import type { RegistryOptions } from '../../src/source/registry/registry-source.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { openBare } from './registry-reader.ts';
import {
  type RecordedRequest,
  type Reply,
  type ScriptedServer,
  type ServedDescriptor,
  startScriptedServer,
} from './scripted-server.ts';

/** The layer, and the manifest of the tag `v1`. */
export const BYTES = randomBytes(50_000);
export const MANIFEST = Buffer.from('{"schemaVersion":2}');
export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';

export let server: ScriptedServer;
export let layer: ServedDescriptor;
/** A folder for files of the test. */
export let directory = '';

let repository = '';
let servers: ScriptedServer[] = [];
let sources: ImageSource[] = [];

/** @param name of the repository that the image is in */
export function useRegistry(name: string): void {
  beforeEach(async () => {
    repository = name;
    directory = await mkdtemp(path.join(tmpdir(), 'peel-registry-'));
    server = await another('127.0.0.1');
    layer = server.addBlob(name, BYTES);
  });
  afterEach(async () => {
    await Promise.all(sources.splice(0).map((source) => source.close()));
    await Promise.all(servers.splice(0).map((one) => one.close()));
    await rm(directory, { recursive: true, force: true });
  });
}

/** A registry with the same manifest. Another loopback address is another host. */
export async function another(host: string): Promise<ScriptedServer> {
  const one = await startScriptedServer({ host });
  one.addManifest(repository, 'v1', MANIFEST, MANIFEST_TYPE);
  servers.push(one);
  return one;
}

export function open(options: RegistryOptions = {}, address = server.address): ImageSource {
  const source = openBare(`${address}/${repository}:v1`, options);
  sources.push(source);
  return source;
}

export const basic = (user: string, password: string): string =>
  Buffer.from(`${user}:${password}`).toString('base64');

/** Everything under /v2/ needs `Bearer <token()>`; /token is answered by `reply`. */
export function guard(
  token: () => string,
  reply: (request: RecordedRequest, nth: number) => Reply,
  challenge?: string,
): void {
  const header =
    challenge ?? `Bearer realm="${server.origin}/token",service="s",scope="repository:${repository}:pull"`;
  server.rule({ path: '/token', reply });
  server.rule({
    path: /^\/v2\//,
    when: ({ headers }) => headers['authorization'] !== `Bearer ${token()}`,
    reply: { status: 401, headers: { 'www-authenticate': header } },
  });
}
export const tokenRequests = (): RecordedRequest[] =>
  server.requests.filter((request) => request.path === '/token');
