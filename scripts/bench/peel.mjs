// peel as the benchmarks run it: the built command, a cache and a runtime folder of the run's own, and no
// configuration.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { CommandError, run, secondsOf } from './command.mjs';

const MAIN = path.resolve(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js');
/** Exit status for a flag or value that this peel does not know (docs/OUTPUT.md). */
const USAGE_STATUS = 2;

/** Large files are read by the kernel itself: nothing that lists and stats changes with it. */
export const PASSTHROUGH = { name: 'peel, passthrough', flags: ['--passthrough'] };

export class Peel {
  #scratch;
  #env;

  /**
   * @param {import('./scratch.mjs').Scratch} scratch
   * @param {string} cache a name for the folder of its cache
   * @param {NodeJS.ProcessEnv} [env] more, for all that is started
   */
  constructor(scratch, cache, env = {}) {
    this.#scratch = scratch;
    this.cacheDir = scratch.path(`cache-${cache}`);
    const runtime = scratch.path('run');
    mkdirSync(runtime, { recursive: true, mode: 0o700 });
    this.#env = {
      PEEL_CACHE_DIR: this.cacheDir,
      XDG_RUNTIME_DIR: runtime,
      XDG_CONFIG_HOME: scratch.path('config'),
      ...env,
    };
  }

  /** The environment that makes a command use this cache, for those who start it themselves. */
  get env() {
    return { ...this.#env };
  }

  /** @param {string[]} args */
  static words(...args) {
    return [process.execPath, MAIN, ...args];
  }

  /**
   * @param {readonly string[]} args
   * @param {{quiet?: boolean, onFirstOutput?: () => void}} [options]
   */
  run(args, options) {
    return run(this.#scratch, Peel.words(...args), { ...options, env: this.#env });
  }

  /**
   * Mounts over a new folder below the scratch folder.
   * @param {string} image
   * @param {string} place a name for the mount point
   * @param {readonly string[]} [flags] of `peel mount`
   * @returns {Promise<{folder: string, pid: number, seconds: number, unmount: () => Promise<void>}>} pid: of the
   * server; seconds: until `peel mount` had ended
   */
  async mount(image, place, flags = []) {
    const folder = this.#scratch.path(`mnt-${place}`);
    mkdirSync(folder, { recursive: true });
    const unmount = this.#scratch.onClose(`unmounting ${folder}`, () => this.#unmount(folder));
    let seconds = 0;
    try {
      seconds = await secondsOf(() => this.run(['mount', ...flags, image, folder]));
    } catch (error) {
      await unmount();
      throw error;
    }
    const { pid } = (await this.#mounts()).find((mount) => mount.mountPoint === folder) ?? {};
    if (pid === undefined) throw new Error(`peel mount does not list ${folder}`);
    return { folder, pid, seconds, unmount };
  }

  async #mounts() {
    const text = await this.run(['mount', '--format', 'jsonl']);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
  }

  /** Not through `run`: nothing is started there any more while the run is ending. */
  #unmount(folder) {
    if (!isMountPoint(folder)) return;
    const options = { env: { ...this.#scratch.env, ...this.#env }, stdio: 'ignore', timeout: 30_000 };
    spawnSync(process.execPath, [MAIN, 'umount', folder], options);
    if (isMountPoint(folder)) spawnSync('umount', ['--lazy', folder], options);
    if (isMountPoint(folder)) throw new Error('it is still mounted');
  }
}

function isMountPoint(folder) {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[4] === folder);
}

function isUringOn() {
  try {
    return readFileSync('/sys/module/fuse/parameters/enable_uring', 'utf8').trim() === 'Y';
  } catch {
    return false;
  }
}

/**
 * The ways this peel can mount, as columns: every transport it has, and what was asked for on the command line.
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {string} image a small one
 * @param {readonly {name: string, flags: string[]}[]} asked
 * @returns {Promise<{columns: {name: string, flags: string[]}[], missing: string[]}>} missing: what there is not
 */
export async function mountColumns(scratch, image, asked) {
  const peel = new Peel(scratch, 'columns');
  const columns = [];
  const missing = [];
  for (const transport of ['native', 'fuse-native']) {
    const flags = ['--transport', transport];
    try {
      const mounted = await peel.mount(image, `try-${transport}`, flags);
      await mounted.unmount();
      columns.push({ name: `peel, ${transport}`, flags });
    } catch (error) {
      if (!(error instanceof CommandError && error.status === USAGE_STATUS)) throw error;
      missing.push(transport);
    }
  }
  // Where the kernel has FUSE over io_uring on, the default is that; the way without stands beside.
  const native = columns.find(({ name }) => name === 'peel, native');
  if (native !== undefined && isUringOn()) {
    columns.splice(1, 0, {
      name: 'peel, native by /dev/fuse',
      flags: [...native.flags, '--io-uring', 'off'],
    });
    native.name = 'peel, native by io_uring';
  }
  // A peel from before --transport has the one that it has.
  if (columns.length === 0)
    return { columns: [{ name: 'peel', flags: [] }, ...asked], missing: ['--transport'] };
  return { columns: [...columns, ...asked], missing };
}
