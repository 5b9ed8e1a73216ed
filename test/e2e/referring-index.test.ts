/** Indexes of peel that nothing names: found by what they refer to, told of, and in nobody's way. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256Digest } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { whyNoMounts } from '../support/mount-child.ts';
import { PeelUser } from '../support/run-peel.ts';
import { type Reply, type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { serveImage } from '../support/served-image.ts';
import {
  INDEX_TYPE,
  listReferrers,
  type Referrer,
  type ServedIndex,
  serveIndex,
  tagReferrers,
} from '../support/served-index.ts';
import { writeTar } from '../support/tar-bytes.ts';

const layerOf = (name: string): Buffer =>
  gzipSync(Buffer.from(writeTar([member(name, { content: Buffer.from(`${name}\n`) })]).bytes));
const lower = layerOf('lower');
const upper = layerOf('upper');
const IMAGE_LIST = 'application/vnd.peel.image-index.v1';
const OTHERS = { mediaType: 'application/x', digest: sha256Digest('x'), size: 1, artifactType: 'a/b' };

let maker: PeelUser;
let user: PeelUser;
let server: ScriptedServer;
let image: string;
beforeEach(async () => {
  maker = new PeelUser();
  user = new PeelUser();
  server = await startScriptedServer();
  serveImage(server, 'app', [lower, upper]);
  image = `${server.address}/app`;
});
afterEach(async () => {
  await server.close();
  maker.close();
  user.close();
});

/** The document that a tag of the repository names. */
function manifestOf(tag: string): { bytes: Buffer; digest: string } {
  const at = { path: `/v2/app/manifests/${tag}`, headers: {} } as Parameters<ScriptedServer['content']>[0];
  const bytes = Buffer.from(server.content(at).body ?? '');
  return { bytes, digest: sha256Digest(bytes) };
}

/** A list as its own referrers have it. */
function listOf({ referrers }: ServedIndex): Referrer {
  const list = [...referrers.values()].find(({ artifactType }) => artifactType === IMAGE_LIST);
  if (list === undefined) throw new Error('no list');
  return list;
}

async function classesOf(...args: string[]): Promise<{ classes: string; stderr: string }> {
  const { status, stdout, stderr } = await user.run(['layers', '--format', 'jsonl', ...args]);
  const rows = stdout.toString().trim().split('\n');
  const classes = rows.map((row) => (JSON.parse(row) as { verificationClass: string }).verificationClass);
  return { classes: `${status} ${classes.join('')}`, stderr };
}

const referrersAsked = (): number =>
  server.requests.filter(({ path: asked }) => /\/(?:referrers\/|manifests\/sha256-)/.test(asked)).length;

