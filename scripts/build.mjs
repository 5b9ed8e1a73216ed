// Compiles src/ to dist/ and makes the command executable. Installs the dependencies when they are missing,
// so that `npm run build` works in a fresh clone.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');

export function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (result.error) {
    process.stderr.write(`${command}: ${result.error.message}\n`);
    return 127;
  }
  return result.status ?? 1;
}

export function build() {
  const tsc = path.join(root, 'node_modules', '.bin', 'tsc');
  if (!existsSync(tsc)) {
    // Not `npm ci`: it insists on the tools' binaries for other platforms, which the lockfile does not name.
    const status = run('npm', ['install', '--no-save']);
    if (status !== 0) return status;
  } else {
    // At once where nothing has changed below native/.
    const status = run(process.execPath, ['scripts/build-native.mjs']);
    if (status !== 0) return status;
  }
  rmSync(path.join(root, 'dist'), { recursive: true, force: true });
  const status = run(tsc, ['-p', 'tsconfig.build.json']);
  if (status === 0) chmodSync(path.join(root, 'dist', 'cli', 'main.js'), 0o755);
  return status;
}

if (process.argv[1] === import.meta.filename) process.exit(build());
