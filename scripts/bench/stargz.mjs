// The stargz snapshotter beside peel: the image as eStargz, pulled lazily by ctr-remote into a containerd of the
// run's own, and the mount that the snapshotter names: overlayfs over one FUSE mount a layer. It takes part where its
// programs are on PATH; scripts/stargz-snapshotter.sh makes what Debian does not package.
import { spawn, spawnSync } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from './command.mjs';
import { chainIDOf, HOME, imageOf } from './images.mjs';
import { registryWith } from './registry.mjs';
import { mountsBelow } from './scratch.mjs';

export const STARGZ = 'stargz snapshotter';

const PROGRAMS = ['containerd', 'ctr', 'ctr-remote', 'containerd-stargz-grpc'];

const LOOK_MS = 50;
const START_MS = 15_000;
const END_MS = 10_000;

/** @returns {string[]} those of its programs that are not on PATH; it takes part when there are none */
export function missingPrograms() {
  const folders = (process.env.PATH ?? '').split(':').filter((folder) => folder !== '');
  return PROGRAMS.filter((name) => !folders.some((folder) => isExecutable(path.join(folder, name))));
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * What a section says where the snapshotter does not take part.
 * @param {readonly string[]} missing
 * @returns {string[]} at most one paragraph
 */
export function absence(missing) {
  if (missing.length === 0) return [];
  return [
    `The ${STARGZ} is not beside: ${missing.join(', ')} ${missing.length === 1 ? 'was' : 'were'} not on PATH.`,
  ];
}

/**
 * The image as eStargz, converted once and kept beside the others.
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {import('./images.mjs').Image} image
 * @returns {Promise<import('./images.mjs').Image>}
 */
export async function estargzImage(scratch, image) {
  const converted = imageOf(path.join(HOME, `${image.tag}-estargz`), `${image.tag}-estargz`);
  if (existsSync(converted.layout)) return converted;
  const part = `${converted.layout}.part`;
  rmSync(part, { recursive: true, force: true });
  const registry = await registryWith(scratch, image);
  const stargz = await Stargz.start(scratch, 'convert');
  const from = `${registry.address}/${image.tag}:latest`;
  const to = `${registry.address}/${converted.tag}:latest`;
  await stargz.run('ctr', 'content', 'fetch', '--plain-http', from);
  await stargz.run('ctr-remote', 'image', 'convert', '--estargz', '--oci', from, to);
  await stargz.run('ctr', 'image', 'push', '--plain-http', to);
  await run(
    scratch,
    ['skopeo', 'copy', '-q', '--src-tls-verify=false', `docker://${to}`, `oci:${part}:${converted.tag}`],
    { quiet: true },
  );
  await stargz.close();
  await registry.close();
  await run(scratch, ['mv', part, converted.layout]);
  return converted;
}

export class Stargz {
  #scratch;
  #folder;
  #address;
  /** @type {import('node:child_process').ChildProcess[]} */
  #daemons = [];

  /** Use `start`. */
  constructor(scratch, folder) {
    this.#scratch = scratch;
    this.#folder = folder;
    this.#address = path.join(folder, 'c.sock');
    /** Ends both daemons and removes what they stored; mounts have to be gone. @type {() => Promise<void>} */
    this.close = scratch.onClose(`ending the ${STARGZ}`, () => this.#end());
  }

  /**
   * Starts both daemons with nothing cached.
   * @param {import('./scratch.mjs').Scratch} scratch
   * @param {string} name for the folder of its state
   */
  static async start(scratch, name) {
    const folder = scratch.path(`stargz-${name}`);
    mkdirSync(folder);
    const stargz = new Stargz(scratch, folder);
    await stargz.#start();
    return stargz;
  }

  async #start() {
    const file = (name, text) => {
      writeFileSync(path.join(this.#folder, name), text);
      return path.join(this.#folder, name);
    };
    // The settings it comes with, but for what fetches in the background, which would run into the turns of others.
    const settings = file('s.toml', 'no_background_fetch = true\n');
    const socket = path.join(this.#folder, 's.sock');
    this.#spawn('containerd-stargz-grpc', [
      '--address',
      socket,
      '--root',
      this.#state('s'),
      '--config',
      settings,
    ]);
    // First: containerd waits long before it asks a second time.
    await this.#until(socket, () => existsSync(socket));
    const config = file(
      'c.toml',
      `version = 2
root = "${this.#state('root')}"
state = "${this.#state('state')}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "${this.#address}"
[proxy_plugins.stargz]
  type = "snapshot"
  address = "${socket}"
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "24h"
`,
    );
    this.#spawn('containerd', ['--config', config]);
    await this.#until('containerd', () =>
      this.run('ctr', 'version').then(
        () => true,
        () => false,
      ),
    );
  }

  #state(name) {
    return path.join(this.#folder, name);
  }

  #spawn(program, args) {
    const log = openSync(path.join(this.#folder, `${program}.log`), 'a');
    const env = this.#scratch.env;
    const daemon = spawn(program, args, { env, stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    daemon.on('error', () => {}); // not started: it has no pid
    this.#daemons.push(daemon);
  }

  async #until(what, isReady) {
    for (let waited = 0; waited < START_MS; waited += LOOK_MS) {
      if (await isReady()) return;
      if (this.#daemons.some(hasEnded)) break;
      await sleep(LOOK_MS);
    }
    const logs = await run(this.#scratch, ['sh', '-c', `tail -n 3 ${this.#folder}/*.log`]);
    throw new Error(`the ${STARGZ} does not start: no ${what}\n${logs}`);
  }

  /** @param {'ctr' | 'ctr-remote'} client @param {string[]} args */
  run(client, ...args) {
    return run(this.#scratch, [client, '--address', this.#address, ...args]);
  }

  /**
   * Pulls lazily, and mounts over a new folder below the scratch folder.
   * @param {import('./images.mjs').Image} image as eStargz
   * @param {string} address of the registry that has it
   * @param {string} place a name for the mount point
   * @returns {Promise<{folder: string, unmount: () => Promise<void>}>}
   */
  async mount(image, address, place) {
    const folder = this.#scratch.path(`mnt-${place}`);
    mkdirSync(folder, { recursive: true });
    const name = `${address}/${image.tag}:latest`;
    await this.run('ctr-remote', 'image', 'rpull', '--plain-http', '--snapshotter', 'stargz', name);
    const snapshot = (...args) => this.run('ctr', 'snapshot', '--snapshotter', 'stargz', ...args);
    await snapshot('view', place, chainIDOf(image));
    const unmount = this.#scratch.onClose(`unmounting ${folder}`, () => this.#unmount(folder));
    await run(this.#scratch, ['sh', '-c', await snapshot('mounts', folder, place)]);
    return { folder, unmount };
  }

  #unmount(folder) {
    const umount = (...flags) => spawnSync('umount', [...flags, folder], { stdio: 'ignore' }).status === 0;
    // Not lazily if it can be helped: the layers below would be busy for a while.
    if (mountsBelow(path.dirname(folder)).includes(folder) && !umount()) umount('--lazy');
  }

  /** INT, on which the snapshotter unmounts its layers. */
  async #end() {
    for (const daemon of this.#daemons.reverse()) {
      if (hasEnded(daemon)) continue;
      const ended = new Promise((resolve) => {
        daemon.once('exit', resolve);
      });
      daemon.kill('SIGINT');
      const force = setTimeout(() => daemon.kill('SIGKILL'), END_MS);
      await ended;
      clearTimeout(force);
    }
    const left = mountsBelow(this.#folder);
    if (left.length > 0) throw new Error(`it left ${left.length} mounts`);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** @param {import('node:child_process').ChildProcess} daemon */
function hasEnded({ pid, exitCode, signalCode }) {
  return pid === undefined || exitCode !== null || signalCode !== null;
}
