/**
 * A registry that does as it is told: a real HTTP/1.1 (or HTTPS) server on loopback, with content that is
 * served well, and rules that come before it for what a real registry cannot be made to do.
 *
 *   const server = await startScriptedServer();
 *   const layer = server.addBlob('app', bytes);                      // GET /v2/app/blobs/sha256:..., with ranges
 *   server.addManifest('app', 'latest', manifestBytes, mediaType);   // by tag and by digest
 *   server.rule({ path: /\/blobs\//, times: 1, reply: { status: 503 } });
 *   server.rule({ path: /\/blobs\//, reply: (request) => ({ ...server.content(request), resetAfter: 100 }) });
 *   ... peel ls ${server.address}/app ...
 *   server.requests                                                  // everything that was asked, with headers
 *   await server.close();
 *
 * The first rule that matches and is not spent answers; without one the content does, or 404.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTLSServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { sha256Digest } from './digests.ts';

export interface RecordedRequest {
  readonly method: string;
  /** With its query. */
  readonly url: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

export interface Reply {
  /** Default 200. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: Uint8Array | string;
  /** Milliseconds before the status line. */
  readonly delayMs?: number;
  /** The connection ends in an orderly way after so many bytes of the body. */
  readonly truncateAfter?: number;
  /** The connection is reset after so many bytes of the body. */
  readonly resetAfter?: number;
  /** Nothing more comes after so many bytes of the body; the connection stays. */
  readonly stallAfter?: number;
  /** After so many bytes of the body the rest waits until the promise resolves. */
  readonly hold?: { readonly after: number; readonly until: Promise<unknown> };
  /** The body comes in pieces of `bytes`, one every `everyMs`. */
  readonly drip?: { readonly bytes: number; readonly everyMs: number };
  /** This bit of the body, counted from its beginning, is turned over. */
  readonly flipBit?: number;
  /** No Content-Length: chunked. */
  readonly chunked?: true;
  /** The bytes of the connection from here on, instead of an answer; the connection ends after them. */
  readonly raw?: Uint8Array | string;
  /** No answer at all; the connection stays. */
  readonly silent?: true;
}

interface Rule {
  readonly method?: string;
  /** Against the path without its query. */
  readonly path?: string | RegExp;
  readonly when?: (request: RecordedRequest) => boolean;
  /** How often it answers before it is spent; default: always. */
  readonly times?: number;
  readonly reply: Reply | ((request: RecordedRequest, nth: number) => Reply | Promise<Reply>);
}

export interface ScriptedServer {
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  readonly origin: string;
  readonly requests: readonly RecordedRequest[];
  /** Bytes of bodies handed to connections. */
  readonly bodyBytes: number;
  readonly connections: number;
  rule(rule: Rule): void;
  clearRules(): void;
  clearRequests(): void;
  addBlob(repository: string, bytes: Uint8Array): ServedDescriptor;
  /** Served by digest, and by `tag` where there is one. */
  addManifest(
    repository: string,
    tag: string | undefined,
    bytes: Uint8Array,
    mediaType: string,
  ): ServedDescriptor;
  /** What the content would answer: for rules that spoil it. */
  content(request: RecordedRequest): Reply;
  close(): Promise<void>;
}

export interface ServedDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface ScriptedServerOptions {
  readonly tls?: {
    readonly key: string;
    readonly cert: string;
    readonly ca?: string;
    readonly requestCert?: boolean;
  };
  /** Default 127.0.0.1. */
  readonly host?: string;
}

