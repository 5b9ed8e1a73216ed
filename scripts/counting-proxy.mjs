// An HTTP proxy on loopback in front of a registry that counts requests and body bytes: for the benchmarks
// and the tests, so that what peel fetches is counted by somebody else.
import http from 'node:http';
import { listenOnLoopback } from './listen.mjs';

/** @param {string} upstream host:port */
export async function countingProxy(upstream) {
  const counts = { requests: 0, bytes: 0, blobRequests: 0, blobBytes: 0 };
  const [hostname, port] = upstream.split(':');
  const agent = new http.Agent({ keepAlive: true });
  const server = http.createServer((request, response) => {
    const isBlob = request.url?.includes('/blobs/') === true;
    counts.requests += 1;
    if (isBlob) counts.blobRequests += 1;
    const { url: path, method } = request;
    const headers = { ...request.headers, host: upstream };
    const forwarded = http.request({ hostname, port, path, method, headers, agent }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.on('data', (chunk) => {
        counts.bytes += chunk.length;
        if (isBlob) counts.blobBytes += chunk.length;
      });
      answer.pipe(response);
    });
    forwarded.on('error', () => response.destroy());
    response.on('close', () => forwarded.destroy());
    request.pipe(forwarded);
  });
  return {
    address: await listenOnLoopback(server),
    counts,
    /** Sets the counts to zero. */
    reset() {
      Object.assign(counts, { requests: 0, bytes: 0, blobRequests: 0, blobBytes: 0 });
    },
    close() {
      agent.destroy();
      server.closeAllConnections();
      server.close();
    },
  };
}
