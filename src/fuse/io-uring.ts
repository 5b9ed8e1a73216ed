/**
 * Whether this kernel takes FUSE requests over io_uring. It is a setting of the module, off unless root turns it on;
 * what a mount then really does is agreed with the kernel at INIT (native/fuse_uring_setup.h).
 */
import { readFileSync } from 'node:fs';

const PARAMETER = '/sys/module/fuse/parameters/enable_uring';
/** 2: for nobody. 1: for a group of its own, and root. */
const SYSCTL = '/proc/sys/kernel/io_uring_disabled';

const read = (file: string): string | undefined => {
  try {
    return readFileSync(file, 'latin1').trim();
  } catch {
    return undefined;
  }
};

/** Why requests come by /dev/fuse alone, with what to do where something can be done; undefined: over io_uring. */
export function whyNoIoUring(): string | undefined {
  const parameter = read(PARAMETER);
  if (parameter === undefined) return 'this kernel does not have it (Linux 6.14 has)';
  if (parameter !== 'Y') return `off; as root: echo Y > ${PARAMETER}`;
  if ((read(SYSCTL) ?? '0') !== '0') return 'forbidden by kernel.io_uring_disabled';
  return undefined;
}
