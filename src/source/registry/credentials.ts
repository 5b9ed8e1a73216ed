/**
 * Where a user's credentials come from, in the order in which they are asked (docs/CONFIGURATION.md):
 *
 *   --authfile, REGISTRY_AUTH_FILE, DOCKER_AUTH_CONFIG (the text itself), $XDG_RUNTIME_DIR/containers/auth.json,
 *   $XDG_CONFIG_HOME/containers/auth.json, $DOCKER_CONFIG/config.json or ~/.docker/config.json
 *
 * In each: credHelpers, then credsStore, then auths, by the most specific key that matches. The first that has
 * something decides. Files are read anew each time, so a login during a long mount is seen. Only hosts that
 * the user named are ever looked up, never one that a registry named.
 */
import path from 'node:path';
import { isPeelError, PeelError } from '../../errors.ts';
import { log } from '../../log.ts';
import { type AuthFile, type Credential, credentialOfHelper, keysFor, parseAuthFile } from './auth-file.ts';
import { askHelper, HELPER_FOLDERS, type HelperOptions } from './credential-helper.ts';
import { limitsOf, type RegistryOptions } from './options.ts';
import { openSmallFile } from './small-file.ts';

export interface FoundCredential {
  readonly credential: Credential;
  /** For messages: `/root/.docker/config.json`, `credential helper pass of ...`. */
  readonly source: string;
}

const MAX_AUTH_FILE_BYTES = 1024 * 1024;
/** The key that Docker's own helpers keep Docker Hub under. */
const DOCKER_HUB_SERVER = 'https://index.docker.io/v1/';

interface Source {
  readonly name: string;
  /** The user pointed at it: what is wrong with it is an error, not a warning. */
  readonly isExplicit: boolean;
  readonly load: () => Promise<string | undefined>;
}

export class CredentialFinder {
  readonly #options: RegistryOptions;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  /**
   * The user's credential for a repository, or undefined where there is none.
   * @throws PeelError ERR_USAGE for an explicit file that is missing or broken, ERR_AUTH_REFUSED for a helper that fails.
   */
  async find(registry: string, repository: string): Promise<FoundCredential | undefined> {
    const keys = keysFor(registry, repository);
    for (const source of this.#sources()) {
      const file = await this.#read(source);
      const found = file === undefined ? undefined : await this.#findIn(file, keys, source.name);
      if (found !== undefined) {
        return found;
      }
    }
    return undefined;
  }

  #sources(): Source[] {
    const env = this.#options.env ?? process.env;
    const sources: Source[] = [];
    const file = (name: string | undefined, isExplicit: boolean): void => {
      if (name !== undefined && name !== '' && (isExplicit || path.isAbsolute(name))) {
        sources.push({ name, isExplicit, load: () => loadFile(name) });
      }
    };
    const inFolder = (folder: string | undefined, ...rest: string[]): string | undefined =>
      folder === undefined || folder === '' ? undefined : path.join(folder, ...rest);

    file(this.#options.authfile, true);
    const { authText } = this.#options;
    if (authText !== undefined) {
      sources.push({ name: 'the pull', isExplicit: false, load: () => Promise.resolve(authText()) });
    }
    file(env['REGISTRY_AUTH_FILE'], true);
    const text = env['DOCKER_AUTH_CONFIG'];
    if (text !== undefined && text !== '') {
      sources.push({ name: 'DOCKER_AUTH_CONFIG', isExplicit: true, load: () => Promise.resolve(text) });
    }
    file(inFolder(env['XDG_RUNTIME_DIR'], 'containers', 'auth.json'), false);
    file(
      inFolder(env['XDG_CONFIG_HOME'] ?? inFolder(env['HOME'], '.config'), 'containers', 'auth.json'),
      false,
    );
    file(inFolder(env['DOCKER_CONFIG'] ?? inFolder(env['HOME'], '.docker'), 'config.json'), false);
    return sources;
  }

  async #read(source: Source): Promise<AuthFile | undefined> {
    try {
      const text = await source.load();
      if (text === undefined) {
        if (source.isExplicit) {
          throw new PeelError('ERR_USAGE', `credentials file ${source.name} does not exist`);
        }
        return undefined;
      }
      return parseAuthFile(text, source.name);
    } catch (error) {
      if (source.isExplicit || !isPeelError(error)) {
        throw error;
      }
      log().warn({ file: source.name }, `passed over: ${error.message}`);
      return undefined;
    }
  }

  async #findIn(file: AuthFile, keys: readonly string[], name: string): Promise<FoundCredential | undefined> {
    const host = keys.at(-1) ?? '';
    const helper = firstOf(file.credHelpers, keys);
    if (helper !== undefined) {
      const found = await this.#ask(helper.value, helper.key, name);
      if (found !== undefined) {
        return found;
      }
    }
    if (file.credsStore !== undefined && helper?.value !== file.credsStore) {
      const found = await this.#ask(file.credsStore, host, name);
      if (found !== undefined) {
        return found;
      }
    }
    const entry = firstOf(file.auths, keys);
    return entry === undefined ? undefined : { credential: entry.value, source: name };
  }

  async #ask(helper: string, key: string, file: string): Promise<FoundCredential | undefined> {
    const options: HelperOptions = {
      folders: this.#options.helperPath ?? HELPER_FOLDERS,
      limitMs: limitsOf(this.#options).helperMs,
      env: this.#options.env ?? process.env,
    };
    const answer = await askHelper(helper, key === 'docker.io' ? DOCKER_HUB_SERVER : key, options);
    return answer === undefined
      ? undefined
      : { credential: credentialOfHelper(answer), source: `credential helper ${helper} (named in ${file})` };
  }
}

async function loadFile(name: string): Promise<string | undefined> {
  const file = await openSmallFile(name, MAX_AUTH_FILE_BYTES);
  if (file?.isReadByOthers === true && /"(?:auth|password|identitytoken|registrytoken)"/.test(file.text)) {
    log().warn({ file: name }, 'credentials file can be read by other users: chmod 600 it');
  }
  return file?.text;
}

function firstOf<T>(
  map: ReadonlyMap<string, T>,
  keys: readonly string[],
): { key: string; value: T } | undefined {
  for (const key of keys) {
    const value = map.get(key);
    if (value !== undefined) {
      return { key, value };
    }
  }
  return undefined;
}
