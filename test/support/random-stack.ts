/**
 * Random stacks of layers, made from a seed: what builders do (add, replace, delete, rename, link) and what they
 * hardly ever do. A model of the merged view so far tells the generator which names are there to be touched.
 *
 * Left out, because umoci refuses them or depends on the order within a tar where the specification does not:
 *   - a file as parent of a name (E25), a hard link before its target (E46): in the merge cases;
 *   - directories with setgid: the disk gives mode and group of such a directory to those that umoci implies in it;
 *   - attributes with an empty value: Go takes them for deleted;
 *   - whiteouts whose parent leads elsewhere once another whiteout of the layer has acted, and entries in the
 *     place of a link that a whiteout of the layer leads through: test/tree/merge.test.ts.
 */
import { posix } from 'node:path';
import { type ByteString, bytesOfText } from '../../src/units.ts';
import { Model, ModelRefusal } from './model.ts';
import { randomNumbers } from './random-numbers.ts';
import type { Member, MemberType } from './tar-bytes.ts';

/** Members of each layer, lowest layer first. */
export type Stack = readonly (readonly Member[])[];

export interface RandomStack {
  /** Whiteouts anywhere in their layer. */
  readonly stack: Stack;
  /** The same with each layer's whiteouts first, in an order that umoci may apply one by one. */
  readonly ordered: Stack;
  /** True for a stack whose last member nobody may accept. */
  readonly isPoisoned: boolean;
}

const MAX_LAYERS = 12;
const MAX_ENTRIES = 300;
const NAMES = [
  'a',
  'b',
  'c',
  'd',
  'lib',
  'usr',
  'etc',
  'x.y',
  '-n',
  '.hid',
  'a b',
  'q"\\',
  'nl\n',
  'tab\t',
  '\u00e9',
];

export function randomStack(seed: number): RandomStack {
  return new Generator(randomNumbers(seed)).stack();
}

