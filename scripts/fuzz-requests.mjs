// Requests of the FUSE protocol for the fuzzer to begin with: `node scripts/fuzz-requests.mjs FOLDER`. An input is a
// byte of features, then requests, each behind its length in two bytes (native/fuzz/fuse_decode_fuzz.cc).
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: fuzz-requests.mjs FOLDER');

const HEADER_BYTES = 40;

function request(opcode, node, ...parts) {
  const body = Buffer.concat(parts);
  const bytes = Buffer.alloc(2 + HEADER_BYTES);
  bytes.writeUInt16LE(HEADER_BYTES + body.length, 0);
  bytes.writeUInt32LE(HEADER_BYTES + body.length, 2);
  bytes.writeUInt32LE(opcode, 6);
  bytes.writeBigUInt64LE(2n, 10);
  bytes.writeBigUInt64LE(BigInt(node), 18);
  return Buffer.concat([bytes, body]);
}

const numbers32 = (...values) => Buffer.from(Uint32Array.from(values).buffer);
const numbers64 = (...values) => Buffer.from(BigUint64Array.from(values, BigInt).buffer);
const read = (offset, size) => Buffer.concat([numbers64(0, offset), numbers32(size, 0), numbers64(0, 0)]);
const name = (text) => Buffer.from(`${text}\0`, 'latin1');

const NODES = [1, 2, 3, 4, 5, 6, 7];
const REQUESTS = {
  lookup: [1, name('d')],
  'lookup-dots': [1, name('..')],
  forget: [2, numbers64(1)],
  getattr: [3, numbers64(0, 0)],
  readlink: [5],
  open: [14, numbers32(0, 0)],
  read: [15, read(0, 4096)],
  statfs: [17],
  release: [18, numbers64(1), numbers32(0, 0), numbers64(0)],
  getxattr: [22, numbers32(100, 0), name('user.a')],
  listxattr: [23, numbers32(100, 0)],
  readdir: [28, read(0, 200)],
  readdirplus: [44, read(1, 1000)],
  access: [34, numbers32(4, 0)],
  interrupt: [36, numbers64(2)],
  'batch-forget': [42, numbers32(1, 0), numbers64(1, 1)],
  lseek: [46, numbers64(0, 3), numbers32(3, 0)],
};

mkdirSync(folder, { recursive: true });
for (const features of [0, 1, 2, 3, 8]) {
  for (const [label, [opcode, ...parts]] of Object.entries(REQUESTS)) {
    const all = NODES.map((node) => request(opcode, node, ...parts));
    writeFileSync(path.join(folder, `${label}-${features}`), Buffer.concat([Buffer.of(features), ...all]));
  }
}
