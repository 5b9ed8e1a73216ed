/**
 * What unpacking layers must give, written from image-spec layer.md alone and as plainly as can be: a map from path
 * to inode, and string operations. It shares nothing with `src/tree/`, is quadratic, and is only right.
 *
 * Choices where the specification is silent are those of design/FORMATS.md: E9, E17, E25, E26, E45, E46 is refused.
 */
import { posix } from 'node:path';
import type { Member } from './tar-bytes.ts';

/** Names that are hard links of each other share one of these. */
export type ModelInode = Omit<Member, 'name'> & { readonly implied: boolean };

export class ModelRefusal extends Error {}

/** What a whiteout's name hides: one path, or all below a directory. */
interface Hidden {
  readonly path: string;
  readonly isOpaque: boolean;
}

const IMPLIED: ModelInode = {
  type: 'dir',
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeSec: 0,
  mtimeNsec: 0,
  implied: true,
};

export class Model {
  /** By path: `/`, `/a`, `/a/b`. */
  readonly inodes = new Map<string, ModelInode>([['/', IMPLIED]]);

  applyLayer(members: readonly Member[]): void {
    const whiteouts = members.filter(isWhiteout);
    for (const hidden of whiteouts.map((member) => this.hiddenBy(member))) {
      this.hide(hidden);
    }
    for (const member of members) {
      if (!isWhiteout(member)) {
        this.applyMember(member);
      }
    }
  }

  hiddenBy({ name }: Member): Hidden {
    const base = posix.basename(name);
    const parent = this.real(posix.dirname(clean(name)));
    return base === '.wh..wh..opq'
      ? { path: parent, isOpaque: true }
      : { path: join(parent, base.slice('.wh.'.length)), isOpaque: false };
  }

  hide({ path, isOpaque }: Hidden): void {
    if (this.inodes.get(isOpaque ? path : posix.dirname(path))?.type === 'dir') {
      this.removeBelow(path);
      if (!isOpaque) {
        this.inodes.delete(path);
      }
    }
  }

  applyMember(member: Member): void {
    const { name, ...rest } = member;
    const path = this.locationOf(name);
    if (path === '/' && member.type !== 'dir') {
      throw new ModelRefusal('the root is no directory');
    }
    this.makeParents(path);
    if (member.type === 'dir') {
      if (this.inodes.get(path)?.type !== 'dir') {
        this.removeBelow(path);
      }
      this.inodes.set(path, { ...rest, implied: false });
      return;
    }
    this.removeBelow(path);
    this.inodes.delete(path);
    if (member.type === 'hardlink') {
      const inode = this.inodes.get(this.locationOf(member.target ?? ''));
      if (inode === undefined || inode.type === 'dir') {
        throw new ModelRefusal(`hard link ${name} to ${inode?.type ?? 'nothing'}`);
      }
      this.inodes.set(path, inode);
    } else {
      this.inodes.set(path, { ...rest, implied: false });
    }
  }

  /** Where an entry of that name lies: its directory resolved, its own name not followed. */
  locationOf(name: string): string {
    const path = clean(name);
    return path === '/' ? path : join(this.real(posix.dirname(path)), posix.basename(path));
  }

  /** A path with all links followed inside the image; what is not there is taken as it is written. */
  real(path: string, visited: string[] = []): string {
    let at = '/';
    const names = path.split('/');
    for (const [index, name] of names.entries()) {
      const next = name === '' || name === '.' ? at : posix.join(at, name);
      const inode = this.inodes.get(next);
      if (inode?.type === 'symlink') {
        if (visited.length === 255) {
          throw new ModelRefusal(`a loop of links at ${next}`);
        }
        // A relative target begins where the link lies.
        const target = inode.target?.startsWith('/') ? inode.target : `${at}/${inode.target ?? ''}`;
        return this.real([target, ...names.slice(index + 1)].join('/'), [...visited, next]);
      }
      at = next;
    }
    return at;
  }

  makeParents(path: string): void {
    const parent = posix.dirname(path);
    if (parent === path) {
      return;
    }
    this.makeParents(parent);
    if (this.inodes.get(parent)?.type !== 'dir') {
      this.inodes.set(parent, { ...IMPLIED });
    }
  }

  removeBelow(path: string): void {
    for (const other of this.inodes.keys()) {
      if (other !== path && other.startsWith(path === '/' ? '/' : `${path}/`)) {
        this.inodes.delete(other);
      }
    }
  }
}

function isWhiteout({ name }: Member): boolean {
  return posix.basename(name).startsWith('.wh.');
}

/** `..` is taken by the text alone here; inside the targets of links it is too, once they are resolved. */
function clean(name: string): string {
  return posix.join('/', name).replace(/(?!^)\/$/, '');
}

function join(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`;
}
