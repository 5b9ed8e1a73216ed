// Servers of the scripts on loopback, on a port that the kernel chooses.

/**
 * @param {import('node:net').Server} server
 * @returns {Promise<string>} host:port
 */
export async function listenOnLoopback(server) {
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(undefined));
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return `127.0.0.1:${address.port}`;
}