class Generator {
  readonly #random: () => number;
  readonly #model = new Model();
  #budget = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  stack(): RandomStack {
    const layers = 1 + this.#below(MAX_LAYERS);
    this.#budget = 1 + this.#below(this.#chance(0.2) ? MAX_ENTRIES : 80);
    const stack: Member[][] = [];
    const ordered: Member[][] = [];
    for (let layer = 0; layer < layers; layer += 1) {
      const size = Math.ceil(this.#budget / (layers - layer));
      this.#budget -= size;
      const { whiteouts, crossed } = this.#whiteouts(this.#below(Math.ceil(size / 2) + 1));
      const entries = this.#entries(size - whiteouts.length, crossed);
      ordered.push([...whiteouts, ...entries]);
      stack.push(this.#shuffledInto(whiteouts, entries));
    }
    const poison = this.#chance(0.05) ? this.#poison() : undefined;
    if (poison !== undefined) {
      stack.push([poison]);
      ordered.push([poison]);
    }
    return { stack, ordered, isPoisoned: poison !== undefined };
  }

  /** Applies them to the model one by one, as umoci will. */
  #whiteouts(count: number): { whiteouts: Member[]; crossed: Set<string> } {
    const whiteouts: Member[] = [];
    const crossed = new Set<string>();
    const before = new Model();
    for (const [path, inode] of this.#model.inodes) {
      before.inodes.set(path, inode);
    }
    for (let tries = 0; tries < count; tries += 1) {
      const name = this.#whiteoutName();
      const member = this.#member(name, this.#chance(0.9) ? 'file' : this.#pick(['dir', 'char', 'fifo']));
      const meant = unlessRefused(() => before.hiddenBy(member));
      const now = unlessRefused(() => this.#model.hiddenBy(member));
      if (meant !== undefined && now !== undefined && meant.path === now.path) {
        this.#model.hide(now);
        whiteouts.push(member);
        for (const link of linksOn(before, name)) {
          crossed.add(link);
        }
      }
    }
    return { whiteouts, crossed };
  }

  #whiteoutName(): string {
    if (this.#chance(0.15)) {
      return join(this.#directory(), '.wh..wh..opq');
    }
    const path = this.#chance(0.85) ? this.#existing() : join(this.#directory(), this.#newName());
    const name = posix.basename(path);
    if (name === '' || name.length > 250) {
      return '.wh.nothing';
    }
    const parent = this.#chance(0.8) ? posix.dirname(path) : this.#directory();
    return join(parent, `.wh.${name}`);
  }

  #entries(count: number, crossed: ReadonlySet<string>): Member[] {
    const entries: Member[] = [];
    for (let tries = 0; tries < count; tries += 1) {
      const member = this.#entry();
      const location = unlessRefused(() => this.#model.locationOf(member.name));
      if (
        location === undefined ||
        (crossed.has(location) && member.type !== 'symlink') ||
        !this.#hasDirectoryParents(location)
      ) {
        continue;
      }
      // A hard link that is refused has taken its name away in the model: the layer puts a file there.
      const isRefused = unlessRefused(() => this.#model.applyMember(member) ?? true) === undefined;
      const applied = isRefused ? this.#member(location, 'file') : member;
      if (isRefused) {
        this.#model.applyMember(applied);
      }
      entries.push(applied);
    }
    return entries;
  }

  #hasDirectoryParents(location: string): boolean {
    for (let at = posix.dirname(location); at !== '/'; at = posix.dirname(at)) {
      if ((this.#model.inodes.get(at)?.type ?? 'dir') !== 'dir') {
        return false;
      }
    }
    return true;
  }

  #entry(): Member {
    const type = this.#pick<MemberType>([
      'file',
      'file',
      'file',
      'file',
      'dir',
      'dir',
      'dir',
      'symlink',
      'symlink',
      'hardlink',
      'hardlink',
      'char',
      'block',
      'fifo',
    ]);
    if (type === 'dir' && this.#chance(0.05)) {
      return this.#member(this.#pick(['./', '/', '.']), 'dir');
    }
    const path = this.#chance(0.35) ? this.#existing() : join(this.#directory(), this.#newName());
    return path === '/' ? this.#member('/', 'dir') : this.#member(path, type);
  }

  #member(path: string, type: MemberType): Member {
    const content = this.#content(this.#below(40) === 0 ? 3000 : this.#below(12));
    return {
      name: this.#spelled(path, type) as ByteString,
      type,
      mode: type === 'symlink' ? 0o777 : this.#below(0o10000) & (type === 'dir' ? ~0o2000 : ~0),
      uid: this.#pick([0, 0, 1, 1000, 65534, 3_000_000]),
      gid: this.#pick([0, 0, 5, 100, 4_000_000]),
      mtimeSec: this.#pick([0, 1, 1_600_000_000, this.#below(2 ** 32)]),
      mtimeNsec: this.#pick([0, 0, 5, 500_000_000, this.#below(1_000_000_000)]),
      ...(type === 'symlink' ? { target: this.#symlinkTarget(path) as ByteString } : {}),
      ...(type === 'hardlink' ? { target: this.#linkTarget() as ByteString } : {}),
      ...(type === 'char' || type === 'block'
        ? { rdev: [this.#below(300), this.#below(70_000)] as const }
        : {}),
      ...((type === 'file' || type === 'dir') && this.#chance(0.15) ? { xattrs: this.#xattrs() } : {}),
      ...(type === 'file' ? { content } : {}),
    };
  }

  /** The same path as tars spell it: `a`, `./a`, `/a`, `a/`, now and then with a detour. */
  #spelled(path: string, type: MemberType): string {
    const bare = path.replace(/^\/+/, '');
    const detour = this.#chance(0.03) ? 'no/../' : '';
    const prefix = this.#pick(['', '', '', './', '/']);
    return (
      `${prefix}${detour}${bare}${type === 'dir' && bare !== '' && !bare.endsWith('/') ? '/' : ''}` || './'
    );
  }

  #symlinkTarget(path: string): string {
    const target = this.#pick([
      this.#directory(),
      this.#directory(),
      this.#existing(),
      join('/', this.#newName()),
    ]);
    if (this.#chance(0.4)) {
      return target;
    }
    const relative = posix.relative(posix.dirname(join('/', path)), target) || '.';
    return this.#chance(0.1) ? `../../../../../${relative}` : relative;
  }

  #linkTarget(): string {
    const paths = [...this.#model.inodes].filter(([, { type }]) => type !== 'dir').map(([path]) => path);
    const path = paths.length === 0 ? '/nothing' : this.#pick(paths);
    return this.#chance(0.7) ? path.slice(1) : this.#chance(0.5) ? path : `../../${path}`;
  }

  /** A directory by one of its names: as it lies, or through a link to a directory. */
  #directory(): string {
    const directories: string[] = [];
    for (const [path, { type }] of this.#model.inodes) {
      if (type === 'dir') {
        directories.push(path);
      } else if (
        type === 'symlink' &&
        this.#chance(0.5) &&
        unlessRefused(() => this.#model.real(path)) !== undefined
      ) {
        directories.push(path);
      }
    }
    const found = this.#pick(directories);
    return this.#chance(0.1) ? join(found, this.#newName()) : found;
  }

  #existing(): string {
    return this.#pick([...this.#model.inodes.keys()]);
  }

  #newName(): string {
    if (this.#chance(0.8)) {
      return bytesOfText(this.#pick(NAMES));
    }
    if (this.#chance(0.1)) {
      return 'n'.repeat(this.#pick([99, 100, 101, 250]));
    }
    const bytes = Array.from({ length: 1 + this.#below(4) }, () => 1 + this.#below(255)).filter(
      (byte) => byte !== 0x2f,
    );
    const name = String.fromCharCode(...bytes);
    return name === '' || name === '.' || name === '..' ? 'odd' : name;
  }

  #content(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.#below(256)));
  }

  #xattrs(): Map<ByteString, Buffer> {
    const names = ['user.a', 'user.b.c', 'user.z'].filter(() => this.#chance(0.5));
    return new Map(names.map((name) => [name as ByteString, this.#content(1 + this.#below(9))]));
  }

  #poison(): Member | undefined {
    const directories = [...this.#model.inodes].filter(([path, { type }]) => type === 'dir' && path !== '/');
    const free = 'poison-name';
    switch (this.#below(4)) {
      case 0:
        return { ...this.#member(free, 'hardlink'), target: bytesOfText('not/there') };
      case 1:
        return { ...this.#member('/', 'file'), name: bytesOfText('./') };
      case 2:
        return { ...this.#member(free, 'hardlink'), target: bytesOfText(free) };
      default:
        return directories.length === 0
          ? undefined
          : { ...this.#member(free, 'hardlink'), target: this.#pick(directories)[0] as ByteString };
    }
  }

  /** Keeps the order of each list. */
  #shuffledInto(whiteouts: readonly Member[], entries: readonly Member[]): Member[] {
    const layer = [...entries];
    let from = 0;
    for (const whiteout of whiteouts) {
      from += this.#below(layer.length - from + 1);
      layer.splice(from, 0, whiteout);
      from += 1;
    }
    return layer;
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #chance(probability: number): boolean {
    return this.#random() < probability;
  }

  #pick<Value>(values: readonly Value[]): Value {
    const value = values[this.#below(values.length)];
    if (value === undefined) {
      throw new RangeError('nothing to pick from');
    }
    return value;
  }
}

/** undefined where the model refuses: a loop of links, a hard link to nothing. */
function unlessRefused<Value>(ask: () => Value): Value | undefined {
  try {
    return ask();
  } catch (error) {
    if (error instanceof ModelRefusal) {
      return undefined;
    }
    throw error;
  }
}

/** The symbolic links that the directory of `name` leads through. */
function linksOn(model: Model, name: string): string[] {
  const links: string[] = [];
  const real = (path: string): void => {
    let at = '/';
    const names = path.split('/');
    for (const [index, component] of names.entries()) {
      const next = posix.join(at, component);
      const inode = model.inodes.get(next);
      if (inode?.type === 'symlink' && !links.includes(next)) {
        links.push(next);
        const target = inode.target?.startsWith('/') ? inode.target : `${at}/${inode.target ?? ''}`;
        real([target, ...names.slice(index + 1)].join('/'));
        return;
      }
      at = next;
    }
  };
  real(posix.dirname(posix.join('/', name)));
  return links;
}

function join(directory: string, name: string): string {
  return directory.endsWith('/') ? `${directory}${name}` : `${directory}/${name}`;
}
