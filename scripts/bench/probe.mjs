// Compiles probe.c and calls it: the timed part of every measurement of a file system.
import path from 'node:path';
import { run } from './command.mjs';

export class Probe {
  #scratch;
  #program;

  /** @param {import('./scratch.mjs').Scratch} scratch @param {string} program */
  constructor(scratch, program) {
    this.#scratch = scratch;
    this.#program = program;
  }

  /** @param {import('./scratch.mjs').Scratch} scratch */
  static async compile(scratch) {
    const program = scratch.path('probe');
    const source = path.join(import.meta.dirname, 'probe.c');
    await run(scratch, ['cc', '-O2', '-pthread', '-Wall', '-Wextra', '-o', program, source]);
    return new Probe(scratch, program);
  }

  async #call(words, options) {
    return JSON.parse(await run(this.#scratch, [this.#program, ...words.map(String)], options));
  }

  /**
   * Wall and processor seconds, peak resident memory and output bytes of a command.
   * @param {readonly string[]} words
   * @param {{cwd?: string, env?: NodeJS.ProcessEnv}} [options]
   * @returns {Promise<{seconds: number, cpu: number, peakBytes: number, bytes: number}>}
   */
  async run(words, options) {
    const result = await this.#call(['run', ...words], options);
    if (result.status !== 0) throw new Error(`${words.join(' ')}: exit ${result.status}`);
    return result;
  }

  /**
   * Seconds of every pass of lstat over the paths in `list`.
   * @returns {Promise<{passes: number[], count: number}>}
   */
  stat(folder, list, passes) {
    return this.#call(['stat', list, passes], { cwd: folder });
  }

  /** @returns {Promise<{seconds: number, bytes: number}>} */
  read(file) {
    return this.#call(['read', file]);
  }

  /** @returns {Promise<{seconds: number, count: number}>} */
  random(file, count) {
    return this.#call(['random', file, count]);
  }

  /** @returns {Promise<{seconds: number, count: number}>} */
  mmap(file, count) {
    return this.#call(['mmap', file, count]);
  }

  /**
   * Reads every file in `list` once, by `count` threads.
   * @returns {Promise<{seconds: number, bytes: number}>}
   */
  readers(folder, list, count) {
    return this.#call(['readers', list, count], { cwd: folder });
  }

  drop(file) {
    return this.#call(['drop', file]);
  }
}

/**
 * Drops every clean page, directory entry and inode the kernel has, mounts' included. Twice: an inode goes only
 * after its pages. The programs that are timed next are read again before, so that no figure has their loading in it.
 * @param {import('./scratch.mjs').Scratch} scratch
 */
export async function dropKernelCaches(scratch) {
  await run(scratch, [
    'sh',
    '-c',
    'sync; echo 3 >/proc/sys/vm/drop_caches; echo 3 >/proc/sys/vm/drop_caches; ' +
      'for p in find ls tar chroot; do "$p" --version >/dev/null; done; "$1" 2>/dev/null || true',
    'sh',
    scratch.path('probe'),
  ]);
}
