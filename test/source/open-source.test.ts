import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseImageName } from '../../src/reference/transport.ts';
import { openSource } from '../../src/source/open-source.ts';
import { codeOfAsync } from '../reference/code-of.ts';
import { testTools } from '../support/open-archive.ts';
import { useTempPaths } from '../support/temp-dirs.ts';
import { MadeLayout, REF_NAME, writeTarFile } from './made-image.ts';

const newPath = useTempPaths();

function layout(): MadeLayout {
  const made = new MadeLayout();
  const image = made.addImage('a');
  return made.setIndex([{ ...image, annotations: { [REF_NAME]: 'tag' } }]);
}

async function nameOf(text: string, home?: string): Promise<string> {
  const options = { registry: {}, ...(home === undefined ? {} : { home }) };
  const source = await openSource(parseImageName(text), options, await testTools());
  try {
    if (!text.startsWith('docker://')) await source.resolve();
    return source.name;
  } finally {
    await source.close();
  }
}

const failureOf = (text: string): Promise<string> => codeOfAsync(() => nameOf(text));

describe('openSource', () => {
  test('a registry reference is opened without asking the registry', async () => {
    expect(await nameOf('docker://registry.invalid/x/y:z')).toContain('registry.invalid/x/y:z');
  });

  test('a folder is an OCI layout, by its transport and by its content', async () => {
    const directory = layout().write(newPath());
    expect(await nameOf(`oci:${directory}`)).toBe(`oci:${directory}`);
    expect(await nameOf(`oci:${directory}:tag`)).toBe(`oci:${directory}:tag`);
    expect(await nameOf(directory)).toBe(`oci:${directory}`);
  });

  test('a file is an archive, by its transport and by its content', async () => {
    const oci = newPath();
    await writeTarFile(oci, layout().members());
    expect(await nameOf(oci)).toBe(`oci-archive:${oci}`);
    expect(await nameOf(`oci-archive:${oci}:tag`)).toBe(`oci-archive:${oci}:tag`);
    const docker = newPath();
    await writeTarFile(docker, [
      { name: 'c.json', body: '{"rootfs":{"diff_ids":[]}}' },
      { name: 'manifest.json', body: '[{"Config":"c.json","RepoTags":["a:1"],"Layers":null}]' },
    ]);
    expect(await nameOf(docker)).toBe(`docker-archive:${docker}`);
    expect(await nameOf(`docker-archive:${docker}:a:1`)).toBe(`docker-archive:${docker}:a:1`);
    expect(await nameOf(`docker-archive:${docker}:@0`)).toBe(`docker-archive:${docker}:@0`);
  });

  test('~ is the home folder', async () => {
    const home = newPath();
    const directory = layout().write(path.join(home, 'images', 'x'));
    expect(await nameOf('~/images/x', home)).toBe(`oci:${directory}`);
  });

  test('what is not there, or is the wrong kind, is not found, and the error says what would do', async () => {
    const directory = layout().write(newPath());
    const file = newPath();
    await writeTarFile(file, layout().members());
    const empty = newPath();
    mkdirSync(empty);
    const missing = newPath();
    for (const text of [
      missing,
      `oci:${missing}`,
      `oci-archive:${missing}`,
      `docker-archive:${missing}`,
      `${file}/x`,
      empty,
    ]) {
      expect(await failureOf(text)).toBe('ERR_IMAGE_NOT_FOUND');
    }
    await expect(nameOf(`oci:${file}`)).rejects.toThrow('is a file, expected the folder');
    await expect(nameOf(`oci-archive:${directory}`)).rejects.toThrow('is a folder, expected an archive');
    await expect(nameOf(missing)).rejects.toThrow(`${missing} does not exist`);
  });

  test.skipIf(process.getuid?.() === 0)('a file that may not be read is a matter of permission', async () => {
    const file = newPath();
    writeFileSync(file, 'x');
    chmodSync(file, 0);
    expect(await failureOf(file)).toBe('ERR_PERMISSION');
  });
});
