/**
 * What a tar file holds, and where: names to byte ranges of the file.
 *
 * Only headers are read. tar-stream decodes them, one member at a time; bodies are skipped by position, so
 * that listing an archive costs the number of its members, not its size. Names are keys and never become
 * paths on this machine: `./` and `..` are resolved inside the archive (E173, E181), and so are links (E174).
 */
import { extract, type Header } from 'tar-stream';
import { PeelError, throwIfAborted } from '../../errors.ts';
import { excerpt } from '../../reference/digest.ts';
import type { OpenFile } from '../local-file.ts';

/** A stretch of the archive file. */
export interface Member {
  readonly start: number;
  readonly size: number;
}

interface Entry extends Member {
  /** Links: the normalised name they lead to. */
  readonly target: string | undefined;
  /** False for what has no content of its own: folders, devices. */
  readonly isFile: boolean;
}

const BLOCK = 512;
/** Of all tars but those from before 1988. */
const MAGIC = 'ustar';
const MAGIC_AT = 257;
const ZERO_BLOCK = Buffer.alloc(BLOCK);
/** Read at once: small members follow each other closely, and a page is read from the disk anyway. */
const READ_AHEAD = 32 * BLOCK;
/** `docker save` writes a few members a layer; 512 layers and many images fit with room. */
const MAX_MEMBERS = 100_000;
/** FAULTS section 7: PAX header 1 MiB; a little more for what surrounds it. */
const MAX_HEADER_BYTES = 1024 * 1024 + 16 * BLOCK;
/** As the kernel's limit on symbolic links in a path. */
const MAX_LINKS = 40;

export class MemberTable {
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #repeated: ReadonlySet<string>;

  constructor(entries: ReadonlyMap<string, Entry>, repeated: ReadonlySet<string>) {
    this.#entries = entries;
    this.#repeated = repeated;
  }

  /**
   * The file of that name, links followed; the last one where several have it, as `tar x` would leave it.
   * undefined when there is none, or a link leads nowhere or in a circle.
   */
  find(name: string): Member | undefined {
    let key = normaliseName(name);
    for (let hops = 0; hops <= MAX_LINKS; hops += 1) {
      const entry = this.#entries.get(key);
      if (entry === undefined) return undefined;
      if (entry.target === undefined) return entry.isFile ? entry : undefined;
      key = entry.target;
    }
    return undefined;
  }

  /** Of all members, normalised. */
  names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  has(name: string): boolean {
    return this.#entries.has(normaliseName(name));
  }

  /** Whether several members have that name: readers of such an archive see different things. */
  isRepeated(name: string): boolean {
    return this.#repeated.has(normaliseName(name));
  }
}

/**
 * @param what names the archive in messages.
 * @throws PeelError ERR_IMAGE_NOT_FOUND for what is no tar, ERR_DOCUMENT_INVALID for a cut one, ERR_LIMIT_EXCEEDED.
 */
export async function readMemberTable(
  file: OpenFile,
  what: string,
  signal?: AbortSignal,
): Promise<MemberTable> {
  const entries = new Map<string, Entry>();
  const repeated = new Set<string>();
  const blocks = new BlockReader(file);
  let count = 0;
  for (let at = 0; ; ) {
    throwIfAborted(signal, `reading ${what}`);
    const header = await readHeader(blocks, at, what);
    if (header === undefined) return new MemberTable(entries, repeated);
    const { headers, bodyStart } = header;
    const name = normaliseName(headers.name);
    if (entries.has(name)) repeated.add(name);
    entries.set(name, entryOf(headers, bodyStart, name));
    count += 1;
    if (count > MAX_MEMBERS) {
      throw new PeelError('ERR_LIMIT_EXCEEDED', `${what} has more than ${MAX_MEMBERS} members`);
    }
    at = bodyStart + Math.ceil(bodySizeOf(headers) / BLOCK) * BLOCK;
    if (bodyStart + bodySizeOf(headers) > file.size) {
      throw invalid(
        what,
        at,
        `the member ${excerpt(name)} of ${headers.size} bytes goes past the end of the file`,
      );
    }
  }
}

