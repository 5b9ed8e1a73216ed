/**
 * Builds native/ into build/Release/peel.node; npm runs it as the package's install script.
 *
 * Does nothing where the addon was already built from these very sources for this very Node. Where the build
 * fails, says in one message what is missing and which package of the distribution brings it.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const addon = path.join(root, 'build', 'Release', 'peel.node');
const stampFile = path.join(root, 'build', 'peel.stamp');

/** What the build needs, in the words of each family of distributions. */
const NEEDS = {
  python: { what: 'Python 3 (node-gyp runs on it)', debian: 'python3', fedora: 'python3' },
  make: { what: 'make', debian: 'make', fedora: 'make' },
  compiler: { what: 'a C++17 compiler', debian: 'g++', fedora: 'gcc-c++' },
  zstd: {
    what: 'the static libzstd with zstd.h',
    debian: 'libzstd-dev',
    fedora: 'libzstd-devel libzstd-static',
  },
  xz: { what: 'the static liblzma with lzma.h', debian: 'liblzma-dev', fedora: 'xz-devel xz-static' },
  bzip2: { what: 'bzlib.h of libbz2', debian: 'libbz2-dev', fedora: 'bzip2-devel' },
};

/** Changes with every source, the Node that loads the addon, and the compiler asked for. */
function currentStamp() {
  const hash = createHash('sha256');
  hash.update(`${process.version} ${process.arch} ${process.env.CXX ?? ''} ${process.env.CXXFLAGS ?? ''}\n`);
  const native = path.join(root, 'native');
  const files = readdirSync(native, { recursive: true }).map((name) => path.join('native', String(name)));
  const sources = [...files.filter((name) => /\.(cc|h)$/.test(name)), 'binding.gyp'];
  for (const file of sources.sort((a, b) => (a < b ? -1 : 1))) {
    hash
      .update(`${file}\0`)
      .update(readFileSync(path.join(root, file)))
      .update('\0');
  }
  return hash.digest('hex');
}

/** The first of `names` on the PATH that is executable, or undefined. */
function findProgram(names) {
  for (const name of names) {
    if (name === undefined || name === '') continue;
    const folders = name.includes('/') ? [''] : (process.env.PATH ?? '').split(path.delimiter);
    for (const folder of folders) {
      const file = path.join(folder, name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {
        // not here: the next folder
      }
    }
  }
  return undefined;
}

/** node-gyp: the one npm names, else the one that came with npm, else one on the PATH. */
function findNodeGyp() {
  const besideNpm = [];
  if (process.env.npm_execpath) {
    besideNpm.push(path.join(path.dirname(process.env.npm_execpath), '..'));
  }
  const prefix = path.join(path.dirname(process.execPath), '..');
  besideNpm.push(
    path.join(prefix, 'lib', 'node_modules', 'npm'),
    path.join(prefix, 'share', 'nodejs', 'npm'),
  );
  const scripts = [
    process.env.npm_config_node_gyp,
    ...besideNpm.map((folder) => path.join(folder, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js')),
  ];
  for (const script of scripts) {
    if (script && existsSync(script)) return { command: process.execPath, prefix: [script] };
  }
  const program = findProgram(['node-gyp']);
  return program === undefined ? undefined : { command: program, prefix: [] };
}

/**
 * Headers of this Node where they are installed beside it (`PREFIX/include/node`): then node-gyp downloads
 * nothing. An explicit `nodedir` setting wins.
 */
function localHeaders() {
  if (process.env.npm_config_nodedir) return [];
  const prefix = path.resolve(path.dirname(process.execPath), '..');
  const header = path.join(prefix, 'include', 'node', 'node_version.h');
  if (!existsSync(header)) return [];
  const text = readFileSync(header, 'utf8');
  const number = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
  const version = `v${number('MAJOR')}.${number('MINOR')}.${number('PATCH')}`;
  return version === process.version ? [`--nodedir=${prefix}`] : [];
}

/** A program for each library, linked as binding.gyp wants it. */
const PROBES = {
  zstd: {
    source: '#include <zstd.h>\nint main() { return ZSTD_versionNumber() > 10400 ? 0 : 1; }\n',
    libraries: ['-l:libzstd.a'],
  },
  xz: {
    source: '#include <lzma.h>\nint main() { return lzma_version_number() > 50020000 ? 0 : 1; }\n',
    libraries: ['-l:liblzma.a'],
  },
  bzip2: { source: '#include <bzlib.h>\nint main() { return BZ_OK; }\n', libraries: [] },
};

/** Whether a program that uses a library compiles and links. */
function hasLibrary(compiler, { source: text, libraries }) {
  const folder = mkdtempSync(path.join(tmpdir(), 'peel-probe-'));
  try {
    const source = path.join(folder, 'probe.cc');
    writeFileSync(source, text);
    const run = spawnSync(compiler, [source, '-o', path.join(folder, 'probe'), ...libraries], {
      timeout: 60_000,
    });
    return run.status === 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The needs that this machine does not meet. */
function missingNeeds() {
  const missing = [];
  if (findProgram([process.env.npm_config_python, process.env.PYTHON, 'python3', 'python']) === undefined) {
    missing.push(NEEDS.python);
  }
  if (findProgram([process.env.MAKE, 'make', 'gmake']) === undefined) missing.push(NEEDS.make);
  const compiler = findProgram([process.env.CXX, 'g++', 'c++', 'clang++']);
  if (compiler === undefined) missing.push(NEEDS.compiler);
  for (const [name, probe] of Object.entries(PROBES)) {
    if (compiler !== undefined && !hasLibrary(compiler, probe)) missing.push(NEEDS[name]);
  }
  return missing;
}

function explain(missing) {
  const lines = ['peel: the native part (native/) cannot be built. Missing:'];
  for (const need of missing) lines.push(`  - ${need.what}`);
  lines.push(`Debian, Ubuntu: apt-get install ${missing.map((need) => need.debian).join(' ')}`);
  lines.push(`Fedora:         dnf install ${missing.map((need) => need.fedora).join(' ')}`);
  lines.push('Then run: npm rebuild peel   (in a checkout: npm run install)');
  return lines.join('\n');
}

function main() {
  if (process.platform !== 'linux') {
    console.error(`peel: runs on Linux only, this is ${process.platform}`);
    return 1;
  }
  const stamp = currentStamp();
  if (existsSync(addon) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return 0;

  const missing = missingNeeds();
  if (missing.length > 0) {
    console.error(explain(missing));
    return 1;
  }
  const gyp = findNodeGyp();
  if (gyp === undefined) {
    console.error('peel: node-gyp was not found beside npm nor on the PATH: npm install --global node-gyp');
    return 1;
  }
  const build = spawnSync(
    gyp.command,
    [...gyp.prefix, 'configure', 'build', '--release', '-j', 'max', ...localHeaders()],
    {
      cwd: root,
      encoding: 'utf8',
      timeout: 900_000,
      maxBuffer: 64 * 1024 ** 2,
    },
  );
  if (build.status !== 0 || !existsSync(addon)) {
    const output = `${build.stdout ?? ''}${build.stderr ?? ''}`.trimEnd().split('\n').slice(-60).join('\n');
    console.error(output);
    console.error(
      `peel: building the native part failed: ${build.error?.message ?? `node-gyp exit ${build.status}`}`,
    );
    console.error('The compiler and libraries were found; the messages above say what went wrong.');
    return 1;
  }
  writeFileSync(stampFile, stamp);
  return 0;
}

process.exitCode = main();
