/** `peel prefetch`: brings content into the cache before it is read. */
import { PeelError } from '../../errors.ts';
import type { StartProfile } from '../../image/start-profile.ts';
import type { Image } from '../../image.ts';
import type { Node } from '../../tree/node.ts';
import { type Context, defineCommand } from '../command.ts';
import { imagePath } from '../image-path.ts';
import { writeDocument } from '../json-output.ts';
import { readProfileFile } from '../profile-file.ts';
import { decimalSize } from '../size.ts';
import { type Child, walk } from '../walk.ts';

const OPTIONS = {
  profile: { type: 'string', value: 'FILE', summary: 'what this profile names' },
} as const;

type PrefetchContext = Context<typeof OPTIONS>;

export const prefetch = defineCommand({
  name: 'prefetch',
  summary: 'fetch files, or what starts read, into the cache',
  usage: ['IMAGE PATH...', '[--profile FILE] IMAGE'],
  details: [
    'PATH: files, and directories with all that is in them; / is the whole image. Without PATH what half of the starts that were noted here, or in the profile, have read.',
    'In few requests, verified as every read is. What is in the cache already is not fetched again.',
  ],
  options: OPTIONS,
  minArgs: 1,
  maxArgs: Number.POSITIVE_INFINITY,
  async run(context) {
    const [name = '', ...paths] = context.args;
    if (paths.length > 0 && context.flags.profile !== undefined) {
      throw new PeelError('ERR_USAGE', 'prefetch: name paths or --profile, not both');
    }
    const given = context.flags.profile === undefined ? undefined : readProfileFile(context.flags.profile);
    const image = await context.openImage(name);
    const { signal, progress } = context;
    const onProgress = (bytes: number, size: number): void => {
      const isDone = bytes === size;
      progress.layerProgress({ layer: -1, layerCount: 0, doing: 'fetching', bytes, size, isDone });
    };
    if (paths.length > 0) {
      const { bytes, runs } = await image.prefetch(await filesAt(image, paths), signal, onProgress);
      progress.clear();
      await tell(context, bytes, runs.length);
      return 0;
    }
    const profile = given ?? (await notedProfile(image));
    const { bytes, runs, strays } = await image.prefetchProfile(profile, signal, onProgress);
    progress.clear();
    if (strays > 0)
      await context.warn(`${strays} ranges of the profile are not in ${name}, and were left out`);
    await tell(context, bytes, runs.length);
    return 0;
  },
});

async function notedProfile(image: Image): Promise<StartProfile> {
  const found = await image.profiles.load(image.digest);
  if (found !== undefined) return found;
  throw new PeelError(
    'ERR_USAGE',
    `prefetch ${image.name}: no start of it was noted here; name paths (/ for all), or a --profile`,
  );
}

/** All files that the paths lead to, each once. */
async function filesAt(image: Image, paths: readonly string[]): Promise<Iterable<Node>> {
  const files = await image.filesystem();
  const found = new Map<number, Node>();
  for (const text of paths) {
    const path = imagePath(text);
    const node = files.resolve(path, { follow: true });
    if (node.kind === 'file') found.set(node.ino, node);
    for (const { node: below } of node.kind === 'dir' ? walk(node, path, childrenOf) : []) {
      if (below.kind === 'file') found.set(below.ino, below);
    }
  }
  return found.values();
}

function childrenOf(directory: Node): readonly Child[] {
  return [...(directory.children ?? [])];
}

async function tell(context: PrefetchContext, fetchedBytes: number, requests: number): Promise<void> {
  if (context.settings.format !== 'table') await writeDocument(context, { fetchedBytes, requests });
  else await context.stdout.write(`fetched ${decimalSize(fetchedBytes)}\n`);
}
