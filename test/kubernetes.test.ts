/** The manifest for Kubernetes holds together, and fits the program and the guide. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { findCommand } from '../src/cli/commands.ts';
import { GLOBAL_OPTIONS } from '../src/cli/global-options.ts';

const root = path.resolve(import.meta.dirname, '..');
const MANIFEST = path.join(root, 'docs/kubernetes/daemonset.yaml');
/** Debian's, which has its own packages whatever else is called python3. */
const PYTHON = '/usr/bin/python3';
const hasYaml = existsSync('/usr/lib/python3/dist-packages/yaml');

interface Volume {
  readonly name: string;
  readonly hostPath: { readonly path: string };
}

interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly mountPropagation?: string;
}

interface Documents {
  readonly 0: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly spec: {
      readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
      readonly template: {
        readonly metadata: { readonly labels: Readonly<Record<string, string>> };
        readonly spec: {
          readonly containers: readonly {
            readonly args: readonly string[];
            readonly image: string;
            readonly securityContext: object;
            readonly volumeMounts: readonly VolumeMount[];
          }[];
          readonly volumes: readonly Volume[];
        };
      };
    };
  };
  readonly 1: { readonly apiVersion: string; readonly kind: string; readonly handler: string };
}

describe.skipIf(!hasYaml)(`the DaemonSet${hasYaml ? '' : ': python3-yaml is not installed'}`, () => {
  const program = 'import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))';
  const documents = hasYaml
    ? (JSON.parse(
        execFileSync(PYTHON, ['-c', program, MANIFEST], { encoding: 'utf8', timeout: 10_000 }),
      ) as Documents)
    : undefined;
  const [container] = documents?.[0].spec.template.spec.containers ?? [];

  test('selects its own pods, and the class names the runtime of the guide', () => {
    expect(documents).toMatchObject([
      { apiVersion: 'apps/v1', kind: 'DaemonSet' },
      { apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', handler: 'peel' },
    ]);
    const { selector, template } = documents?.[0].spec ?? {};
    expect(template?.metadata.labels).toMatchObject(selector?.matchLabels ?? { nothing: 'selected' });
    expect(readFileSync(path.join(root, 'docs/KUBERNETES.md'), 'utf8')).toContain(
      'containerd.runtimes.peel]',
    );
    const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(container?.image).toBe(`peel:${version}`);
  });

  test('its volumes are there, and what containerd mounts has the same path on the node', () => {
    const volumes = new Map(documents?.[0].spec.template.spec.volumes.map((each) => [each.name, each]));
    const mounts = container?.volumeMounts ?? [];
    expect(mounts.map(({ name }) => name).sort()).toEqual([...volumes.keys()].sort());
    for (const { name, mountPath } of mounts) expect(volumes.get(name)?.hostPath.path).toBe(mountPath);
    expect(container?.securityContext).toEqual({ privileged: true });
    const args = container?.args ?? [];
    const below = (flag: string): VolumeMount | undefined =>
      mounts.find(({ mountPath }) => args[args.indexOf(flag) + 1]?.startsWith(`${mountPath}/`));
    expect(below('--root')?.mountPropagation).toBe('Bidirectional');
    expect(below('--cache-dir')).toBeDefined();
    expect(below('--address')).toBeDefined();
  });

  test('its flags are ones of the program', async () => {
    const { options = {} } = (await findCommand(container?.args[0] ?? '')) ?? {};
    const flags = (container?.args ?? [])
      .filter((word) => word.startsWith('--'))
      .map((word) => word.slice(2));
    expect(flags.length).toBe(4);
    expect(
      flags.filter((flag) => !Object.hasOwn(options, flag) && !Object.hasOwn(GLOBAL_OPTIONS, flag)),
    ).toEqual([]);
  });
});
