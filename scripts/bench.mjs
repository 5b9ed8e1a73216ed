// `npm run bench [-- --runs N] [-- --write]`: what peel costs beside pulling and unpacking, on a real image from a
// real registry on loopback. Bytes and requests are counted by a proxy in front of the registry, not by peel.
// --write puts the tables into docs/BENCHMARKS.md.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { build } from './build.mjs';
import { countingProxy } from './counting-proxy.mjs';

const root = path.resolve(import.meta.dirname, '..');
const home = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'peel-bench');
const runs = Number(process.argv[process.argv.indexOf('--runs') + 1]) || 5;
const work = mkdtempSync(path.join(os.tmpdir(), 'peel-bench-'));
const tag = 'debian-python-node';

function must(command, args, options = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    ...options,
  });
  if (result.status !== 0)
    throw new Error(`${command} ${args.join(' ')}: exit ${result.status ?? result.signal}`);
  return result.stdout?.trim() ?? '';
}

/** Runs without blocking this process, which is the proxy; resolves with wall seconds. */
function timed(command, args, env = {}) {
  const started = process.hrtime.bigint();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, ...env },
    });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (code !== 0) reject(new Error(`${command} ${args.join(' ')}: exit ${code ?? signal}`));
      else resolve(Number(process.hrtime.bigint() - started) / 1e9);
    });
  });
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const mb = (bytes) => (bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 1);
const share = (bytes, whole) => `${((100 * bytes) / whole).toFixed(2)} %`;

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

async function bytesAndRequests(proxy, image, imageBytes) {
  const mnt = path.join(work, 'mnt');
  mkdirSync(mnt);
  const peel = (...args) => [process.execPath, ['dist/cli/main.js', ...args]];
  const python = async (env) => {
    const [command, args] = peel('mount', image, mnt);
    await timed(command, args, env);
    try {
      await timed('chroot', [mnt, '/usr/bin/python3', '-c', 'print(1)']);
    } finally {
      const [unmount, unmountArgs] = peel('umount', mnt);
      await timed(unmount, unmountArgs, env);
    }
  };
  const jobs = {
    'ls /': (env) => timed(...peel('ls', image, '/'), env),
    'cat /etc/os-release': (env) => timed(...peel('cat', image, '/etc/os-release'), env),
    "mount, python3 -c 'print(1)', umount": python,
  };
  const rows = [];
  for (const [name, job] of Object.entries(jobs)) {
    const first = [];
    const indexed = [];
    for (let run = 0; run < runs; run += 1) {
      const env = { PEEL_CACHE_DIR: path.join(work, `cache-${run}`), PEEL_PROGRESS: 'none' };
      const measure = async () => {
        proxy.reset();
        const started = process.hrtime.bigint();
        await job(env);
        return { ...proxy.counts, seconds: Number(process.hrtime.bigint() - started) / 1e9 };
      };
      first.push(await measure());
      // The index stays, the cached spans go: what a host pays that got the index from elsewhere.
      await timed(...peel('cache', 'prune', '--content'), env);
      indexed.push(await measure());
      rmSync(env.PEEL_CACHE_DIR, { recursive: true, force: true });
    }
    for (const [when, results] of [
      ['first time', first],
      ['index at hand', indexed],
    ]) {
      const bytes = median(results.map((result) => result.bytes));
      rows.push([
        `\`${name}\``,
        when,
        median(results.map((result) => result.requests)),
        mb(bytes),
        share(bytes, imageBytes),
        median(results.map((result) => result.seconds)).toFixed(2),
      ]);
    }
  }
  return table(['job', 'when', 'requests', 'MB fetched', 'of the image', 'seconds'], rows);
}

