/** Opens images with the settings of the command line, and closes them when the command has ended. */
import { existsSync } from 'node:fs';
import type { CacheDir } from '../blob/cache-dir.ts';
import { PeelError } from '../errors.ts';
import type { Image, OpenImageOptions } from '../image.ts';
import { parsePlatform } from '../reference/platform.ts';
import { parseImageName } from '../reference/transport.ts';
import type { RegistryOptions } from '../source/registry/options.ts';
import type { ImageSource } from '../source/source.ts';
import type { Digest } from '../units.ts';
import type { Closable, Context, ImageOptions } from './command.ts';
import type { Settings } from './settings.ts';
import { VERSION } from './version.ts';

/** A connection that does not close in this time is left to the end of the process. */
const CLOSE_MS = 2_000;

/**
 * The registry client's options as the command line sets them.
 * @throws PeelError ERR_USAGE for credentials that were named and are not there, needed or not: it is a slip, and
 * where the registry gives the public part of what was asked for nobody would see it.
 */
export function registryOptionsOf(settings: Settings, env: NodeJS.ProcessEnv): RegistryOptions {
  const { authfile } = settings;
  if (authfile !== undefined && !existsSync(authfile)) {
    throw new PeelError('ERR_USAGE', `--authfile: there is no file ${authfile}`, {
      facts: { path: authfile },
    });
  }
  return {
    plainHttp: settings.plainHttp,
    tlsCa: settings.tlsCa,
    tlsSkipVerify: settings.tlsSkipVerify,
    trustedRealms: settings.trustedRealms,
    foreignLayers: settings.foreignLayers,
    authfile,
    env,
    userAgent: `peel/${VERSION}`,
  };
}

/** What an image is opened with, as the command line sets it. */
export function openOptionsOf(settings: Settings, env: NodeJS.ProcessEnv): OpenImageOptions {
  return {
    platform: settings.platform === undefined ? undefined : parsePlatform(settings.platform),
    cacheDir: settings.cacheDir,
    cacheLimits: { maxSize: settings.cacheMaxSize, minFreeShare: settings.cacheMinFree },
    allowUnverified: settings.allowUnverified,
    indexDigest: settings.indexDigest,
    offline: settings.offline,
    source: { registry: registryOptionsOf(settings, env) },
  };
}

/** Where an image or artifact comes from, without opening it as an image. The caller closes it. */
export async function openSourceOf(
  { settings, env, progress, signal }: Pick<Context, 'settings' | 'env' | 'progress' | 'signal'>,
  cache: CacheDir,
  name: string,
): Promise<ImageSource> {
  const { archiveTools } = await import('../image/archive-tools.ts');
  const { openSource } = await import('../source/open-source.ts');
  const tools = archiveTools(cache, (event) => progress.layerProgress(event));
  return openSource(parseImageName(name), { registry: registryOptionsOf(settings, env) }, tools, signal);
}

type OpenerContext = Pick<Context, 'settings' | 'env' | 'signal' | 'progress' | 'warn'>;

export class ImageOpener {
  readonly #context: OpenerContext;
  readonly #opened: Closable[] = [];
  readonly #shown: Image[] = [];

  constructor(context: OpenerContext) {
    this.#context = context;
  }

  async open(name: string, { isServed, ...options }: ImageOptions = {}): Promise<Image> {
    // Loaded here: help, version and doctor work also where the native addon does not.
    const { openImage } = await import('../image.ts');
    const { settings, env, signal, progress } = this.#context;
    const image = await openImage(name, {
      ...openOptionsOf(settings, env),
      onIndexBeside: wantsIndexNotice(settings) ? (list) => this.#tellOfIndex(name, list) : undefined,
      onProgress: (event) => progress.layerProgress(event),
      signal,
      ...options,
    });
    this.#opened.push(image);
    if (isServed !== true) this.#shown.push(image);
    return image;
  }

  #tellOfIndex(image: string, list: Digest): void {
    const what = `${image}: layers are read as a whole, though an index of peel lies beside the image`;
    const pinned = `--index-digest ${list} reads by it at once, if somebody whom you trust named that digest`;
    // Not to the log: of a mount in the background, that is a file that nobody looks into while he waits.
    this.#context.warn(`${what}: ${pinned}; --allow-unverified reads by any`).catch(() => undefined);
  }

  /** Closed with the images. */
  closeAtEnd(closable: Closable): void {
    this.#opened.push(closable);
  }

  /** @throws PeelError where something that was shown without proof is false. */
  async proveUnverified(): Promise<void> {
    for (const image of this.#shown) await image.proveUnverified(false);
  }

  /** Closes all; never fails, never waits long. */
  async close(): Promise<void> {
    const closing = Promise.allSettled(this.#opened.splice(0).map((each) => each.close()));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS);
    });
    await Promise.race([closing, late]);
    clearTimeout(timer);
  }
}

/** Whoever says how indexes are used, or wants no words, needs none. */
function wantsIndexNotice({ quiet, logLevel, allowUnverified, indexDigest, offline }: Settings): boolean {
  const isSilent = quiet || logLevel === 'silent' || logLevel === 'error';
  return !isSilent && !allowUnverified && indexDigest === undefined && !offline;
}
