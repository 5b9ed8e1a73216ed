// A TCP proxy on loopback that makes a connection as slow as one over a long line: a round-trip time, and one
// bottleneck in each direction that all connections share. Counts the bytes that arrive at the client. For the
// benchmarks and the tests.
import net from 'node:net';
import { listenOnLoopback } from './listen.mjs';

/** Bytes on their way in one connection and direction before its sender has to wait: a TCP window. */
const WINDOW = 4 << 20;
/** Connections take turns on the line by pieces of this size. */
const PIECE = 16 << 10;

/** The line in one direction. */
class Line {
  #free = 0;
  #bytesPerMs;

  /** @param {number} megabits a second */
  constructor(megabits) {
    this.#bytesPerMs = (megabits * 1e6) / 8 / 1000;
  }

  /** When the last of `bytes`, sent now, has left, in ms of performance.now(). */
  send(bytes) {
    this.#free = Math.max(performance.now(), this.#free) + bytes / this.#bytesPerMs;
    return this.#free;
  }
}

/**
 * Moves bytes from one socket to the other, each piece when it would arrive.
 * @param {net.Socket} from
 * @param {net.Socket} to
 * @param {Line} line
 * @param {number} delay ms
 * @param {(bytes: number) => void} count
 */
function carry(from, to, line, delay, count) {
  /** @type {{at: number, piece: Buffer | undefined}[]} undefined: the end */
  const travelling = [];
  let bytes = 0;
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const arrive = () => {
    timer = undefined;
    // Timers are 1 ms coarse.
    while (travelling.length > 0 && travelling[0].at <= performance.now() + 0.5) {
      const { piece } = travelling.shift();
      if (piece === undefined) {
        to.end();
        return;
      }
      bytes -= piece.length;
      count(piece.length);
      if (!to.destroyed) to.write(piece);
    }
    resume();
    if (travelling.length > 0) timer = setTimeout(arrive, Math.max(1, travelling[0].at - performance.now()));
  };
  const resume = () => {
    if (from.isPaused() && bytes < WINDOW && !to.writableNeedDrain) from.resume();
  };
  const depart = (at, piece) => {
    travelling.push({ at: at + delay, piece });
    timer ??= setTimeout(arrive, Math.max(0, at + delay - performance.now()));
  };
  from.on('data', (chunk) => {
    for (let at = 0; at < chunk.length; at += PIECE) {
      const piece = chunk.subarray(at, at + PIECE);
      bytes += piece.length;
      depart(line.send(piece.length), piece);
    }
    if (bytes >= WINDOW || to.writableNeedDrain) from.pause();
  });
  to.on('drain', resume);
  from.on('end', () => depart(line.send(0), undefined));
  from.on('close', () => {
    if (!from.errored) return;
    clearTimeout(timer);
    to.destroy();
  });
  to.on('close', () => {
    clearTimeout(timer);
    from.destroy();
  });
}

/**
 * @param {string} upstream host:port
 * @param {{roundTripMs: number, megabits: number}} line megabits a second, in each direction
 */
export async function slowProxy(upstream, { roundTripMs, megabits }) {
  const [host = '', port = ''] = upstream.split(':');
  const counts = { connections: 0, bytes: 0 };
  const up = new Line(megabits);
  const down = new Line(megabits);
  /** @type {Set<net.Socket>} */
  const sockets = new Set();
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    counts.connections += 1;
    client.pause();
    const registry = net.connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
    for (const socket of [client, registry]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => sockets.delete(socket));
    }
    carry(client, registry, up, roundTripMs / 2, () => {});
    carry(registry, client, down, roundTripMs / 2, (bytes) => {
      counts.bytes += bytes;
    });
    // Registering for `data` has started the flow: it begins when the handshake over the long line is done.
    client.pause();
    registry.once('connect', () => setTimeout(() => client.resume(), roundTripMs));
  });
  return {
    address: await listenOnLoopback(server),
    counts,
    /** Sets the counts to zero. */
    reset() {
      Object.assign(counts, { connections: 0, bytes: 0 });
    },
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