describe('an index that nothing names', () => {
  test.each(['API', 'tag'])('is found by the manifest of the image (E218): %s', async (by) => {
    const served = await serveIndex(server, 'app', maker, image);
    const { digest } = manifestOf('latest');
    if (by === 'tag') tagReferrers(server, 'app', digest, [OTHERS, listOf(served)]);
    else listReferrers(server, 'app', (subject) => (subject === digest ? [OTHERS, listOf(served)] : []));
    expect(await classesOf('--allow-unverified', image)).toEqual({ classes: '0 DD', stderr: '' });
    expect((await classesOf(image)).classes).toBe('0 AA');
  });

  test('is checked where that is asked for: class A, or exit status 6 where a layer is another one (B4)', async () => {
    const { referrers } = await serveIndex(server, 'app', maker, image);
    listReferrers(server, 'app', (subject) => [referrers.get(subject) ?? OTHERS]);
    const list = ['ls', '--allow-unverified', '--check-unverified', 'wait', image];
    expect(await user.run(list)).toMatchObject({ status: 0, stdout: Buffer.from('lower\nupper\n') });
    expect((await classesOf('--allow-unverified', image)).classes).toBe('0 AA');
    const another = new PeelUser();
    try {
      // Of the same length, and the index is of the right one.
      const wrong = Buffer.from(upper);
      wrong.writeUInt8((upper[4] ?? 0) ^ 1, 4);
      server.rule({ path: `/v2/app/blobs/${sha256Digest(upper)}`, reply: { body: wrong } });
      const told = await another.run(list);
      expect([told.status, told.stdout.toString()]).toEqual([6, 'lower\nupper\n']);
      expect(told.stderr).toContain('do not trust what was shown');
      const left = await another.run(['ls', '--allow-unverified', '--offline', image]);
      expect(left.status).not.toBe(0);
    } finally {
      another.close();
    }
  });

  test('is found through an image index, by the manifest of the platform', async () => {
    const { bytes, digest } = manifestOf('latest');
    const platform = { os: 'linux', architecture: 'amd64' };
    const other = { ...platform, architecture: 's390x' };
    const mediaType = 'application/vnd.oci.image.manifest.v1+json';
    const manifests = [
      { mediaType, digest: sha256Digest('other'), size: 5, platform: other },
      { mediaType, digest, size: bytes.length, platform },
    ];
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests }));
    server.addManifest('app', 'multi', index, INDEX_TYPE);
    const multi = ['--platform', 'linux/amd64', `${image}@${sha256Digest(index)}`];
    const served = await serveIndex(server, 'app', maker, image);
    listReferrers(server, 'app', (subject) => (subject === digest ? [listOf(served)] : []));
    expect((await classesOf('--allow-unverified', ...multi)).classes).toBe('0 DD');
    expect((await classesOf('--index-digest', served.pin, ...multi)).classes).toBe('0 CC');
  });

  test.each(['API', 'tag'])('is found by a layer that it shares with another image: %s', async (by) => {
    const { referrers } = await serveIndex(server, 'app', maker, image);
    // The tag is another image now, with the lower layer of the one that was indexed.
    serveImage(server, 'app', [lower, layerOf('another')]);
    const ofLayer = referrers.get(sha256Digest(lower));
    if (by === 'tag') tagReferrers(server, 'app', sha256Digest(lower), [OTHERS, ofLayer]);
    else listReferrers(server, 'app', (subject) => [OTHERS, referrers.get(subject) ?? OTHERS]);
    expect(await classesOf('--allow-unverified', image)).toEqual({ classes: '0 DA', stderr: '' });
    const { stdout } = await user.run(['ls', '--allow-unverified', image]);
    expect(stdout.toString()).toBe('another\nlower\n');
  });

  test('of another layer is refused, and the layer is read as a whole', async () => {
    const { referrers } = await serveIndex(server, 'app', maker, image);
    listReferrers(server, 'app', (subject) =>
      subject === sha256Digest(lower) ? [referrers.get(sha256Digest(upper))] : [],
    );
    const { classes, stderr } = await classesOf('--allow-unverified', image);
    expect(classes).toBe('0 AA');
    expect(stderr).toMatch(/index that refers to the image cannot be used: sha256:\w+ is of another layer/);
  });

  test('is found behind others of its kind that cannot be read, and a thousand of other kinds', async () => {
    const served = await serveIndex(server, 'app', maker, image);
    const broken = {
      ...listOf(served),
      ...server.addManifest('app', undefined, Buffer.from('{}'), INDEX_TYPE),
    };
    const missing = { ...listOf(served), digest: sha256Digest('nothing') };
    const malformed = [null, 7, {}, { ...listOf(served), digest: 'md5:1' }, { ...listOf(served), size: -1 }];
    const others = [
      ...Array.from({ length: 1000 }, () => OTHERS),
      ...malformed,
      broken,
      missing,
      listOf(served),
    ];
    const { digest } = manifestOf('latest');
    listReferrers(server, 'app', (subject) => (subject === digest ? others : []), 100);
    expect(await classesOf('--allow-unverified', image)).toEqual({ classes: '0 DD', stderr: '' });
  });
});

