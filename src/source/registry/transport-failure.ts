/**
 * Failures below HTTP, told apart by what follows from them: try again, or give up.
 * undici's own errors stop here: some carry raw bytes of the server, which may hold what we sent.
 */
import { type ErrorCode, PeelError, systemCodeOf } from '../../errors.ts';

export class TransportFailure extends Error {
  override readonly name = 'TransportFailure';
  readonly code: ErrorCode;
  readonly isRetryable: boolean;

  constructor(message: string, options: { readonly code?: ErrorCode; readonly isRetryable?: boolean }) {
    super(message);
    this.code = options.code ?? 'ERR_REGISTRY_UNREACHABLE';
    this.isRetryable = options.isRetryable ?? false;
  }

  /** `doing`: what was attempted, for example `manifest latest of localhost:5000/x`. */
  toError(doing: string, host: string): PeelError {
    return new PeelError(this.code, `${doing}: ${host}: ${this.message}`, { facts: { host } });
  }
}

const RETRYABLE_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_SOCKET',
  'UND_ERR_CLOSED',
  'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
  // The connection ended inside a chunked body, or after the answer should have ended.
  'HPE_INVALID_EOF_STATE',
  'HPE_CLOSED_CONNECTION',
]);

const CERTIFICATE_CODE =
  /^(?:ERR_TLS_CERT|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED)/;
const NOT_TLS = /wrong.version.number|packet.length.too.long|http.request|record.layer.failure/i;

/** What became of an exchange; PeelErrors (deadline, interruption) and TransportFailures stay as they are. */
export function asTransportFailure(error: unknown): PeelError | TransportFailure {
  if (error instanceof PeelError || error instanceof TransportFailure) {
    return error;
  }
  const code = codeOf(error);
  if (CERTIFICATE_CODE.test(code)) {
    return new TransportFailure(
      `its TLS certificate is not accepted (${code}); a private authority is named with --tls-ca FILE`,
      {},
    );
  }
  if (isNotTLS(error)) {
    return new TransportFailure(
      `it does not speak TLS (${code}); a registry without TLS is named with --plain-http HOST`,
      {},
    );
  }
  if (RETRYABLE_CODES.has(code)) {
    return new TransportFailure(describe(code, error), { isRetryable: true });
  }
  if (code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new TransportFailure('the headers of its answer are too long', { code: 'ERR_REGISTRY_RESPONSE' });
  }
  if (code.startsWith('HPE_')) {
    return new TransportFailure(`its answer is not HTTP (${code})`, { code: 'ERR_REGISTRY_RESPONSE' });
  }
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_')) {
    return new TransportFailure(`the TLS handshake failed (${code})`, {});
  }
  return new TransportFailure(`the connection failed (${code === '' ? 'no reason given' : code})`, {});
}

/** The server answered a TLS greeting with something else; a certificate that is not trusted is another matter. */
export function isNotTLS(error: unknown): boolean {
  // OpenSSL's reason is in the code (ERR_SSL_WRONG_VERSION_NUMBER) or, with the code EPROTO, in the message.
  const code = codeOf(error);
  return NOT_TLS.test(code === 'EPROTO' && error instanceof Error ? error.message : code);
}

function codeOf(error: unknown): string {
  const code = systemCodeOf(error);
  if (code !== undefined) {
    return code;
  }
  // Several addresses were tried (RFC 8305): the first says why.
  return error instanceof AggregateError ? (systemCodeOf(error.errors[0]) ?? '') : '';
}

const PLAIN_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the connection was reset',
  ENOTFOUND: 'the host name does not resolve',
  EAI_AGAIN: 'the name server did not answer',
  ETIMEDOUT: 'the connection timed out',
  EHOSTUNREACH: 'there is no route to the host',
  ENETUNREACH: 'there is no route to the network',
  UND_ERR_CONNECT_TIMEOUT: 'the connection timed out',
  UND_ERR_SOCKET: 'the connection ended too early',
};

function describe(code: string, error: unknown): string {
  const words = PLAIN_WORDS[code] ?? 'the connection failed';
  const address = (error as { readonly address?: unknown } | undefined)?.address;
  const port = (error as { readonly port?: unknown } | undefined)?.port;
  const where = typeof address === 'string' && typeof port === 'number' ? ` at ${address}:${port}` : '';
  return `${words}${where} (${code})`;
}
