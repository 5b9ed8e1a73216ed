/**
 * Layers of several images as a drawing: what images have in common from the lowest layer up stands once, as one run of
 * lines, and the drawing branches where they part. An image hangs on its topmost layer.
 *
 *   8d612dc4a084   49.2 MB  5.5 MB cached
 *   ├── debian:12  linux/amd64  49.2 MB
 *   └── a6904112c044   18.0 MB
 *       └── python:3  linux/amd64  67.2 MB
 */
import type { KnownImage, KnownLayer } from './known-images.ts';
import { quoteText } from './quote.ts';
import { decimalSize } from './size.ts';

/** Layers that the same images have on top of the same lower ones. */
interface Run {
  readonly layers: readonly KnownLayer[];
  /** Those that end here. */
  readonly images: readonly KnownImage[];
  readonly above: readonly Run[];
}

export function drawLayerTree(images: readonly KnownImage[], shorten: (digest: string) => string): string {
  const lines: string[] = [];
  const layerLine = (layer: KnownLayer): string => {
    const cached = layer.isIndexed ? `${decimalSize(layer.cachedBytes)} cached` : 'not indexed';
    return `${shorten(layer.digest)}  ${decimalSize(layer.size)}  ${cached}`;
  };
  const imageLine = (image: KnownImage): string =>
    `${quoteText(image.name)}  ${quoteText(image.platform)}  ${decimalSize(image.size)}`;
  const draw = (run: Run, first: string, rest: string): void => {
    for (const [index, layer] of run.layers.entries()) {
      lines.push(`${index === 0 ? first : rest}${layerLine(layer)}`);
    }
    const branches = run.images.length + run.above.length;
    const stem = (index: number): string => `${rest}${index === branches - 1 ? '└── ' : '├── '}`;
    for (const [index, image] of run.images.entries()) lines.push(`${stem(index)}${imageLine(image)}`);
    for (const [index, above] of run.above.entries()) {
      const at = run.images.length + index;
      draw(above, stem(at), `${rest}${at === branches - 1 ? '    ' : '│   '}`);
    }
  };
  // Images without any layer have no run to hang on.
  for (const image of images) if (image.layers.length === 0) lines.push(imageLine(image));
  for (const run of runsAt(images, 0)) draw(run, '', '');
  return [...lines, summary(images), ''].join('\n');
}

/** The images, which agree below `depth`, by what they have there. */
function runsAt(images: readonly KnownImage[], depth: number): readonly Run[] {
  const groups = new Map<string, KnownImage[]>();
  for (const image of images) {
    const layer = image.layers[depth];
    if (layer === undefined) continue;
    const group = groups.get(layer.digest);
    if (group === undefined) groups.set(layer.digest, [image]);
    else group.push(image);
  }
  return [...groups.values()].map((group) => runOf(group, depth));
}

function runOf(images: readonly KnownImage[], depth: number): Run {
  const [first, ...others] = images;
  const longest = first?.layers ?? [];
  let end = depth + 1;
  while (end < longest.length && others.every(({ layers }) => layers[end]?.digest === longest[end]?.digest)) {
    end += 1;
  }
  return {
    layers: longest.slice(depth, end),
    images: images.filter(({ layers }) => layers.length === end),
    above: runsAt(images, end),
  };
}

function summary(images: readonly KnownImage[]): string {
  const once = new Map(images.flatMap(({ layers }) => layers.map((layer) => [layer.digest, layer.size])));
  const stored = [...once.values()].reduce((sum, size) => sum + size, 0);
  const named = images.reduce((sum, { size }) => sum + size, 0);
  const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`;
  return `${count(images.length, 'image')}, ${count(once.size, 'layer')}, ${decimalSize(stored)}; ${decimalSize(named - stored)} shared`;
}
