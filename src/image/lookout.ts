/**
 * Looks for one file in a layer while that is indexed, and takes its bytes as they pass (FAULTS P2, progressive).
 *
 *   entries so far ─► a guess of the tree ─► the path leads to a file, over no doubtful name ─► its bytes, as they come
 *
 * What it finds is the answer unless the layer itself says something else later on: a second entry of the same path,
 * or of a directory or link on the way. Whoever prints it compares it with the image in the end.
 */
import { isPeelError } from '../errors.ts';
import { FileSystem } from '../filesystem/filesystem.ts';
import type { Onlooker, Passing } from '../layer/layer-input.ts';
import type { Entry } from '../layer/toc.ts';
import { guessTree } from '../tree/guess.ts';
import type { Node, Tree } from '../tree/node.ts';
import { type ByteString, uncompressed } from '../units.ts';
import { PassedBytes } from './passed-bytes.ts';
import { PassingBytes } from './passing-bytes.ts';

/** Entries that are merged for all guesses together: a second or two of work. */
const MAX_MERGED_ENTRIES = 1_000_000;

export interface Sighting {
  readonly tree: Tree;
  readonly node: Node;
  /** undefined where the layers above have the content, or it is empty. */
  readonly bytes: PassingBytes | undefined;
  /** Goes on growing while the layer passes. */
  readonly passed: PassedBytes;
}

export class Lookout implements Onlooker {
  /** undefined: the layer must be known to its end first. Does not reject; pending where the pass ends before. */
  readonly sighted: Promise<Sighting | undefined>;
  readonly #name: ByteString;
  readonly #layer: number;
  readonly #upper: readonly (readonly Entry[])[];
  readonly #shownOf: (entries: readonly Entry[]) => readonly Entry[];
  #report: (sighting: Sighting | undefined) => void = () => {};
  #bytes: PassingBytes | undefined;
  readonly #passed = new PassedBytes();
  #isLooking = true;
  #merged = 0;
  /** How many entries it has seen, and with how many it tries again whatever they are. */
  #seen = 0;
  #tryAt = 1;
  /** Where the name led to last that did not exist. */
  #missing: string | undefined;

  /**
   * `upper`: the entries of the layers above `layer`, none for the others. `shownOf`: of the entries of a layer, those
   * that are part of the image.
   */
  constructor(
    name: ByteString,
    layer: number,
    upper: readonly (readonly Entry[])[],
    shownOf: (entries: readonly Entry[]) => readonly Entry[],
  ) {
    this.#name = name;
    this.#layer = layer;
    this.#upper = upper;
    this.#shownOf = shownOf;
    this.sighted = new Promise((resolve) => {
      this.#report = resolve;
    });
  }

  get isLooking(): boolean {
    return this.#isLooking;
  }

  async passing({ entries, tar }: Passing): Promise<void> {
    // Without bytes: a part of the pass that began before it was known that somebody looks.
    if (!this.#isLooking || tar === undefined) return;
    this.#passed.add(tar);
    if (this.#bytes === undefined && this.#isWorthATry(entries)) this.#try(entries, tar.start);
    await this.#bytes?.take(tar);
    if (this.#bytes?.isOver === true && this.#passed.isComplete) this.#isLooking = false;
  }

  /** A try merges all entries so far: made where a new one is what was missing, or there are twice as many. */
  #isWorthATry(entries: readonly Entry[]): boolean {
    const missing = this.#missing;
    const fresh = entries.slice(this.#seen);
    this.#seen = entries.length;
    if (entries.length >= this.#tryAt) return true;
    return (
      missing !== undefined && fresh.some(({ path }) => path === missing || path.startsWith(`${missing}/`))
    );
  }

  #try(entries: readonly Entry[], tarStart: number): void {
    this.#tryAt = 2 * entries.length;
    const found = this.#guess(entries);
    if (found === undefined) return;
    const { tree, node, isDoubtful } = found;
    const range = storedRange(node);
    const isHere = node.content?.layer === this.#layer && range.end > range.start;
    if (node.kind !== 'file' || isDoubtful || (isHere && range.start < tarStart)) {
      this.#giveUp();
      return;
    }
    if (isHere) {
      this.#bytes = new PassingBytes(range);
      this.#passed.setFile(range);
    } else {
      this.#isLooking = false;
    }
    this.#report({ tree, node, bytes: this.#bytes, passed: this.#passed });
  }

  #guess(entries: readonly Entry[]): { tree: Tree; node: Node; isDoubtful: boolean } | undefined {
    const layers = this.#upper.with(this.#layer, this.#shownOf(entries));
    this.#merged += layers.reduce((sum, { length }) => sum + length, 0);
    if (this.#merged > MAX_MERGED_ENTRIES) {
      this.#giveUp();
      return undefined;
    }
    try {
      const guess = guessTree(layers, this.#layer);
      const { tree } = guess;
      let isDoubtful = false;
      const onStep = (name: ByteString, { kind }: Node): void => {
        isDoubtful ||= guess.isDoubtful(name, kind);
      };
      const node = new FileSystem(tree, NO_CONTENTS).resolve(this.#name, { follow: true, onStep });
      return { tree, node, isDoubtful };
    } catch (error) {
      // Not there so far, or wrong so far: what is wrong in the end is said by those who read the whole layer.
      if (!isPeelError(error)) throw error;
      this.#missing = error.facts['missing']?.toString();
      return undefined;
    }
  }

  #giveUp(): void {
    this.#isLooking = false;
    this.#report(undefined);
  }
}

const NO_CONTENTS = { read: () => Promise.reject(new TypeError('nothing is read here')) };

function storedRange({ content, size }: Node) {
  const start = content?.dataOffset ?? uncompressed(0);
  const length = content?.sparse?.reduce((sum, piece) => sum + piece.length, 0) ?? size;
  return { start, end: uncompressed(start + length) };
}
