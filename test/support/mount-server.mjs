// Mounts a literal tree and serves it, as `peel mount -f` does an image: node mount-server.mjs REQUEST.json
// Says `ready MOUNTPOINT`, or `failed CODE MESSAGE` and exits 1. Log records go to standard error.
import { readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { buildLiteral } from './literal-tree.mjs';

const request = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const load = (file) => import(pathToFileURL(path.join(request.dist, file)).href);
const [{ mountImage }, { serve }, { FileSystem }, { PeelError }, { configureLog }] = await Promise.all(
  ['mount.js', 'fuse/serve.js', 'filesystem/filesystem.js', 'errors.js', 'log.js'].map(load),
);
configureLog('info', 2);
const transportOf = {
  native: async () => (await load('fuse/native-transport.js')).nativeTransport,
  'fuse-native': async () => (await load('fuse/fuse-native-transport.js')).fuseNativeTransport,
};

function writeSpans(folder, layer, spanBytes) {
  const count = Math.ceil(layer.length / spanBytes);
  const ends = Float64Array.from({ length: count }, (_, span) =>
    Math.min((span + 1) * spanBytes, layer.length),
  );
  const map = Buffer.alloc(16 + 8 * count);
  map.write('peelmap1', 'latin1');
  map.writeUInt32LE(count, 8);
  ends.forEach((end, span) => {
    map.writeUInt32LE(end - (ends[span - 1] ?? 0), 16 + 4 * span);
    map.writeUInt32LE(1, 16 + 4 * (count + span)); // used long ago
  });
  const spansPath = path.join(folder, 'spans');
  const mapPath = path.join(folder, 'spans.map');
  writeFileSync(spansPath, layer, { mode: 0o600 });
  writeFileSync(mapPath, map, { mode: 0o600 });
  return { spansPath, mapPath, ends };
}

const say = (text) => process.stdout.write(`${text}\n`);
const { tree, contents, reads, layer } = buildLiteral(
  request.root,
  (code, message) => new PeelError(code, message),
);
// A cache of the layer as src/blob/ would lay it out, whose spans are all verified again at every moment: what a server
// that reads them by itself may do with them is then a matter of the files alone.
if (request.spansFolder !== undefined) {
  const { spansPath, mapPath, ends } = writeSpans(request.spansFolder, layer, request.spanBytes);
  contents.watch = (watcher) => {
    watcher.layerOpened(0, { spansPath, mapPath, ends });
    setInterval(() => ends.forEach((_, span) => watcher.spanStored(0, span)), 1);
  };
}
if (request.backingFolder !== undefined) {
  contents.backingFile = async (_layer, { start, end }) => {
    const file = path.join(request.backingFolder, `file-${start}-${end}`);
    writeFileSync(file, layer.subarray(start, end), { mode: 0o400 });
    return { path: file, handle: await open(file) };
  };
}
const image = {
  name: request.name,
  digest: `sha256:${'0'.repeat(64)}`,
  filesystem: async () => new FileSystem(tree, contents),
  reload: () => say('reloaded'),
  stats: () => ({ reads: reads.length }),
  close: async () => say('image closed'),
};
try {
  const transport = await transportOf[request.transport]();
  const mounted = await mountImage(image, request.place, { ...request.options, transport });
  const served = serve(mounted, { signals: process, tell: (message) => say(`told ${message}`) });
  say(`ready ${mounted.mountPoint}`);
  await served;
  say('served');
  process.exit(0);
} catch (error) {
  say(`failed ${error.code ?? 'bug'} ${error.message}`);
  process.exit(1);
}