/** `./a//b` and `/a/x/../b` are `a/b`; `..` stops at the root of the archive. */
export function normaliseName(name: string): string {
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

function entryOf(headers: Header, start: number, name: string): Entry {
  const target = headers.linkname ?? '';
  const isFile = headers.type === 'file' || headers.type === 'contiguous-file';
  const size = bodySizeOf(headers);
  if (headers.type === 'link') return { start, size, isFile, target: normaliseName(target) };
  if (headers.type !== 'symlink') return { start, size, isFile, target: undefined };
  return {
    start,
    size,
    isFile,
    target: normaliseName(target.startsWith('/') ? target : `${name}/../${target}`),
  };
}

/** tar-stream's rule, which it frames archives by as well: a folder has no body, whatever its size field says. */
function bodySizeOf(headers: Header): number {
  return headers.type === 'directory' ? 0 : (headers.size ?? 0);
}

/** The member whose first header block is at `at`; undefined at the end of the archive. */
async function readHeader(
  blocks: BlockReader,
  at: number,
  what: string,
): Promise<{ readonly headers: Header; readonly bodyStart: number } | undefined> {
  const decoder = new HeaderDecoder();
  try {
    for (let next = at; next - at <= MAX_HEADER_BYTES; ) {
      if (next === at && next >= blocks.end) return undefined;
      if (next + BLOCK > blocks.end) {
        if (next === 0) throw noTar(what);
        throw invalid(what, next, 'the archive is cut off in the middle of a header');
      }
      const block = await blocks.read(next);
      // One block of zeros ends it for us: what follows two of them is padding, what follows one is damage.
      if (next === at && block.equals(ZERO_BLOCK)) return undefined;
      next += BLOCK;
      let headers: Header | undefined;
      try {
        headers = await decoder.push(block);
      } catch (error) {
        if (next === BLOCK && !block.subarray(MAGIC_AT).toString('latin1').startsWith(MAGIC))
          throw noTar(what);
        throw invalid(what, next - BLOCK, (error as Error).message);
      }
      if (headers === undefined) continue;
      if (!Number.isSafeInteger(bodySizeOf(headers)) || bodySizeOf(headers) < 0) {
        throw invalid(what, at, `the member ${excerpt(headers.name)} has no valid size`);
      }
      return { headers, bodyStart: next };
    }
    throw new PeelError(
      'ERR_LIMIT_EXCEEDED',
      `${what}: a header at byte ${at} is longer than ${MAX_HEADER_BYTES} bytes`,
    );
  } finally {
    decoder.close();
  }
}

/** Blocks of the file by position, several a read. */
class BlockReader {
  readonly end: number;
  readonly #file: OpenFile;
  #start = 0;
  #chunk: Buffer = Buffer.alloc(0);

  constructor(file: OpenFile) {
    this.#file = file;
    this.end = file.size;
  }

  /** The block that begins at `at` and lies inside the file. */
  async read(at: number): Promise<Buffer> {
    if (at < this.#start || at + BLOCK > this.#start + this.#chunk.length) {
      this.#chunk = await this.#file.read(at, Math.min(READ_AHEAD, this.end - at));
      this.#start = at;
    }
    return this.#chunk.subarray(at - this.#start, at - this.#start + BLOCK);
  }
}

/**
 * tar-stream, fed block by block until it has a member's header, with its long names and PAX records put in.
 * A high-water mark of one byte makes every write wait for its own `drain`: that tells that the block was
 * looked at, so that not one block of a body is ever taken for a header.
 */
class HeaderDecoder {
  readonly #stream = extract({ highWaterMark: 1, allowUnknownFormat: true } as Parameters<typeof extract>[0]);
  #headers: Header | undefined;
  #failure: Error | undefined;

  constructor() {
    this.#stream.on('entry', (headers, body, next) => {
      this.#headers = headers;
      body.on('error', () => {});
      body.resume();
      next();
    });
    this.#stream.on('error', (error: Error) => {
      this.#failure = error;
    });
  }

  /** @returns the header once it is complete. */
  push(block: Buffer): Promise<Header | undefined> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#stream.off('drain', settle).off('close', settle);
        if (this.#failure === undefined) resolve(this.#headers);
        else reject(this.#failure);
      };
      this.#stream.on('drain', settle).on('close', settle);
      if (this.#stream.write(block)) settle();
    });
  }

  close(): void {
    this.#stream.destroy();
  }
}

/** The very first header is none, and does not even look like one: the file is something else, no image is there. */
function noTar(what: string): PeelError {
  return new PeelError(
    'ERR_IMAGE_NOT_FOUND',
    `${what} is not an image archive: it does not begin as a tar does`,
  );
}

function invalid(what: string, offset: number, why: string): PeelError {
  return new PeelError('ERR_DOCUMENT_INVALID', `${what} is not a readable tar: ${why} (at byte ${offset})`, {
    facts: { offset },
  });
}
