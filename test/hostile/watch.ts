/** Watches what hostile input costs the process that reads it: time, memory, files left open. */
import { readdirSync, readlinkSync } from 'node:fs';
import { type Form, type Outcome, outcomeOf } from './readers.ts';

export interface Cost {
  /** Of the processor: others share the machine. An input below 1 MiB counts as one. */
  readonly slowest: { readonly name: string; readonly msPerMiB: number };
  /** Above what the process had before the first case. */
  readonly memoryMiB: number;
  readonly leftOpen: number;
}

const MAX_MEMORY_MIB = 300;
const MAX_MS_PER_MIB = 1000;

/** What of it is more than FAULTS section 5 allows. */
export function excess({ slowest, memoryMiB, leftOpen }: Cost): string[] {
  return [
    ...(slowest.msPerMiB > MAX_MS_PER_MIB ? [`${slowest.name} took ${slowest.msPerMiB} ms for a MiB`] : []),
    ...(memoryMiB > MAX_MEMORY_MIB ? [`${memoryMiB} MiB of memory`] : []),
    ...(leftOpen > 0 ? [`${leftOpen} files left open`] : []),
  ];
}

/** What Node opens with the first cases stays open: no case opened it. */
const WARM_UP = 20;
const MIB = 1 << 20;

export class Watch {
  #cases = 0;
  #slowest = { name: '', msPerMiB: 0 };
  #idleMemory = 0;
  #openAtFirst: number | undefined;

  /** Forgets what came before. */
  begin(): void {
    this.#cases = 0;
    this.#slowest = { name: '', msPerMiB: 0 };
    this.#idleMemory = peakMemory();
  }

  async outcomeOf(form: Form, bytes: Buffer, name = ''): Promise<Outcome> {
    if (this.#cases++ === WARM_UP) this.#openAtFirst = openFiles();
    const start = process.cpuUsage();
    const outcome = await outcomeOf(form, bytes);
    const { user, system } = process.cpuUsage(start);
    const msPerMiB = (user + system) / 1000 / Math.max(1, bytes.length / MIB);
    if (msPerMiB > this.#slowest.msPerMiB) this.#slowest = { name, msPerMiB };
    return outcome;
  }

  end(): Cost {
    return {
      slowest: this.#slowest,
      memoryMiB: (peakMemory() - this.#idleMemory) / 1024,
      leftOpen: openFiles() - (this.#openAtFirst ?? openFiles()),
    };
  }
}

/** Without /dev/null, which the runtime opens at a moment of its own, also where nothing is read but JSON. */
function openFiles(): number {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // The one of this listing.
    }
  });
  return targets.filter((target) => target !== '/dev/null').length;
}

/** KiB */
const peakMemory = () => process.resourceUsage().maxRSS;
