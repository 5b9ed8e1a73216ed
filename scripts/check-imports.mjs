// The one table of which folder may import which (docs/ARCHITECTURE.md). `findViolations` is what both
// `npm run check` and test/imports.test.ts run; the test also plants a violation.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const LEAVES = ['errors', 'log', 'metrics', 'units', 'storage'];

/** Part of src/ to the parts it may import; every part may import itself and the leaves. */
export const MAY_IMPORT = {
  cli: [
    'container',
    'mount',
    'image',
    'fuse',
    'filesystem',
    'tree',
    'blob',
    'layer',
    'native',
    'source',
    'reference',
  ],
  container: [
    'mount',
    'image',
    'fuse',
    'filesystem',
    'tree',
    'blob',
    'layer',
    'native',
    'source',
    'reference',
  ],
  mount: ['image', 'fuse', 'filesystem', 'tree', 'blob', 'layer', 'native', 'source', 'reference'],
  image: ['filesystem', 'tree', 'blob', 'layer', 'native', 'source', 'reference'],
  fuse: ['filesystem', 'native', 'native-fuse', 'tree'],
  filesystem: ['tree', 'blob'],
  tree: ['layer', 'native'],
  blob: ['layer', 'native'],
  layer: ['native'],
  source: ['reference'],
  reference: [],
  native: [],
  'native-fuse': ['native'],
  errors: [],
  log: [],
  metrics: [],
  units: [],
  storage: [],
};

/** Packages that only one place may use. */
export const OWNER_OF_PACKAGE = {
  '@grpc/grpc-js': /^container\/snapshotter\//,
  '@grpc/proto-loader': /^container\/snapshotter\//,
  undici: /^source\/registry\//,
  'lru-cache': /^blob\//,
  'tar-stream': /^source\/archive\//,
  'smol-toml': /^source\/registry\//,
  'fuse-native': /^fuse\//,
  pino: /^log\.ts$/,
};

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s(?:[^'";]*?\sfrom\s)?\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)/g;

/** `cli/main.ts` -> `cli`; `image.ts` -> `image`. */
function partOf(file) {
  return file.includes('/') ? file.slice(0, file.indexOf('/')) : file.replace(/\.ts$/, '');
}

export function sourceFiles(root) {
  const src = path.join(root, 'src');
  return readdirSync(src, { recursive: true })
    .map((name) => name.split(path.sep).join('/'))
    .filter((name) => name.endsWith('.ts'))
    .sort((a, b) => (a < b ? -1 : 1));
}

/** Violations in one file's text, as sentences. `file` is relative to src/, with slashes. */
export function violationsIn(file, text) {
  const found = [];
  const part = partOf(file);
  const allowed = MAY_IMPORT[part];
  if (allowed === undefined) return [`src/${file}: ${part} has no row in scripts/check-imports.mjs`];
  for (const match of text.matchAll(IMPORT)) {
    const specifier = match[1] ?? match[2];
    if (specifier.startsWith('.')) {
      const target = path.posix.join(path.posix.dirname(file), specifier);
      const to = partOf(target);
      if (target.startsWith('..')) {
        if (target !== '../package.json') found.push(`src/${file}: imports ${specifier}, outside src/`);
      } else if (to !== part && !allowed.includes(to) && !LEAVES.includes(to)) {
        found.push(`src/${file}: imports ${specifier}, but ${part} may not import ${to}`);
      }
    } else if (!specifier.startsWith('node:')) {
      const name = specifier.startsWith('@') ? specifier.split('/', 2).join('/') : specifier.split('/', 1)[0];
      const owner = OWNER_OF_PACKAGE[name];
      if (owner === undefined) found.push(`src/${file}: package ${name} is in no row of OWNER_OF_PACKAGE`);
      else if (!owner.test(file))
        found.push(`src/${file}: package ${name} may only be used in ${owner.source}`);
    }
  }
  return found;
}

export function findViolations(root) {
  const files = sourceFiles(root);
  const violations = files.flatMap((file) =>
    violationsIn(file, readFileSync(path.join(root, 'src', file), 'utf8')),
  );
  return { files, violations };
}
