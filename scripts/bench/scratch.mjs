// What a run may leave behind, and how it goes: one folder for files, a list of things to undo, and a mark in the
// environment of every process that is started. Undone in reverse order at the end, after a failure and on
// INT or TERM; a last look through the kernel's tables catches what the list does not have.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const MARK = 'PEEL_BENCH_RUN';

const LOOK_MS = 100;
const LOOKS_BEFORE_FORCE = 20;
const MAX_LOOKS = 100;

export class Scratch {
  /** @type {{what: string, undo: () => unknown}[]} */
  #undo = [];
  /** @type {Promise<string[]> | undefined} */
  #closing;
  /** Running in the foreground. @type {Set<import('node:child_process').ChildProcess>} */
  children = new Set();
  /** Set once everything is being undone: nothing new may start. */
  closed = false;

  /** @param {string} parent a folder on the disk to measure on */
  constructor(parent) {
    this.folder = mkdtempSync(path.join(parent, 'peel-bench-'));
    this.mark = path.basename(this.folder);
    /** For every process that is started. */
    this.env = {
      // Without the user's settings of peel.
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PEEL_'))),
      [MARK]: this.mark,
      TMPDIR: this.folder,
      LC_ALL: 'C',
      PEEL_PROGRESS: 'none',
    };
  }

  /** @param {string[]} names */
  path(...names) {
    return path.join(this.folder, ...names);
  }

  /**
   * @param {string} what for the message when it fails
   * @param {() => unknown} undo may return a promise; runs once
   * @returns {() => Promise<void>} undoes it now, and not again later
   */
  onClose(what, undo) {
    const item = { what, undo };
    this.#undo.push(item);
    return async () => {
      const at = this.#undo.indexOf(item);
      if (at < 0) return;
      this.#undo.splice(at, 1);
      await undo();
    };
  }

  /**
   * Undoes everything. Resolves with what had to be removed by force, as sentences.
   * @returns {Promise<string[]>}
   */
  close() {
    this.closed = true;
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close() {
    const found = [];
    // First what is running in the foreground: it would keep the mounts busy.
    for (const child of this.children) child.kill('SIGKILL');
    for (let item = this.#undo.pop(); item !== undefined; item = this.#undo.pop()) {
      try {
        await item.undo();
      } catch (error) {
        found.push(`${item.what}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    // Lazily, and before the processes end: a mount whose server is gone cannot be looked at.
    for (const mountPoint of mountsBelow(this.folder).reverse()) {
      found.push(`still mounted: ${mountPoint}`);
      spawnSync('umount', ['--lazy', mountPoint]);
    }
    // Again and again: one may have started another since the look.
    for (let attempt = 0; attempt < MAX_LOOKS; attempt += 1) {
      const pids = this.#processes();
      if (pids.length === 0) break;
      // A server that was asked to end may take a moment.
      if (attempt >= LOOKS_BEFORE_FORCE) {
        for (const pid of pids) {
          found.push(`still running: process ${pid}`);
          end(pid);
        }
      }
      await sleep(LOOK_MS);
    }
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
    return [...new Set(found)];
  }

  /** Processes of this run other than this one. */
  #processes() {
    const mark = `${MARK}=${this.mark}`;
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .map(Number)
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark);
        } catch {
          return false; // ended meanwhile, or not ours to read
        }
      });
  }
}

/** @param {string} folder */
export function mountsBelow(folder) {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mountPoint) => mountPoint.startsWith(`${folder}/`));
}

function end(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // ended meanwhile
  }
}
