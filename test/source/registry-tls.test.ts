/** TLS: certificates, of both sides, and never without it where it is expected (F20). */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { LookupFunction } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Authority, type Certificate, makeAuthority, makeSelfSigned } from '../support/certificates.ts';
import { failureOf, readRange } from '../support/registry-reader.ts';
import {
  BYTES,
  layer,
  MANIFEST,
  MANIFEST_TYPE,
  open,
  server,
  useRegistry,
} from '../support/registry-stage.ts';
import { redirect, unauthorized } from '../support/replies.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';

useRegistry('app');

describe('TLS (F20)', () => {
  let directory: string;
  let authority: Authority;
  let certificates: Record<'good' | 'expired' | 'wrongHost' | 'selfSigned', Certificate>;
  const tlsServers: ScriptedServer[] = [];

  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'peel-tls-'));
    authority = await makeAuthority(directory);
    certificates = {
      good: await authority.issue('good', 'IP:127.0.0.1,DNS:localhost'),
      expired: await authority.issue('expired', 'IP:127.0.0.1', { isExpired: true }),
      wrongHost: await authority.issue('wrong', 'DNS:other.example'),
      selfSigned: await makeSelfSigned(directory, 'self', 'IP:127.0.0.1'),
    };
  });
  afterEach(async () => {
    await Promise.all(tlsServers.splice(0).map((one) => one.close()));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  async function startTLS(
    certificate: Certificate,
    extra: { ca?: string; requestCert?: boolean } = {},
  ): Promise<ScriptedServer> {
    const { key, cert } = certificate;
    const one = await startScriptedServer({ tls: { key, cert, ...extra } });
    one.addManifest('app', 'v1', MANIFEST, MANIFEST_TYPE);
    one.addBlob('app', BYTES);
    tlsServers.push(one);
    return one;
  }

  test.each(['expired', 'wrongHost', 'selfSigned'] as const)(
    'a certificate that is %s is refused, without falling back',
    async (kind) => {
      const one = await startTLS(certificates[kind]);
      const error = await failureOf(open({ tlsCa: authority.certFile }, one.address).resolve());
      expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNREACHABLE' });
      expect(error.message).toContain('certificate');
      expect(one.requests).toEqual([]);
    },
  );

  test('a client certificate of hosts.toml is shown to its host, and to no other', async () => {
    const client = await authority.issue('client', 'DNS:client.example');
    const one = await startTLS(certificates.good, { ca: authority.cert, requestCert: true });
    const folder = path.join(directory, 'certs.d', one.address);
    await mkdir(folder, { recursive: true });
    const toml = `server = "${one.origin}"\nca = "${authority.certFile}"\nclient = [["${client.certFile}", "${client.keyFile}"]]\n`;
    await writeFile(path.join(folder, 'hosts.toml'), toml);
    const source = open({ certsDir: path.join(directory, 'certs.d') }, one.address);
    expect((await source.resolve()).bytes.equals(MANIFEST)).toBe(true);
    // The next host asks for one as well, and does not get it.
    const next = await startTLS(certificates.good, { ca: authority.cert, requestCert: true });
    one.rule({ path: /blobs/, reply: redirect(`${next.origin}/x`) });
    const options = { certsDir: path.join(directory, 'certs.d'), tlsCa: authority.certFile };
    expect(await failureOf(readRange(open(options, one.address), layer, 0, 10))).toMatchObject({
      code: 'ERR_REGISTRY_UNREACHABLE',
    });
    expect(next.requests).toEqual([]);
  });

  test('a redirect from https to http is refused', async () => {
    const one = await startTLS(certificates.good);
    one.rule({ path: /blobs/, reply: redirect(`${server.origin}/v2/app/blobs/${layer.digest}`) });
    const error = await failureOf(readRange(open({ tlsCa: authority.certFile }, one.address), layer, 0, 10));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(error.message).toContain('leaves TLS');
    expect(server.requests).toEqual([]);
  });

  test('a token server without TLS is refused by a registry with TLS', async () => {
    const one = await startTLS(certificates.good);
    one.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
    const error = await failureOf(open({ tlsCa: authority.certFile }, one.address).resolve());
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(server.requests).toEqual([]);
  });

  test('--plain-http names a host that is not asked for TLS', async () => {
    const before = server.connections;
    await open({ plainHttp: [server.address] }).resolve();
    expect(server.connections - before).toBe(1);
  });

  test('a host that is not on loopback is not spoken to without TLS', async () => {
    const lookup: LookupFunction = (_name, options, callback) =>
      options.all === true
        ? callback(null, [{ address: '127.0.0.1', family: 4 }])
        : callback(null, '127.0.0.1', 4);
    const { port } = new URL(server.origin);
    const error = await failureOf(open({ lookup }, `registry.example:${port}`).resolve());
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNREACHABLE' });
    expect(error.message).toContain('--plain-http');
    expect(server.requests).toEqual([]);
  });

  test.each([
    ['missing', 'missing.pem'],
    ['not PEM', 'client.ext'],
  ])('a --tls-ca file that is %s is ERR_USAGE', async (_name, file) => {
    await writeFile(path.join(directory, 'client.ext'), 'x');
    const error = await failureOf(open({ tlsCa: path.join(directory, file) }).resolve());
    expect(error).toMatchObject({ code: 'ERR_USAGE' });
    expect(error.message).toContain(file);
  });
});
