/** Hostile registries and a canary: a credential is configured for the registry, and whatever that does, the canary
 * appears at no other host, in no log and in no message (B5). Each script ends in a good read or a documented error. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { EXIT_STATUS_OF, isPeelError } from '../../src/errors.ts';
import { configureLog } from '../../src/log.ts';
import type { RegistryOptions } from '../../src/source/registry/registry-source.ts';
import type { ImageSource } from '../../src/source/source.ts';
import {
  BASIC,
  CANARIES,
  evil,
  loginWithToken,
  PASSWORD,
  SCRIPTS,
  TOKEN,
  useEvilHost,
} from '../support/canary-scripts.ts';
import { readRange } from '../support/registry-reader.ts';
import { BYTES, directory, layer, open, server, useRegistry } from '../support/registry-stage.ts';
import { redirect } from '../support/replies.ts';

useRegistry('app');
useEvilHost();

describe('the canary (B5)', () => {
  test('there are enough scripts', () => {
    expect(SCRIPTS.length).toBeGreaterThanOrEqual(40);
  });

  test.each(SCRIPTS)('%s', async (_name, arrange) => {
    const logFile = path.join(directory, 'log');
    try {
      configureLog('trace', logFile);
      arrange();
      const seen: unknown[] = [];
      const auth = { [server.address]: { auth: BASIC } };
      const options: RegistryOptions = {
        env: { DOCKER_AUTH_CONFIG: JSON.stringify({ auths: auth }) },
        onRequest: (info) => seen.push(info),
        deadlineMs: 3000,
      };
      for (const attempt of [
        (source: ImageSource) => source.resolve(),
        (source: ImageSource) => readRange(source, layer, 5, 500),
      ]) {
        const source = open(options);
        try {
          await attempt(source);
        } catch (error) {
          expect(isPeelError(error)).toBe(true);
          expect(Object.keys(EXIT_STATUS_OF)).toContain((error as { code: string }).code);
          expect((error as Error).message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
          seen.push(inspect(error, { depth: 10, showHidden: true }));
        }
        expect(source.stats.requests).toBeLessThan(30);
      }
      const sightings = {
        elsewhere: JSON.stringify(evil.requests),
        log: await readFile(logFile, 'utf8').catch(() => ''),
        messages: inspect(seen, { depth: 10 }),
      };
      for (const canary of CANARIES) {
        for (const [where, text] of Object.entries(sightings)) {
          expect(text.includes(canary), `${canary} in ${where}: ${text.slice(0, 2000)}`).toBe(false);
        }
      }
      expect(evil.requests.every(({ headers }) => headers['authorization'] === undefined)).toBe(true);
      expect(evil.requests.every(({ headers }) => headers['cookie'] === undefined)).toBe(true);
    } finally {
      configureLog('silent');
    }
  });

  test('a header of hosts.toml goes to its host, and not where that redirects to', async () => {
    const folder = path.join(directory, server.address);
    await mkdir(folder);
    await writeFile(
      path.join(folder, 'hosts.toml'),
      `server = "${server.origin}"\n[header]\nx-team = "${PASSWORD}"\n`,
    );
    evil.rule({
      reply: (request) => server.content({ ...request, path: `/v2/app/blobs/${layer.digest}` }),
    });
    server.rule({ path: /blobs/, reply: redirect(`${evil.origin}/x`) });
    const source = open({ certsDir: directory });
    expect((await readRange(source, layer, 0, 10)).equals(BYTES.subarray(0, 10))).toBe(true);
    expect(server.requests[0]?.headers['x-team']).toBe(PASSWORD);
    expect(evil.requests.length).toBe(1);
    expect(evil.requests[0]?.headers['x-team']).toBeUndefined();
  });

  test('the canary is really in use: without a hostile turn the registry sees it', async () => {
    loginWithToken();
    const auth = { [server.address]: { auth: BASIC } };
    await open({ env: { DOCKER_AUTH_CONFIG: JSON.stringify({ auths: auth }) } }).resolve();
    const sent = JSON.stringify(server.requests.map(({ headers }) => headers));
    expect(sent).toContain(BASIC);
    expect(sent).toContain(TOKEN);
  });
});
