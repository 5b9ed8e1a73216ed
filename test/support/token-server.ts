/**
 * A token server for tests, by distribution docs/spec/auth/token.md and jwt.md: signs what Debian's
 * docker-registry verifies. Anonymous requests get `pull`; the one user gets what it asks for.
 */
import { randomUUID, sign } from 'node:crypto';
import type { Certificate } from './certificates.ts';
import {
  type RecordedRequest,
  type Reply,
  type ScriptedServer,
  startScriptedServer,
} from './scripted-server.ts';

export const TOKEN_ISSUER = 'peel-test-issuer';
export const TOKEN_SERVICE = 'peel-test-service';

export interface TokenServerOptions {
  /** Signs the tokens; the registry trusts its certificate. */
  readonly signer: Certificate;
  readonly user: string;
  readonly password: string;
  /** Seconds; default 60. */
  readonly expiresIn?: number;
  /** Does an anonymous request get `pull`? Default true. */
  readonly isOpen?: boolean;
}

export interface TokenServer {
  readonly realm: string;
  readonly requests: readonly RecordedRequest[];
  readonly server: ScriptedServer;
  /** A token for these actions on a repository, as the server would give it. */
  tokenFor(repository: string, actions: readonly string[]): string;
  close(): Promise<void>;
}

interface Access {
  readonly type: string;
  readonly name: string;
  readonly actions: readonly string[];
}

export async function startTokenServer(options: TokenServerOptions): Promise<TokenServer> {
  const server = await startScriptedServer();
  server.rule({ path: '/token', reply: (request) => answer(request, options) });
  return {
    realm: `${server.origin}/token`,
    requests: server.requests,
    server,
    tokenFor: (name, actions) => signToken([{ type: 'repository', name, actions }], options.user, options),
    close: () => server.close(),
  };
}

function answer(request: RecordedRequest, options: TokenServerOptions): Reply {
  if (request.method !== 'GET') {
    return { status: 405 };
  }
  const { authorization } = request.headers;
  const expected = Buffer.from(`${options.user}:${options.password}`).toString('base64');
  if (authorization !== undefined && authorization !== `Basic ${expected}`) {
    return { status: 401, body: JSON.stringify({ details: 'incorrect username or password' }) };
  }
  const isUser = authorization !== undefined;
  const given = isUser ? ['pull', 'push'] : options.isOpen === false ? [] : ['pull'];
  const access = request.query.getAll('scope').flatMap((scope) => {
    const match = /^([^:]+):(.+):([^:]+)$/.exec(scope);
    const actions = (match?.[3] ?? '').split(',').filter((action) => given.includes(action));
    return match === null ? [] : [{ type: match[1] ?? '', name: match[2] ?? '', actions }];
  });
  const token = signToken(access, isUser ? options.user : '', options);
  return {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token, expires_in: options.expiresIn ?? 60 }),
  };
}

function signToken(access: readonly Access[], subject: string, options: TokenServerOptions): string {
  const der = options.signer.cert.replaceAll(/-----[^-]+-----|\s/g, '');
  const now = Math.floor(Date.now() / 1000);
  const header = encode({ typ: 'JWT', alg: 'ES256', x5c: [der] });
  const claims = encode({
    iss: TOKEN_ISSUER,
    sub: subject,
    aud: TOKEN_SERVICE,
    iat: now,
    nbf: now - 10,
    exp: now + (options.expiresIn ?? 60),
    jti: randomUUID(),
    access,
  });
  const key = { key: options.signer.key, dsaEncoding: 'ieee-p1363' } as const;
  const signature = sign('sha256', Buffer.from(`${header}.${claims}`), key).toString('base64url');
  return `${header}.${claims}.${signature}`;
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
