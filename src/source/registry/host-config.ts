/** One host that serves the repository: the registry itself or a mirror of it, and how to speak to it. */

export interface HostConfig {
  /** `host[:port]`, as the user wrote it: what credentials are looked up by and messages name. */
  readonly name: string;
  readonly scheme: 'https' | 'http';
  /** `host[:port]` to connect to; differs from `name` for Docker Hub. */
  readonly address: string;
  /** Try plain HTTP when the server does not speak TLS: loopback only. */
  readonly mayFallBackToPlain: boolean;
  /** What the distribution API's paths begin with: `/v2`, or with `override_path` anything. */
  readonly basePath: string;
  /** Serves other registries too, and is told which one by `ns=` (distribution-spec "Registry Proxying"). */
  readonly isProxy: boolean;
  readonly mayResolveTags: boolean;
  readonly mayPull: boolean;
  readonly skipVerify: boolean;
  /** PEM files of certificate authorities for this host alone. */
  readonly caFiles: readonly string[];
  /** Client certificates, as files; without a key file the certificate's file holds both. */
  readonly clientFiles: readonly { readonly certificate: string; readonly key: string | undefined }[];
  /** Sent to this host and to no other. */
  readonly headers: Readonly<Record<string, string | string[]>>;
}

/** Does a user's list of `HOST` and `HOST:PORT` entries name this host? */
export function namesHost(entries: readonly string[] | undefined, address: string): boolean {
  const { host } = splitAddress(address);
  return (entries ?? []).some((entry) => {
    const wanted = entry.toLowerCase();
    return wanted === address.toLowerCase() || wanted === host || wanted === `[${host}]`;
  });
}

/** `[::1]:5000` is host `::1`, port `5000`. Lower case. */
export function splitAddress(address: string): { readonly host: string; readonly port: string | undefined } {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(address.toLowerCase());
  return { host: match?.[1] ?? match?.[2] ?? address.toLowerCase(), port: match?.[3] };
}
