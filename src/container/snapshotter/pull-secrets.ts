/**
 * The credentials that kubelet sends with each pull, kept for as long as this process runs and nowhere else: by
 * repository, in the form of an auth file, so that the registry client finds them as it finds all others.
 */
import { log } from '../../log.ts';
import { parseRegistryReference } from '../../reference/registry-reference.ts';
import { normalizeKey } from '../../source/registry/auth-file.ts';

/** Of repositories; the one that was used least recently goes. */
const MAX_SECRETS = 1000;

/** `runtime.v1.AuthConfig`, all of it empty where nothing is said. */
export interface PullAuth {
  readonly username: string;
  readonly password: string;
  /** Base64 of `username:password`. */
  readonly auth: string;
  /** The host that it is for; empty: that of the image. */
  readonly server_address: string;
  readonly identity_token: string;
  readonly registry_token: string;
}

export class PullSecrets {
  readonly #entries = new Map<string, Readonly<Record<string, string>>>();

  /** Never throws: what is wrong with the name or the credentials, containerd says to whoever pulls. */
  note(image: string, auth: PullAuth): void {
    try {
      const { registry, repository } = parseRegistryReference(image);
      if (auth.server_address !== '' && hostOf(auth.server_address) !== hostOf(registry)) return;
      const entry = entryOf(auth);
      if (entry === undefined) return;
      const key = `${registry}/${repository}`;
      this.#entries.delete(key);
      this.#entries.set(key, entry);
      const [oldest] = this.#entries.keys();
      if (this.#entries.size > MAX_SECRETS && oldest !== undefined) this.#entries.delete(oldest);
    } catch {
      log().debug({ image }, 'credentials of a pull are not kept: its image has no name of a registry');
    }
  }

  /** As an auth file says it; undefined where there are none. */
  authText(): string | undefined {
    return this.#entries.size === 0
      ? undefined
      : JSON.stringify({ auths: Object.fromEntries(this.#entries) });
  }
}

function entryOf(auth: PullAuth): Readonly<Record<string, string>> | undefined {
  if (auth.username !== '') return { username: auth.username, password: auth.password };
  if (auth.identity_token !== '') return { identitytoken: auth.identity_token };
  if (auth.auth !== '') return { auth: auth.auth };
  return auth.registry_token === '' ? undefined : { registrytoken: auth.registry_token };
}

/** `https://host:5000/v1/` -> `host:5000`; Docker Hub has several names. */
function hostOf(address: string): string {
  return normalizeKey(address).replace(/\/.*$/, '');
}
