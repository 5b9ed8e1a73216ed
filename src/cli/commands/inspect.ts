/** `peel inspect`: what an image is and what it runs, from manifest and configuration; no layer is read. */
import type { Image } from '../../image.ts';
import { chainIDs } from '../../reference/identity.ts';
import { formatPlatform } from '../../reference/platform.ts';
import { defineCommand } from '../command.ts';
import { writeDocument } from '../json-output.ts';
import { quoteText } from '../quote.ts';
import { decimalSize } from '../size.ts';
import { formatFields } from '../table.ts';

export const inspect = defineCommand({
  name: 'inspect',
  summary: 'show what an image is and what it runs',
  usage: ['IMAGE'],
  details: ['Only the manifest and the configuration are fetched. --format json has every field.'],
  options: {},
  minArgs: 1,
  maxArgs: 1,
  async run(context) {
    const image = await context.openImage(context.args[0] ?? '');
    if (context.settings.format === 'table') await context.stdout.write(formatImage(image));
    else await writeDocument(context, imageJSON(image));
    return 0;
  },
});

function compressedSize(image: Image): number {
  return image.layers.reduce((sum, layer) => sum + layer.descriptor.size, 0);
}

function imageJSON(image: Image): object {
  const { config, manifest } = image;
  const chains = chainIDs(image.layers.map(({ diffID }) => diffID));
  return {
    name: image.name,
    digest: image.digest,
    ...(image.indexDigest === undefined ? {} : { indexDigest: image.indexDigest }),
    mediaType: manifest.mediaType,
    platform: formatPlatform(image.platform),
    ...(config.created === undefined ? {} : { created: config.created }),
    ...(config.author === undefined ? {} : { author: config.author }),
    configDigest: manifest.config.digest,
    /** Compressed bytes of all layers. */
    size: compressedSize(image),
    layers: image.layers.map(({ descriptor, diffID }, layer) => ({
      digest: descriptor.digest,
      diffID,
      chainID: chains[layer],
      mediaType: descriptor.mediaType,
      size: descriptor.size,
    })),
    annotations: manifest.annotations,
    config: config.runtime,
    history: config.history,
  };
}

function formatImage(image: Image): string {
  const { config, manifest } = image;
  const { runtime } = config;
  return formatFields([
    ['Name', quoteText(image.name)],
    ['Digest', image.digest],
    ['Index', image.indexDigest ?? ''],
    ['Config', manifest.config.digest],
    ['Platform', quoteText(formatPlatform(image.platform))],
    ['Created', quoteText(config.created ?? '')],
    ['Author', quoteText(config.author ?? '')],
    ['Layers', `${image.layers.length} (${decimalSize(compressedSize(image))} compressed)`],
    ['Entrypoint', shownWords(runtime['Entrypoint'])],
    ['Cmd', shownWords(runtime['Cmd'])],
    ['User', shownText(runtime['User'])],
    ['WorkingDir', shownText(runtime['WorkingDir'])],
    ['Env', shownList(runtime['Env'])],
    ['Ports', shownKeys(runtime['ExposedPorts'])],
    ['Volumes', shownKeys(runtime['Volumes'])],
    ['StopSignal', shownText(runtime['StopSignal'])],
    ['Labels', shownPairs(runtime['Labels'])],
    ['Annotations', shownPairs(manifest.annotations)],
  ]);
}

// The values below are whatever the author of the image wrote: of another kind than expected, they are shown as JSON.

function shownText(value: unknown): string {
  if (value === undefined || value === null) return '';
  return quoteText(typeof value === 'string' ? value : JSON.stringify(value));
}

/** `["/bin/sh", "-c"]` as JSON, so that words with blanks stay apart. */
function shownWords(value: unknown): string {
  return value === undefined || value === null ? '' : quoteText(JSON.stringify(value));
}

function shownList(value: unknown): string | readonly string[] {
  return Array.isArray(value) ? value.map(shownText) : shownText(value);
}

function shownKeys(value: unknown): string | readonly string[] {
  return typeof value === 'object' && value !== null ? Object.keys(value).map(quoteText) : shownText(value);
}

function shownPairs(value: unknown): string | readonly string[] {
  if (typeof value !== 'object' || value === null) return shownText(value);
  return Object.entries(value).map(([key, item]) => `${quoteText(key)}=${shownText(item)}`);
}
