/**
 * Uploads as distribution-spec has them, on a scripted server: one session at a time, whose place changes with each
 * answer; chunks out of order are answered with 416. Rules that a test adds before come first.
 */
import type { RecordedRequest, Reply, ScriptedServer } from './scripted-server.ts';

export interface UploadHost {
  /** What a session was closed with, in order, and under which digest. */
  readonly stored: readonly { readonly digest: string; readonly body: string }[];
  /** Of the session that is open; a test may set it back. */
  kept: string;
  /** `METHOD` and bytes of all requests but HEAD and those of manifests. */
  readonly log: () => string[];
}

export interface UploadHostOptions {
  /** Headers of the answer that begins an upload. */
  readonly begun?: Readonly<Record<string, string>>;
  /** Default: relative, with a query. */
  readonly locationOf?: (state: number) => string;
}

export function hostUploads(
  server: ScriptedServer,
  repository: string,
  options: UploadHostOptions = {},
): UploadHost {
  const stored: { digest: string; body: string }[] = [];
  let state = 0;
  const location = (): string => {
    state += 1;
    return options.locationOf?.(state) ?? `/v2/${repository}/blobs/uploads/u?_state=${state}`;
  };
  const place = (status: number): Reply => {
    const range = `0-${Math.max(0, host.kept.length - 1)}`;
    return { status, headers: { location: location(), range } };
  };
  const host: UploadHost = {
    stored,
    kept: '',
    log: () =>
      server.requests
        .filter(({ method, path }) => method !== 'HEAD' && path.includes('/uploads/'))
        .map(({ method, body }) => (body === '' ? method : `${method} ${body.length}`)),
  };
  const reply = (request: RecordedRequest): Reply => {
    const { method, body, headers, query } = request;
    if (method === 'POST') {
      host.kept = '';
      return { status: 202, headers: { location: location(), range: '0-0', ...options.begun } };
    }
    // Whoever does not take over the place of the last answer is lost.
    if (Number(query.get('_state')) !== state) return { status: 404 };
    if (method === 'GET') return place(204);
    if (method === 'DELETE') return { status: 204 };
    const start = /^(\d+)-\d+$/.exec(headers['content-range'] ?? '')?.[1];
    if (start !== undefined && Number(start) !== host.kept.length) return { status: 416 };
    host.kept += body;
    if (method === 'PATCH') return place(202);
    stored.push({ digest: query.get('digest') ?? '', body: host.kept });
    return { status: 201, headers: { location: '/there' } };
  };
  server.rule({ path: /\/blobs\/uploads\//, reply });
  return host;
}
