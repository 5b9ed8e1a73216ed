/**
 * Does a server on loopback speak TLS? Asked once, with a connection of its own that carries nothing, before
 * the first request to a registry on loopback: only there may a request go without TLS unless the user says so.
 */
import { connect } from 'node:tls';
import { systemCodeOf } from '../../errors.ts';
import { splitAddress } from './host-config.ts';
import { isNotTLS } from './transport-failure.ts';

const DEFAULT_PORT = 443;

/**
 * `no` only when the server answered and it was not TLS, or when nothing listens on the default port of TLS.
 * `unknown` when it cannot be reached: the request that follows says why.
 */
export function probeTLS(address: string, limitMs: number): Promise<'yes' | 'no' | 'unknown'> {
  const { host, port } = splitAddress(address);
  return new Promise((resolve) => {
    // Nothing is sent over this connection, so nothing is trusted: without certificates it costs no time.
    const socket = connect({ host, port: Number(port ?? DEFAULT_PORT), rejectUnauthorized: false, ca: [] });
    const end = (result: 'yes' | 'no' | 'unknown'): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => end('unknown'), limitMs);
    let isConnected = false;
    socket.once('connect', () => {
      isConnected = true;
    });
    socket.once('secureConnect', () => end('yes'));
    socket.on('error', (error) => {
      if (isNotTLS(error) || (isConnected && systemCodeOf(error) === 'ECONNRESET')) {
        end('no');
      } else {
        const isRefused = !isConnected && systemCodeOf(error) === 'ECONNREFUSED';
        end(isConnected ? 'yes' : isRefused && port === undefined ? 'no' : 'unknown');
      }
    });
  });
}
