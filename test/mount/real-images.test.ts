/**
 * Real images, mounted by the program and walked by another one, against their reference listings: what the
 * kernel says of every entry, and the sha256 of every byte that it reads.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { imagesDir } from '../support/images.ts';
import { STARGZ_ROWS } from '../support/listing.ts';
import {
  closeMounts,
  DIST,
  PASSTHROUGH,
  python,
  run,
  temporaryFolder,
  transportFlags,
  WAYS,
  whyNoMounts,
} from '../support/mount-child.ts';

const images = imagesDir();
/** Each with the platform that its first listing is of. */
const IMAGES = [
  ['busybox with its 400 hard links', 'layouts/busybox/latest-glibc-amd64', 'linux/amd64'],
  ['device nodes', 'layouts/apko/golden', 'linux/amd64'],
  ['14 layers, gzip', 'layouts/derived/gzip-skopeo-dive-14layers', 'linux/amd64'],
  ['14 layers, zstd', 'layouts/derived/zstd-skopeo-dive-14layers', 'linux/amd64'],
  ['14 layers by their eStargz index', 'layouts/derived/estargz-dive-14layers-64k', 'linux/amd64'],
  [
    '14 layers by their zstd:chunked index',
    'layouts/derived/zstdchunked-skopeo-dive-14layers',
    'linux/amd64',
  ],
  ['50 layers', 'layouts/oci-tools/many-layers', 'linux/amd64'],
  ['an opaque directory', 'layouts/oci-tools/whiteout-opaque', 'linux/amd64'],
  ['a hard link with an attribute', 'layouts/oci-tools/hard-link-delete-xattr', 'linux/amd64'],
] as const;

/** A row a name, its fields as in the listings; the mount point is the first argument. */
const WALK = `import errno, hashlib, json, os, stat, sys
top = os.fsencode(sys.argv[1])
rows = []
def row(path):
    real = top + path
    s = os.lstat(real)
    letter = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}[stat.S_IFMT(s.st_mode)]
    content = ""
    if letter == "f": content = hashlib.sha256(open(real, "rb").read()).hexdigest()
    if letter == "l": content = os.fsdecode(os.readlink(real))
    if letter in "cb": content = "%d:%d" % (os.major(s.st_rdev), os.minor(s.st_rdev))
    try:
        names = sorted(os.listxattr(real, follow_symlinks=False))
    except OSError as error:
        if error.errno != errno.ENOTSUP: raise
        names = []  # an image without any says so
    attributes = ",".join("%s=%r" % (n, os.fsdecode(os.getxattr(real, n, follow_symlinks=False))) for n in names)
    rows.append("\\t".join(map(str, [os.fsdecode(path) or "/", letter, oct(stat.S_IMODE(s.st_mode))[2:], s.st_uid, s.st_gid,
        int(s.st_mtime), s.st_size, content, s.st_nlink, attributes])))
    if letter == "d":
        for name in os.listdir(real): row(path + b"/" + name)
row(b"")
print(json.dumps(rows))`;

afterEach(closeMounts);

describe.skipIf(whyNoMounts() !== undefined || images === undefined).each(WAYS)(
  'a mounted image equals its listing (%s)',
  (transport) => {
    test.each(IMAGES)('%s', async (_what, name, platform) => {
      const home = temporaryFolder();
      const env = {
        PATH: process.env['PATH'],
        HOME: home,
        XDG_RUNTIME_DIR: path.join(home, 'run'),
        XDG_CACHE_HOME: path.join(home, 'cache'),
        PEEL_TEST_RUN: process.env['PEEL_TEST_RUN'],
      };
      const place = path.join(home, 'mnt');
      for (const folder of ['run', 'cache', 'mnt']) mkdirSync(path.join(home, folder), { mode: 0o700 });
      const peel = (...args: string[]) =>
        run(process.execPath, [path.join(DIST, 'cli/main.js'), ...args], { env });
      const listing = readFileSync(path.join(images ?? '', 'listings', `${name}.o0.tsv`), 'utf8');
      const wanted = listing
        .replace(/\n$/, '')
        .split('\n')
        .filter((line) => !STARGZ_ROWS.test(line))
        .map((line) => line.split('\t').slice(0, 10).join('\t'));

      const stored = path.join(images ?? '', name);
      const mounted = await peel(
        'mount',
        ...(transport === PASSTHROUGH ? ['--passthrough'] : transportFlags(transport)),
        '--platform',
        platform,
        `oci:${stored}`,
        place,
      );
      try {
        expect(mounted).toEqual({ status: 0, stdout: `${place}\n`, stderr: '' });
        // What the first walk reads, the second may find in backing files.
        if (transport === PASSTHROUGH) await python(WALK, place);
        const rows = (await python(WALK, place)) as string[];
        expect(rows.sort()).toEqual(wanted.sort());
        expect(rows.length).toBeGreaterThan(2);
      } finally {
        expect(await peel('umount', place)).toMatchObject({ status: 0 });
      }
    });
  },
);
