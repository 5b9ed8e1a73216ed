/**
 * config.json of an OCI bundle (runtime-spec 1.0): what the image says about its start, and what the user wants
 * otherwise. Only data: nothing of it is run by us, and no label of an image reaches a runtime as an instruction.
 */
import { PeelError } from '../errors.ts';
import type { ImageConfig } from '../reference/documents.ts';
import { type CapabilityOptions, capabilitiesOf } from './capabilities.ts';
import { defaultMounts, MASKED_PATHS, type OciMount, READONLY_PATHS } from './default-mounts.ts';
import { environmentOf } from './environment.ts';
import { cgroupLayout } from './host-cgroups.ts';
import { hostDevices } from './host-devices.ts';
import { checkWords, type ImageDefaults } from './image-defaults.ts';
import type { Network } from './network-files.ts';
import { seccompFor } from './seccomp.ts';
import type { ContainerUser } from './user.ts';
import { joinMounts } from './user-mounts.ts';

/** What the user of `run` and `bundle` wants of the container. */
export interface ContainerOptions {
  /** What follows the image; empty for the image's own. */
  readonly command: readonly string[];
  /** undefined: the image's. With one, the image's command does not count. */
  readonly entrypoint: readonly string[] | undefined;
  readonly env: readonly string[];
  /** `user[:group]`; undefined: the image's. */
  readonly user: string | undefined;
  readonly workingDir: string | undefined;
  readonly hasTerminal: boolean;
  /** Of ours, where we have one: a terminal without a size confuses programs. */
  readonly terminalSize: { readonly width: number; readonly height: number } | undefined;
  readonly isReadOnly: boolean;
  readonly network: Network;
  readonly hostname: string | undefined;
  /** Bytes. */
  readonly memory: number | undefined;
  readonly cpus: number | undefined;
  readonly capabilities: CapabilityOptions;
  readonly mounts: readonly OciMount[];
}

export interface ConfigParts {
  readonly config: ImageConfig;
  readonly defaults: ImageDefaults;
  readonly options: ContainerOptions;
  readonly user: ContainerUser;
  readonly hostname: string;
  /** Files of /etc, to be bound. */
  readonly networkMounts: readonly OciMount[];
  readonly inUserNamespace: boolean;
  /** undefined: the runtime's own choice. */
  readonly cgroupsPath: string | undefined;
}

/** Of the processor time that --cpus shares out, in microseconds: docker's. */
const CPU_PERIOD_US = 100_000;

/**
 * Labels with these beginnings mean something to a runtime: an image must not give it orders (CVE-2026-53488).
 * crun reads run.oci.*, runc org.systemd.property.*, both org.criu.*.
 */
const ORDERS = ['run.oci.', 'org.systemd.', 'org.criu.', 'io.crun.', 'io.containers.', 'module.wasm.'];

/** @throws PeelError ERR_CONTAINER where neither image nor user names a command. */
export function argumentsOf(defaults: ImageDefaults, options: ContainerOptions): string[] {
  const entrypoint = options.entrypoint ?? defaults.entrypoint;
  const ownCommand = options.entrypoint === undefined ? defaults.cmd : [];
  const args = [...entrypoint, ...(options.command.length > 0 ? options.command : ownCommand)];
  if (args.length === 0 || args[0] === '') {
    throw new PeelError('ERR_CONTAINER', 'no command: the image names none; write one behind its name');
  }
  checkWords(args, 'the command of the container');
  return args;
}

/** image-spec conversion.md: fields first, labels over them. */
function annotationsOf({ config, defaults }: ConfigParts): Record<string, string> {
  const implicit = {
    'org.opencontainers.image.os': config.platform.os,
    'org.opencontainers.image.architecture': config.platform.architecture,
    'org.opencontainers.image.variant': config.platform.variant ?? '',
    'org.opencontainers.image.author': config.author ?? '',
    'org.opencontainers.image.created': config.created ?? '',
    'org.opencontainers.image.stopSignal': defaults.stopSignal,
    'org.opencontainers.image.exposedPorts': defaults.exposedPorts.join(','),
  };
  const all = [
    ...Object.entries(implicit).filter(([, value]) => value !== ''),
    ...Object.entries(defaults.labels),
  ];
  return Object.fromEntries(
    all.filter(([key]) => key !== '' && !ORDERS.some((order) => key.toLowerCase().startsWith(order))),
  );
}

/** Relative ones are below the root, as docker has it; `..` stops there. */
function workingDirOf(text: string): string {
  const parts: string[] = [];
  for (const part of text.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}

function processOf(parts: ConfigParts): object {
  const { defaults, options, user, hostname } = parts;
  const capabilities = capabilitiesOf(options.capabilities);
  // What root would have; another user gains them by programs that carry them (file capabilities).
  const effective = user.uid === 0 ? capabilities : [];
  return {
    terminal: options.hasTerminal,
    ...(options.terminalSize === undefined ? {} : { consoleSize: options.terminalSize }),
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args: argumentsOf(defaults, options),
    env: environmentOf({
      image: defaults.env,
      user: options.env,
      hostname,
      hasTerminal: options.hasTerminal,
      home: user.home,
    }),
    cwd: workingDirOf(options.workingDir ?? defaults.workingDir),
    capabilities: { bounding: capabilities, effective, permitted: effective, inheritable: [], ambient: [] },
    noNewPrivileges: false,
  };
}

function resourcesOf({ options }: ConfigParts): object {
  const { memory, cpus, capabilities } = options;
  return {
    devices: [{ allow: capabilities.privileged, access: 'rwm' }],
    ...(memory === undefined ? {} : { memory: { limit: memory } }),
    ...(cpus === undefined
      ? {}
      : { cpu: { quota: Math.round(cpus * CPU_PERIOD_US), period: CPU_PERIOD_US } }),
  };
}

function linuxOf(parts: ConfigParts): object {
  const { options, inUserNamespace, cgroupsPath } = parts;
  const { privileged } = options.capabilities;
  const namespaces = [
    'pid',
    'ipc',
    'uts',
    'mount',
    'cgroup',
    ...(options.network === 'none' ? ['network'] : []),
  ];
  return {
    namespaces: namespaces.map((type) => ({ type })),
    ...(cgroupsPath === undefined ? {} : { cgroupsPath }),
    // Without root there is no cgroup of ours to limit.
    ...(inUserNamespace ? {} : { resources: resourcesOf(parts) }),
    ...(privileged && !inUserNamespace ? { devices: hostDevices() } : {}),
    ...(privileged
      ? {}
      : {
          seccomp: seccompFor(capabilitiesOf(options.capabilities)),
          maskedPaths: MASKED_PATHS,
          readonlyPaths: READONLY_PATHS,
        }),
  };
}

/** The document; the root file system is `rootfs` beside it. @throws PeelError ERR_CONTAINER, ERR_USAGE, ERR_LIMIT_EXCEEDED. */
export function ociConfigOf(parts: ConfigParts): object {
  const { options, inUserNamespace, networkMounts, hostname } = parts;
  const mounts = defaultMounts({
    inUserNamespace,
    privileged: options.capabilities.privileged,
    hasCgroups: cgroupLayout() !== 'none',
  });
  return {
    ociVersion: '1.0.2',
    process: processOf(parts),
    root: { path: 'rootfs', readonly: options.isReadOnly },
    hostname,
    mounts: joinMounts([...mounts, ...networkMounts], options.mounts),
    annotations: annotationsOf(parts),
    linux: linuxOf(parts),
  };
}
