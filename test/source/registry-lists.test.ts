/** Lists that a registry serves in pages. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseRegistryReference } from '../../src/reference/registry-reference.ts';
import { listTags } from '../../src/source/registry/tags.ts';
import { failureOf } from '../support/registry-reader.ts';
import {
  type RecordedRequest,
  type Reply,
  type ScriptedServer,
  startScriptedServer,
} from '../support/scripted-server.ts';

let server: ScriptedServer;
beforeEach(async () => {
  server = await startScriptedServer();
});
afterEach(() => server.close());

async function tags(): Promise<string[]> {
  const found: string[] = [];
  for await (const page of listTags(parseRegistryReference(`${server.address}/team/app`), {}))
    found.push(...page);
  return found;
}
const serve = (reply: (request: RecordedRequest) => Reply): void =>
  server.rule({ path: '/v2/team/app/tags/list', reply });
const pageOf = (names: unknown, link?: string): Reply => ({
  headers: { 'content-type': 'application/json', ...(link === undefined ? {} : { link }) },
  body: JSON.stringify({ name: 'team/app', tags: names }),
});

describe('tags', () => {
  test.each([
    ['relative', '</v2/team/app/tags/list?n=2&last=b>; rel="next"'],
    ['absolute', '<http://registry.invalid/v2/team/app/tags/list?n=2&last=b>; rel="next"'],
    ['without quotes, after another', '</other?x=1>; rel="prev", <?n=2&last=b>; rel=next'],
  ])('a Link to the next page is followed, on the same registry: %s (E219)', async (_, link) => {
    serve(({ query }) => (query.get('last') === 'b' ? pageOf(['c']) : pageOf(['a', 'b'], link)));
    expect(await tags()).toEqual(['a', 'b', 'c']);
    expect(server.requests.map(({ path }) => path)).toEqual(Array(2).fill('/v2/team/app/tags/list'));
  });

  test.each([
    ['that does not end', `<?last=b; rel="next"`],
    ['of nothing but brackets', '<'.repeat(8000)],
    ['to another relation', '<?last=b>; rel="nextish", <?last=b>; rel="prev"'],
    ['without a query', '</v2/team/app/tags/list>; rel="next"'],
  ])('a Link %s leads nowhere: the page is the last one', async (_, link) => {
    serve(() => pageOf(['a'], link));
    expect(await tags()).toEqual(['a']);
    expect(server.requests).toHaveLength(1);
  });

  test('a page is asked for with a count, and a repository without tags has none (E219)', async () => {
    serve(() => pageOf(null));
    expect(await tags()).toEqual([]);
    expect(server.requests[0]?.query.get('n')).toBe('1000');
  });

  test('a list that leads back to itself is an error', async () => {
    serve(() => pageOf(['a'], '</v2/team/app/tags/list?n=1000>; rel="next"'));
    expect(await failureOf(tags())).toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
  });

  test('a list that has no end is an error', async () => {
    let count = 0;
    serve(() => {
      count += 1;
      return pageOf([], `<?last=${count}>; rel="next"`);
    });
    expect(await failureOf(tags())).toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
  });

  test.each([
    ['text', { body: 'tags' }],
    ['a list', { body: '["a"]' }],
    ['tags that are no names', pageOf([1])],
    ['tags that are no list', pageOf('a')],
  ])('%s is no page', async (_, reply) => {
    serve(() => reply);
    expect(await failureOf(tags())).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
  });

  test('a page whose connection breaks is asked for again', async () => {
    server.rule({ path: '/v2/team/app/tags/list', times: 1, reply: { ...pageOf(['a']), resetAfter: 5 } });
    serve(() => pageOf(['a']));
    expect(await tags()).toEqual(['a']);
  });

  test('a repository that is not there is said to be missing', async () => {
    expect(await failureOf(tags())).toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
  });
});
