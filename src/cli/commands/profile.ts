/** `peel profile`: what the starts of an image read, shown, and carried to another machine. */
import { writeFile } from 'node:fs/promises';
import { openCacheDir } from '../../blob/cache-dir.ts';
import { PeelError, systemCodeOf } from '../../errors.ts';
import { ProfileStore } from '../../image/profile-store.ts';
import { encodeProfile, type StartProfile, stableRanges } from '../../image/start-profile.ts';
import type { Digest } from '../../units.ts';
import { type Context, defineCommand } from '../command.ts';
import { writeDocument } from '../json-output.ts';
import { readProfileFile } from '../profile-file.ts';
import { decimalSize } from '../size.ts';
import { formatTable } from '../table.ts';

const OPTIONS = {} as const;

type ProfileContext = Context<typeof OPTIONS>;

export const profile = defineCommand({
  name: 'profile',
  summary: 'show, export or import what the starts of an image read',
  usage: ['show IMAGE', 'export IMAGE [FILE]', 'import FILE'],
  details: [
    'Each mount notes what the start of a program on it reads, in the cache; the next start has that fetched ahead. A profile names bytes by layer and place, and holds none.',
    'show: how much of each layer; starts: of how many starts it knows, 8 at most. export: to FILE or standard output. import: into the cache, in place of what was noted here of that image.',
  ],
  options: OPTIONS,
  minArgs: 2,
  maxArgs: 3,
  async run(context) {
    const [action = '', name = '', file] = context.args;
    if (action !== 'export' && file !== undefined) {
      throw new PeelError('ERR_USAGE', `profile ${action}: unexpected argument '${file}'`);
    }
    if (action === 'show') await show(context, await noted(context, name));
    else if (action === 'export') await exportTo(context, encodeProfile(await noted(context, name)), file);
    else if (action === 'import') await importFrom(context, name);
    else throw new PeelError('ERR_USAGE', `profile: '${action}' is none of show, export, import`);
    return 0;
  },
});

async function noted(context: ProfileContext, name: string): Promise<StartProfile> {
  const image = await context.openImage(name);
  const found = await image.profiles.load(image.digest);
  if (found !== undefined) return found;
  throw new PeelError(
    'ERR_USAGE',
    `profile ${name}: no start of it was noted here: mount it, start a program on it, and end the mount`,
    { facts: { digest: image.digest } },
  );
}

async function show(context: ProfileContext, found: StartProfile): Promise<void> {
  const { image, starts, ranges } = found;
  const stable = new Set(stableRanges(found));
  if (context.settings.format !== 'table') {
    await writeDocument(context, {
      image,
      starts,
      ranges: ranges.map((range) => ({ ...range, isReplayed: stable.has(range) })),
    });
    return;
  }
  const bytesIn = (layer: Digest, isCounted: (range: (typeof ranges)[number]) => boolean): number =>
    ranges.reduce(
      (sum, range) => (range.layer === layer && isCounted(range) ? sum + range.end - range.start : sum),
      0,
    );
  const rows = [...new Set(ranges.map(({ layer }) => layer))].map((layer) => [
    layer,
    String(ranges.filter((range) => range.layer === layer).length),
    decimalSize(bytesIn(layer, () => true)),
    decimalSize(bytesIn(layer, (range) => stable.has(range))),
  ]);
  const table = formatTable(
    [
      { heading: 'LAYER' },
      { heading: 'RANGES', alignRight: true },
      { heading: 'READ', alignRight: true },
      { heading: 'REPLAYED', alignRight: true },
    ],
    rows,
  );
  await context.stdout.write(`starts ${starts}\n${table}`);
}

async function exportTo(context: ProfileContext, bytes: Buffer, file: string | undefined): Promise<void> {
  if (file === undefined) {
    await context.stdout.write(bytes);
    return;
  }
  try {
    await writeFile(file, bytes);
  } catch (error) {
    throw new PeelError('ERR_IO', `writing the profile ${file}: ${systemCodeOf(error) ?? String(error)}`, {
      facts: { path: file },
      cause: error,
    });
  }
}

async function importFrom(context: ProfileContext, file: string): Promise<void> {
  const found = readProfileFile(file);
  const cache = await openCacheDir(context.settings.cacheDir);
  try {
    await new ProfileStore(cache.versionDir).save(found);
  } finally {
    await cache.close();
  }
  if (context.settings.format === 'table') await context.stdout.write(`${found.image}\n`);
  else await writeDocument(context, { image: found.image });
}
