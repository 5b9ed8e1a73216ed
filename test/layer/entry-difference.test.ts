/** What two indexes say of one entry, held against each other. */
import { expect, test } from 'vitest';
import { differentField } from '../../src/layer/entry-difference.ts';
import type { Entry } from '../../src/layer/toc.ts';
import type { ByteString } from '../../src/units.ts';

const plain = {
  type: 'file',
  path: 'bin/su' as ByteString,
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeSec: 1,
  mtimeNsec: 0,
  size: 3,
  dataOffset: 0,
} as Entry;
const capable: Entry = {
  ...plain,
  xattrs: new Map([['security.capability' as ByteString, Buffer.from('all of them')]]),
};

test('an attribute that only one of two entries has is a difference, whichever has it (E139)', () => {
  expect(differentField(plain, plain)).toBeUndefined();
  expect(differentField(plain, capable)).toBe('xattrs');
  expect(differentField(capable, plain)).toBe('xattrs');
});