async function indexingTime(image) {
  const times = { peel: [], copy: [], unpack: [] };
  for (let run = 0; run < runs; run += 1) {
    const env = { PEEL_CACHE_DIR: path.join(work, `index-${run}`), PEEL_PROGRESS: 'none' };
    const layout = path.join(work, `pull-${run}`);
    times.peel.push(await timed(process.execPath, ['dist/cli/main.js', 'ls', image, '/'], env));
    times.copy.push(
      await timed('skopeo', ['copy', '-q', '--src-tls-verify=false', `docker://${image}`, `oci:${layout}:x`]),
    );
    times.unpack.push(
      await timed('umoci', ['unpack', '--image', `${layout}:x`, path.join(layout, 'bundle')]),
    );
    for (const folder of [env.PEEL_CACHE_DIR, layout]) rmSync(folder, { recursive: true, force: true });
  }
  const pull = times.copy.map((seconds, run) => seconds + times.unpack[run]);
  const ratio = median(pull.map((seconds, run) => times.peel[run] / seconds));
  return table(
    ['what', 'seconds', 'ratio'],
    [
      [
        '`peel ls IMAGE /`, nothing cached: every layer fetched, verified and indexed',
        median(times.peel).toFixed(2),
        ratio.toFixed(2),
      ],
      ['`skopeo copy` to a layout, then `umoci unpack`', median(pull).toFixed(2), '1.00'],
      ['of that, `skopeo copy`', median(times.copy).toFixed(2), ''],
    ],
  );
}

function machine() {
  const cpu = os.cpus()[0]?.model ?? 'unknown';
  const memory = Math.round(os.totalmem() / 2 ** 30);
  return `${os.cpus().length} cores (${cpu}), ${memory} GiB, Linux ${os.release()}, Node ${process.versions.node}, ${new Date().toISOString().slice(0, 10)}, medians of ${runs}`;
}

async function main() {
  must('bash', ['scripts/system-packages.sh', 'build', 'mount', 'image', 'demo'], { stdio: 'inherit' });
  if (build() !== 0) throw new Error('the build failed');
  const layout = path.join(home, 'layout');
  mkdirSync(home, { recursive: true });
  must('bash', ['scripts/make-image.sh', layout, tag, 'python3', 'nodejs'], { stdio: 'inherit' });
  const registry = must('bash', ['scripts/registry.sh', 'start', path.join(work, 'registry')]);
  let proxy;
  try {
    must('skopeo', [
      'copy',
      '-q',
      '--dest-tls-verify=false',
      `oci:${layout}:${tag}`,
      `docker://${registry}/${tag}:latest`,
    ]);
    proxy = await countingProxy(registry);
    const image = `${proxy.address}/${tag}`;
    const manifest = JSON.parse(
      must('skopeo', ['inspect', '--raw', '--tls-verify=false', `docker://${registry}/${tag}`]),
    );
    const imageBytes = manifest.layers.reduce((sum, layer) => sum + layer.size, 0);
    const text = [
      `Image: debootstrap, python3, nodejs; ${manifest.layers.length} layers, ${mb(imageBytes)} MB compressed. Registry: docker-registry on loopback.`,
      `Machine: ${machine()}. Command: \`npm run bench\`.`,
      '',
      '### Bytes and requests',
      '',
      await bytesAndRequests(proxy, image, imageBytes),
      '',
      '### First look, beside a pull',
      '',
      await indexingTime(`${registry}/${tag}`),
    ].join('\n');
    process.stdout.write(`${text}\n`);
    if (process.argv.includes('--write')) {
      const file = path.join(root, 'docs', 'BENCHMARKS.md');
      const [before] = readFileSync(file, 'utf8').split(
        '<!-- npm run bench -- --write: below is generated -->',
      );
      writeFileSync(file, `${before}<!-- npm run bench -- --write: below is generated -->\n\n${text}\n`);
    }
  } finally {
    proxy?.close();
    must('bash', ['scripts/registry.sh', 'stop', path.join(work, 'registry')]);
    rmSync(work, { recursive: true, force: true });
  }
}

await main();