describe('what a registry says of referrers is not needed to read an image', () => {
  const answers: readonly (readonly [string, Reply, RegExp])[] = [
    ['has no such list', { status: 404 }, /^$/],
    ['says that it is down', { status: 400 }, /status 400/],
    [
      'wants other credentials',
      { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
      /password/,
    ],
    ['forbids it', { status: 403 }, /status 403/],
    ['sends a web page', { headers: { 'content-type': 'text/html' }, body: '<html>' }, /no JSON object/],
    ['sends an endless page', { body: ' '.repeat(5 * 1024 * 1024) }, /longer than 4194304 bytes/],
    ['lists nothing', { body: '{"manifests":null}' }, /^$/],
  ];

  test.each(answers)(
    'where it %s: with --allow-unverified there is a warning at most',
    async (_, reply, why) => {
      server.rule({ path: /\/referrers\//, reply });
      const { status, stdout, stderr } = await user.run(['ls', '--allow-unverified', image]);
      expect([status, stdout.toString()]).toEqual([0, 'lower\nupper\n']);
      expect(stderr).toMatch(why);
      // One for an index of ours, one for a SOCI index.
      expect(stderr.trim().split('\n').length).toBeLessThan(3);
    },
  );

  test.each(answers)('where it %s: without, there is no word of it', async (_, reply) => {
    server.rule({ path: /\/referrers\//, reply });
    const { status, stdout, stderr } = await user.run(['ls', image]);
    expect([status, stdout.toString(), stderr]).toEqual([0, 'lower\nupper\n', '']);
  });

  test.each([
    ['no JSON', Buffer.from('tag'), /no JSON object/],
    ['an image', Buffer.from('{"schemaVersion":2,"config":{},"layers":[]}'), /^$/],
    ['too long', Buffer.alloc(5 * 1024 * 1024, ' '), /longer than/],
  ])('where the tag is %s', async (_, bytes, why) => {
    server.addManifest('app', manifestOf('latest').digest.replace(':', '-'), bytes, INDEX_TYPE);
    const { status, stdout, stderr } = await user.run(['ls', '--allow-unverified', image]);
    expect([status, stdout.toString()]).toEqual([0, 'lower\nupper\n']);
    expect(stderr).toMatch(why);
    const plain = await maker.run(['ls', image]);
    expect([plain.status, plain.stderr]).toEqual([0, '']);
  });

  test('where it does not answer', async () => {
    server.rule({ path: /\/referrers\//, reply: { silent: true } });
    const { status, stdout, stderr } = await user.run(['ls', image]);
    expect([status, stdout.toString(), stderr]).toEqual([0, 'lower\nupper\n', '']);
  });
});

describe('a pass over an image that has an index beside it', () => {
  /** `peel ls ARGS`, or another command. Layers come once the line is there. */
  function lsAfterWord(...args: string[]): Promise<{ status: number | undefined; stderr: string }> {
    return afterWord(['ls', ...args, image], args.length === 0);
  }

  async function afterWord(
    words: readonly string[],
    isExpected: boolean,
  ): Promise<{ status: number | undefined; stderr: string }> {
    let release = (): void => {};
    const said = new Promise<void>((resolve) => {
      release = resolve;
    });
    const late = setTimeout(release, 10_000);
    const layer = new RegExp(`/blobs/(?:${sha256Digest(lower)}|${sha256Digest(upper)})`);
    server.rule({ path: layer, reply: async (request) => said.then(() => server.content(request)) });
    try {
      return await user.run(words, {
        onStart: (child) => {
          child.stderr?.on('data', () => release());
          if (!isExpected) release();
        },
      });
    } finally {
      clearTimeout(late);
    }
  }

  test.each(['API', 'tag'])('says so in one line, with what to do about it: %s', async (by) => {
    const served = await serveIndex(server, 'app', maker, image);
    const { digest } = manifestOf('latest');
    if (by === 'tag') tagReferrers(server, 'app', digest, [OTHERS, listOf(served)]);
    else listReferrers(server, 'app', (subject) => (subject === digest ? [listOf(served)] : []));
    const { status, stderr } = await lsAfterWord();
    expect(status).toBe(0);
    expect(stderr.trim().split('\n').length).toBe(1);
    expect(stderr).toContain(`--index-digest ${served.pin}`);
    expect(stderr).toContain('--allow-unverified');
    // Once the layers are known, there is nothing to say.
    const asked = referrersAsked();
    expect((await user.run(['ls', image])).stderr).toBe('');
    expect(referrersAsked()).toBe(asked);
  });

  test.skipIf(whyNoMounts() !== undefined)('says so also of a mount in the background', async () => {
    const served = await serveIndex(server, 'app', maker, image);
    listReferrers(server, 'app', () => [listOf(served)]);
    const place = path.join(user.work, 'mnt');
    mkdirSync(place);
    try {
      const { status, stderr } = await afterWord(['mount', '--progress', 'none', image, place], true);
      expect(status).toBe(0);
      expect(stderr).toContain(`--index-digest ${served.pin}`);
    } finally {
      await user.run(['umount', '--lazy', place]);
    }
  });

  test.each([['-q'], ['--log-level', 'silent']])('says nothing of it with %s', async (...args) => {
    const served = await serveIndex(server, 'app', maker, image);
    listReferrers(server, 'app', () => [listOf(served)]);
    expect(await lsAfterWord(...args)).toMatchObject({ status: 0, stderr: '' });
    expect(referrersAsked()).toBe(0);
  });

  test('that was asked for by peel index says nothing of it', async () => {
    const served = await serveIndex(server, 'app', maker, image);
    listReferrers(server, 'app', () => [listOf(served)]);
    expect((await user.run(['index', 'build', image])).stderr).toBe('');
    expect(referrersAsked()).toBe(0);
  });

  test('asks no host but the registry, and shows it no more than it is shown anyway', async () => {
    const other = await startScriptedServer();
    try {
      const next = `<${other.origin}/v2/app/referrers/x?last=1>; rel="next"`;
      let pages = 0;
      server.rule({
        path: /\/referrers\//,
        reply: () => {
          pages += 1;
          return { headers: pages === 1 ? { link: next } : {}, body: '{"manifests":[]}' };
        },
      });
      expect((await user.run(['ls', '--allow-unverified', image])).status).toBe(0);
      expect([other.requests, pages > 1]).toEqual([[], true]);
    } finally {
      await other.close();
    }
  });
});

describe('peel index list', () => {
  test('shows what lies beside an image: of the image and of its layers, usable or not', async () => {
    const served = await serveIndex(server, 'app', maker, image);
    const broken = server.addManifest('app', undefined, Buffer.from('{}'), INDEX_TYPE);
    const { digest } = manifestOf('latest');
    const ofUpper = served.referrers.get(sha256Digest(upper));
    listReferrers(server, 'app', (subject) => {
      if (subject === digest) return [OTHERS, listOf(served), { ...listOf(served), ...broken }];
      return subject === sha256Digest(upper) ? [ofUpper] : [];
    });
    const { status, stdout, stderr } = await user.run(['index', 'list', image]);
    expect([status, stderr]).toEqual([0, '']);
    const [heading = '', ...rows] = stdout.toString().trim().split('\n');
    expect(heading).toMatch(/^OF +INDEX +SIZE +LAYERS +RESULT$/);
    expect(rows.map((row) => row.replace(/ \d+ (?:k?B) /, ' ').replace(/ +/g, ' '))).toEqual([
      expect.stringMatching(new RegExp(`^image ${served.pin} .* 2 of 2 usable$`)),
      expect.stringMatching(new RegExp(`^image ${broken.digest} .*0 of 2 it cannot be read .*`)),
      expect.stringMatching(new RegExp(`^layer 1 ${ofUpper?.digest} .*1 of 2 usable$`)),
    ]);
    const listed = await user.run(['index', 'list', '--format', 'jsonl', image]);
    const [first] = listed.stdout.toString().split('\n');
    expect(JSON.parse(first ?? '')).toMatchObject({
      digest: served.pin,
      size: listOf(served).size,
      subject: digest,
      layers: [0, 1],
    });
    // No layer was read for it.
    expect(
      server.requests.filter(({ path: asked }) => asked.endsWith(`/blobs/${sha256Digest(upper)}`)).length,
    ).toBe(1);
  });

  test('needs a registry to ask', async () => {
    await user.run(['ls', image]);
    const offline = await user.run(['index', 'list', '--offline', image]);
    expect([offline.status, offline.stderr]).toEqual([5, expect.stringMatching(/--offline forbids/)]);
  });
});
