/** The OCI runtimes of this host, and how each can be run here. */
import { spawnSync } from 'node:child_process';
import { cgroupLayout } from '../../src/container/host-cgroups.ts';
import { whyNoMounts } from './mount-child.ts';

export interface TestedRuntime {
  readonly name: 'runc' | 'crun';
  /** Words in front of the program. */
  readonly wrapper: readonly string[];
}

/**
 * crun refuses hosts with controllers in both versions of cgroups: there it gets a mount namespace that shows version 1
 * alone.
 */
const LEGACY_ONLY = ['unshare', '-m', 'sh', '-c', 'umount /sys/fs/cgroup/unified && exec "$@"', 'sh'];

const wrapperOf = (name: TestedRuntime['name']): readonly string[] =>
  name === 'crun' && cgroupLayout() === 'hybrid' ? LEGACY_ONLY : [];

const isInstalled = (name: string): boolean =>
  spawnSync(name, ['--version'], {
    timeout: 10_000,
    env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
  }).status === 0;

export const RUNTIMES: readonly TestedRuntime[] = (['runc', 'crun'] as const)
  .filter(isInstalled)
  .map((name) => ({ name, wrapper: wrapperOf(name) }));

/** Why containers cannot be tested here, or undefined. */
export function whyNoContainers(): string | undefined {
  return whyNoMounts() ?? (RUNTIMES.length === 0 ? 'neither runc nor crun is installed' : undefined);
}
