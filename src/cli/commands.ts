/** The table of commands. Each is loaded when it is needed: `peel ls` does not wait for what `mount` needs. */
import { PeelError } from '../errors.ts';
import type { Command } from './command.ts';
import { nearest } from './suggest.ts';

/** In the order of `peel help`. */
const LOADERS: Readonly<Record<string, () => Promise<Command>>> = {
  mount: async () => (await import('./commands/mount.ts')).mount,
  umount: async () => (await import('./commands/umount.ts')).umount,
  run: async () => (await import('./commands/run.ts')).run,
  bundle: async () => (await import('./commands/bundle.ts')).bundle,
  ls: async () => (await import('./commands/ls.ts')).ls,
  tree: async () => (await import('./commands/tree.ts')).tree,
  cat: async () => (await import('./commands/cat.ts')).cat,
  stat: async () => (await import('./commands/stat.ts')).stat,
  images: async () => (await import('./commands/images.ts')).images,
  inspect: async () => (await import('./commands/inspect.ts')).inspect,
  layers: async () => (await import('./commands/layers.ts')).layers,
  manifest: async () => (await import('./commands/manifest.ts')).manifest,
  config: async () => (await import('./commands/config.ts')).config,
  index: async () => (await import('./commands/index.ts')).index,
  prefetch: async () => (await import('./commands/prefetch.ts')).prefetch,
  profile: async () => (await import('./commands/profile.ts')).profile,
  tags: async () => (await import('./commands/tags.ts')).tags,
  cache: async () => (await import('./commands/cache.ts')).cache,
  snapshotter: async () => (await import('./commands/snapshotter.ts')).snapshotter,
  doctor: async () => (await import('./commands/doctor.ts')).doctor,
  help: async () => (await import('./commands/help.ts')).help,
};

/** What people type who come from other tools. */
const ALIASES: Readonly<Record<string, string>> = { unmount: 'umount', list: 'ls' };

export async function findCommand(name: string): Promise<Command | undefined> {
  return Object.hasOwn(LOADERS, name) ? await LOADERS[name]?.() : undefined;
}

export async function allCommands(): Promise<readonly Command[]> {
  return await Promise.all(Object.values(LOADERS).map((load) => load()));
}

export function unknownCommand(name: string): PeelError {
  const similar = Object.hasOwn(ALIASES, name) ? ALIASES[name] : nearest(name, Object.keys(LOADERS));
  const hint = similar === undefined ? "'peel help' lists them" : `did you mean '${similar}'?`;
  return new PeelError('ERR_USAGE', `there is no command '${name}'; ${hint}`);
}
