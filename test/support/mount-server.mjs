// Mounts a literal tree and serves it, as `peel mount -f` does an image: node mount-server.mjs REQUEST.json
// Says `ready MOUNTPOINT`, or `failed CODE MESSAGE` and exits 1. Log records go to standard error.
import { readFileSync } from 'node:fs';
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

const say = (text) => process.stdout.write(`${text}\n`);
const { tree, contents, reads } = buildLiteral(request.root, (code, message) => new PeelError(code, message));
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
