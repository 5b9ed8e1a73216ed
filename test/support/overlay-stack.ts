/**
 * Random stacks as overlayfs can show them: without what overlay mounts give another meaning to, and each layer also in
 * the form that its files have on disk there (a whiteout is the character device 0:0, an opaque directory has an attribute).
 *
 * Left out (docs/SEMANTICS.md says what peel makes of them): names through symbolic links; a name that is in the layer
 * twice, or beside a whiteout of it; an opaque root; hard links to other layers; devices 0:0; whiteouts of nothing.
 * Every directory that a layer touches has an entry in it, as builders write them: else it would lose its attributes.
 */
import { posix } from 'node:path';
import type { ByteString } from '../../src/units.ts';
import { Model, ModelRefusal } from './model.ts';
import type { Stack } from './random-stack.ts';
import type { Member } from './tar-bytes.ts';

export interface OverlayStack {
  /** As an image has it. */
  readonly image: Stack;
  /** The same, as it lies in the folders that are mounted over each other. */
  readonly disk: Stack;
}

const OPAQUE = 'trusted.overlay.opaque' as ByteString;

export function overlayStack(stack: Stack): OverlayStack {
  const model = new Model();
  const layers = stack.map((members) => new OverlayLayer(model, members));
  return { image: layers.map(({ image }) => image), disk: layers.map(({ disk }) => disk) };
}

class OverlayLayer {
  readonly image: Member[] = [];
  readonly #model: Model;
  /** What this layer has entries for, by path. */
  readonly #entries = new Map<string, Member>();
  readonly #hidden = new Set<string>();
  readonly #opaque = new Set<string>();

  /** Takes of `members` what overlayfs agrees about, and applies it to `model`. */
  constructor(model: Model, members: readonly Member[]) {
    this.#model = model;
    const isWhiteout = ({ name }: Member) => posix.basename(name).startsWith('.wh.');
    const lower = new Model();
    for (const [path, inode] of model.inodes) lower.inodes.set(path, inode);
    for (const member of members) if (isWhiteout(member)) this.#takeWhiteout(lower, member);
    this.#addFolders('/x');
    for (const path of [...this.#hidden, ...[...this.#opaque].map((at) => `${at}/x`)]) this.#addFolders(path);
    for (const member of members) if (!isWhiteout(member)) this.#takeEntry(member);
  }

  get disk(): Member[] {
    const entries = [...this.#entries].map(([path, member]): Member => {
      if (!this.#opaque.has(path)) return member;
      return { ...member, xattrs: new Map([...(member.xattrs ?? []), [OPAQUE, Buffer.from('y')]]) };
    });
    // Below an opaque directory there is nothing to hide, and the kernel would list the device but not find it.
    const hidden = [...this.#hidden].filter((path) => !isBelowAny(path, this.#opaque));
    const whiteouts = hidden.map(
      (path): Member => ({ ...NOTHING, ...named(path), type: 'char', rdev: [0, 0] }),
    );
    return [...entries, ...whiteouts];
  }

  #takeWhiteout(lower: Model, member: Member): void {
    const folder = posix.dirname(cleaned(member.name));
    if (lower.inodes.get(folder)?.type !== 'dir' || isBelowAny(folder, this.#hidden)) return;
    const { path, isOpaque } = lower.hiddenBy(member);
    const isTaken = isOpaque ? path === folder && path !== '/' : lower.inodes.has(path);
    if (!isTaken) return;
    // What was taken before for a place below it goes with it.
    if (!isOpaque && [...this.#hidden, ...this.#opaque].some((other) => isBelow(other, path))) return;
    (isOpaque ? this.#opaque : this.#hidden).add(path);
    this.#model.hide({ path, isOpaque });
    this.image.push({
      ...member,
      name: `${folder}/${posix.basename(member.name)}`.replace(/^\/+/, '') as ByteString,
    });
  }

  #takeEntry(member: Member): void {
    const path = cleaned(member.name);
    const folder = posix.dirname(path);
    if (this.#entries.has(path) || isBelowAny(path, this.#hidden)) return;
    if (member.type === 'char' && member.rdev?.join() === '0,0') return;
    if (!this.#isFolderOrNothing(folder) || (member.type !== 'dir' && path === '/')) return;
    const target = cleaned(member.target ?? '');
    if (member.type === 'hardlink' && (this.#entries.get(target)?.type ?? 'dir') === 'dir') return;
    this.#addFolders(path);
    this.#add(
      path,
      member.type === 'hardlink' ? { ...member, target: target.slice(1) as ByteString } : member,
    );
  }

  #isFolderOrNothing(folder: string): boolean {
    for (let at = folder; at !== '/'; at = posix.dirname(at))
      if ((this.#model.inodes.get(at)?.type ?? 'dir') !== 'dir') return false;
    return true;
  }

  /** Entries for the folders above a path that have none in this layer, as they are in those below. */
  #addFolders(path: string): void {
    const folder = posix.dirname(path);
    if (folder !== path) this.#addFolders(folder);
    if (this.#entries.has(folder)) return;
    const { implied: _, ...inode } = this.#model.inodes.get(folder) ?? { ...NOTHING, implied: true };
    this.#add(folder, { ...inode, ...named(folder) });
  }

  #add(path: string, member: Member): void {
    const entry = { ...member, ...named(path) };
    try {
      this.#model.applyMember(entry);
    } catch (error) {
      if (error instanceof ModelRefusal) return;
      throw error;
    }
    this.#entries.set(path, entry);
    this.image.push(entry);
  }
}

const NOTHING = { type: 'dir', mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 } as const;

const named = (path: string) => ({ name: (path === '/' ? './' : path.slice(1)) as ByteString });
const cleaned = (name: string): string => posix.join('/', name).replace(/(?!^)\/$/, '');
const isBelow = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`);
const isBelowAny = (path: string, folders: ReadonlySet<string>): boolean =>
  [...folders].some((folder) => isBelow(path, folder));
