/** Addresses that only this host can reach: a registry cannot make us ask them (F18). */
import type { LookupFunction } from 'node:net';
import { describe, expect, test } from 'vitest';
import { guardedLookup, ReachedKinds } from '../../src/source/registry/connect.ts';
import { failureOf, readRange } from '../support/registry-reader.ts';
import { another, BYTES, layer, open, server, useRegistry } from '../support/registry-stage.ts';
import { redirect, unauthorized } from '../support/replies.ts';

useRegistry('app');

describe('addresses that only this host can reach (F18)', () => {
  const TARGETS = [
    'http://169.254.169.254/latest/meta-data',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:a9fe:a9fe]/',
    'http://0.0.0.0/',
    'http://[::]/',
    'http://0/',
    'http://2852039166/',
    'http://0xa9.0xfe.0xa9.0xfe/',
    'http://[fe80::1]/',
    'http://10.0.0.1/',
    'http://192.168.0.1/',
    'http://172.16.0.1/',
    'http://100.64.0.1/',
    'http://[fd00::1]/',
    'http://224.0.0.1/',
    'http://[64:ff9b::a00:1]/',
  ];

  test.each(TARGETS)('a redirect to %s is refused without a connection', async (target) => {
    server.rule({ path: /blobs/, reply: redirect(target) });
    const error = await failureOf(readRange(open({ connectMs: 2000 }), layer, 0, 10));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(error.message).toContain('not connected');
    expect(server.requests.length).toBe(1);
  });

  test.each(TARGETS)('a realm at %s is refused without a connection', async (target) => {
    server.rule({ reply: unauthorized(`Bearer realm="${target}"`) });
    const error = await failureOf(open({ connectMs: 2000 }).resolve());
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(error.message).toContain('not connected');
  });

  /** Each name has the addresses that the table gives it, one more with each look-up. */
  const lookupOf = (table: Record<string, string[]>): LookupFunction => {
    const asked = new Map<string, number>();
    return (hostname, options, callback) => {
      const nth = asked.get(hostname) ?? 0;
      asked.set(hostname, nth + 1);
      const addresses = table[hostname] ?? [];
      const address = addresses[Math.min(nth, addresses.length - 1)];
      if (address === undefined) {
        callback(Object.assign(new Error('not found'), { code: 'ENOTFOUND' }), '', 4);
        return;
      }
      const family = address.includes(':') ? 6 : 4;
      setImmediate(() =>
        options.all === true ? callback(null, [{ address, family }]) : callback(null, address, family),
      );
    };
  };

  test('a name that resolves to a forbidden address is refused, also when it did not at first (DNS rebinding)', async () => {
    const evil = await another('127.0.0.2');
    const { port } = new URL(evil.origin);
    evil.rule({ reply: (request) => server.content({ ...request, path: `/v2/app/blobs/${layer.digest}` }) });
    server.rule({ path: /blobs/, reply: redirect(`http://rebind.example:${port}/x`) });
    const lookup = lookupOf({ 'rebind.example': ['127.0.0.2', '169.254.169.254'] });
    const source = open({ lookup });
    expect((await readRange(source, layer, 0, 10)).equals(BYTES.subarray(0, 10))).toBe(true);
    // A source of its own: no connection of the first is left.
    const error = await failureOf(readRange(open({ lookup }), layer, 0, 10));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(error.message).toContain('169.254.169.254');
  });

  test('a registry at a public address may not name loopback or private ones, one on loopback may name loopback', () => {
    const answersOf = (reached: ReachedKinds, address: string): unknown => {
      let got: unknown;
      const lookup: LookupFunction = (_name, _options, callback) => callback(null, [{ address, family: 4 }]);
      guardedLookup(lookup, reached)('x.example', { all: true }, (error, found) => {
        got = error ?? found;
      });
      return got;
    };
    const reached = new ReachedKinds();
    reached.add('public');
    expect(answersOf(reached, '127.0.0.1')).toBeInstanceOf(Error);
    expect(answersOf(reached, '10.0.0.1')).toBeInstanceOf(Error);
    expect(answersOf(reached, '8.8.8.8')).toEqual([{ address: '8.8.8.8', family: 4 }]);
    reached.add('private');
    expect(answersOf(reached, '10.0.0.1')).toEqual([{ address: '10.0.0.1', family: 4 }]);
    expect(answersOf(reached, '127.0.0.1')).toBeInstanceOf(Error);
    reached.add('forbidden');
    expect(answersOf(reached, '169.254.169.254')).toBeInstanceOf(Error);
  });

  test('of several addresses only the allowed ones are tried', () => {
    const lookup: LookupFunction = (_name, _options, callback) =>
      callback(null, [
        { address: '169.254.169.254', family: 4 },
        { address: '8.8.4.4', family: 4 },
      ]);
    let got: unknown;
    guardedLookup(lookup, new ReachedKinds())('x.example', {}, (error, address) => {
      got = error ?? address;
    });
    expect(got).toBe('8.8.4.4');
  });

  test('a name that does not resolve is ERR_REGISTRY_UNREACHABLE (F19)', async () => {
    const error = await failureOf(open({ lookup: lookupOf({}) }, 'registry.example').resolve());
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNREACHABLE' });
    expect(error.message).toContain('does not resolve');
  });
});