export async function startScriptedServer(options: ScriptedServerOptions = {}): Promise<ScriptedServer> {
  const rules: { readonly rule: Rule; used: number }[] = [];
  const requests: RecordedRequest[] = [];
  const stored = new Map<string, { readonly mediaType: string; readonly bytes: Buffer }>();
  const sockets = new Set<Socket>();
  let bodyBytes = 0;
  let connections = 0;

  const content = (request: RecordedRequest): Reply => {
    const found = stored.get(request.path);
    if (found === undefined) {
      const body = JSON.stringify({ errors: [{ code: 'NAME_UNKNOWN', message: 'not here' }] });
      return { status: 404, headers: { 'content-type': 'application/json' }, body };
    }
    return rangedReply(found.bytes, request, found.mediaType);
  };

  const replyTo = async (request: RecordedRequest): Promise<Reply> => {
    for (const entry of rules) {
      const { rule } = entry;
      const isMatch =
        (rule.method === undefined || rule.method === request.method) &&
        (rule.path === undefined ||
          (typeof rule.path === 'string' ? rule.path === request.path : rule.path.test(request.path))) &&
        (rule.when === undefined || rule.when(request)) &&
        (rule.times === undefined || entry.used < rule.times);
      if (isMatch) {
        entry.used += 1;
        return typeof rule.reply === 'function' ? rule.reply(request, entry.used) : rule.reply;
      }
    }
    return content(request);
  };

  const listener = (message: IncomingMessage, response: ServerResponse): void => {
    void (async () => {
      const request = await record(message);
      requests.push(request);
      const reply = await replyTo(request);
      bodyBytes += await send(reply, response);
    })().catch((error: unknown) => {
      // A client that went away is part of the tests; a mistake in a rule must be seen.
      if (!response.destroyed && !message.destroyed) {
        response.destroy();
        process.stderr.write(`scripted server: ${String(error)}\n`);
      }
    });
  };
  const limits = { keepAliveTimeout: 10_000, requestTimeout: 0, headersTimeout: 0 };
  const server =
    options.tls === undefined
      ? createServer(limits, listener)
      : createTLSServer({ ...limits, ...options.tls }, listener);
  server.on('connection', (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, options.host ?? '127.0.0.1', resolve);
  });
  const { address: ip, port, family } = server.address() as AddressInfo;
  const address = `${family === 'IPv6' ? `[${ip}]` : ip}:${port}`;

  const add = (path: string, mediaType: string, bytes: Uint8Array): void => {
    stored.set(path, { mediaType, bytes: Buffer.from(bytes) });
  };
  return {
    address,
    origin: `${options.tls === undefined ? 'http' : 'https'}://${address}`,
    requests,
    get bodyBytes() {
      return bodyBytes;
    },
    get connections() {
      return connections;
    },
    rule: (rule) => {
      rules.push({ rule, used: 0 });
    },
    clearRules: () => {
      rules.length = 0;
    },
    clearRequests: () => {
      requests.length = 0;
      bodyBytes = 0;
    },
    addBlob: (repository, bytes) => {
      const descriptor = describe(bytes, 'application/octet-stream');
      add(`/v2/${repository}/blobs/${descriptor.digest}`, descriptor.mediaType, bytes);
      return descriptor;
    },
    addManifest: (repository, tag, bytes, mediaType) => {
      const descriptor = describe(bytes, mediaType);
      add(`/v2/${repository}/manifests/${descriptor.digest}`, mediaType, bytes);
      if (tag !== undefined) {
        add(`/v2/${repository}/manifests/${tag}`, mediaType, bytes);
      }
      return descriptor;
    },
    content,
    close: async () => {
      for (const socket of sockets) {
        socket.destroy();
      }
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** 206 for a single range, as RFC 9110 has it; 416 for one beyond the end; the whole otherwise. */
function rangedReply(bytes: Buffer, request: RecordedRequest, mediaType = 'application/octet-stream'): Reply {
  const headers = { 'content-type': mediaType, 'accept-ranges': 'bytes' };
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers['range'] ?? '');
  if (match === null) {
    return { headers, body: bytes };
  }
  const start = Number(match[1]);
  const end = match[2] === '' ? bytes.length : Math.min(bytes.length, Number(match[2]) + 1);
  if (start >= bytes.length || start >= end) {
    return { status: 416, headers: { ...headers, 'content-range': `bytes */${bytes.length}` } };
  }
  const range = `bytes ${start}-${end - 1}/${bytes.length}`;
  return { status: 206, headers: { ...headers, 'content-range': range }, body: bytes.subarray(start, end) };
}

function describe(bytes: Uint8Array, mediaType: string): ServedDescriptor {
  return {
    mediaType,
    digest: sha256Digest(bytes),
    size: bytes.length,
  };
}

async function record(message: IncomingMessage): Promise<RecordedRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) {
    chunks.push(chunk as Buffer);
  }
  const url = new URL(message.url ?? '/', 'http://server');
  const headers: Record<string, string | undefined> = {};
  for (const [name, value] of Object.entries(message.headers)) {
    headers[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return {
    method: message.method ?? '',
    url: message.url ?? '',
    path: decodeURIComponent(url.pathname),
    query: url.searchParams,
    headers,
    body: Buffer.concat(chunks).toString('utf8'),
  };
}

/** Returns the bytes of the body that were sent. */
async function send(reply: Reply, response: ServerResponse): Promise<number> {
  await pause(reply.delayMs ?? 0, response);
  const { socket } = response;
  if (socket === null || reply.silent === true) {
    return 0;
  }
  if (reply.raw !== undefined) {
    socket.end(reply.raw);
    return 0;
  }
  const body = Buffer.from(reply.body ?? '');
  if (reply.flipBit !== undefined && reply.flipBit < body.length * 8) {
    const at = reply.flipBit >> 3;
    body[at] = (body[at] ?? 0) ^ (1 << (reply.flipBit & 7));
  }
  for (const [name, value] of Object.entries(reply.headers ?? {})) {
    response.setHeader(name, typeof value === 'string' ? value : [...value]);
  }
  if (reply.chunked === undefined && !response.hasHeader('content-length')) {
    response.setHeader('content-length', body.length);
  }
  // A length that is a lie is part of the tests.
  response.strictContentLength = false;
  response.writeHead(reply.status ?? 200);
  response.flushHeaders();
  const cut = reply.truncateAfter ?? reply.resetAfter ?? reply.stallAfter ?? body.length;
  const piece = reply.drip?.bytes ?? Math.max(1, body.length);
  let sent = 0;
  while (sent < Math.min(cut, body.length) && !response.destroyed) {
    if (reply.hold !== undefined && sent === reply.hold.after) await heldOrClosed(reply.hold.until, response);
    const holdAt = sent < (reply.hold?.after ?? 0) ? (reply.hold?.after ?? 0) : body.length;
    const end = Math.min(sent + piece, cut, holdAt, body.length);
    await write(response, body.subarray(sent, end));
    sent = end;
    await pause(reply.drip?.everyMs ?? 0, response);
  }
  if (reply.resetAfter !== undefined) {
    socket.resetAndDestroy();
  } else if (reply.truncateAfter !== undefined) {
    socket.end();
  } else if (reply.stallAfter === undefined) {
    response.end();
  }
  return sent;
}

/** Until the bytes are with the kernel, so that a reset right after does not take them back. */
function write(response: ServerResponse, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    if (bytes.length === 0 || response.destroyed) {
      resolve();
      return;
    }
    response.once('close', resolve);
    response.write(bytes, () => {
      response.off('close', resolve);
      resolve();
    });
  });
}

function heldOrClosed(held: Promise<unknown>, response: ServerResponse): Promise<unknown> {
  return Promise.race([held, new Promise((resolve) => response.once('close', resolve))]);
}

function pause(ms: number, response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (ms === 0 || response.destroyed) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      response.off('close', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    response.once('close', done);
  });
}
