/**
 * One small image with the indexes that other people's tools wrote for it (`test/fixtures/index-writers.sh` says which
 * and how): as a layout, and at a registry.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { blobFile } from './image-layout.ts';
import type { ScriptedServer } from './scripted-server.ts';

const ARCHIVE = fileURLToPath(new URL('../fixtures/index-writers.tar.xz', import.meta.url));
const NAME = 'org.opencontainers.image.ref.name';
const INDEX = 'application/vnd.oci.image.index.v1+json';

interface Listed {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Parts of a manifest that tests look at. */
export interface WrittenManifest {
  readonly config: Listed;
  readonly layers: readonly Listed[];
}

export interface WrittenImage {
  readonly listed: Listed;
  readonly manifest: WrittenManifest;
}

export function extractWritten(folder: string): void {
  mkdirSync(folder, { recursive: true });
  execFileSync('tar', ['-C', folder, '-xJf', ARCHIVE], { timeout: 60_000 });
}

/** By its name in the layout. */
export function writtenImage(folder: string, name: string): WrittenImage {
  const listed = listedIn(folder).find(({ annotations }) => annotations[NAME] === name);
  if (listed === undefined) throw new Error(`no ${name}`);
  const manifest = JSON.parse(readFileSync(blobFile(folder, listed.digest), 'utf8')) as WrittenManifest;
  return { listed, manifest };
}

/** All of it as the repository `app`, its SOCI index where the registry has no list of referrers. */
export function serveWritten(folder: string, server: ScriptedServer): void {
  for (const hex of readdirSync(path.join(folder, 'blobs', 'sha256'))) {
    server.addBlob('app', readFileSync(blobFile(folder, `sha256:${hex}`)));
  }
  for (const { mediaType, digest, annotations } of listedIn(folder)) {
    server.addManifest('app', annotations[NAME] ?? '', readFileSync(blobFile(folder, digest)), mediaType);
  }
  const tag = writtenImage(folder, 'orig').listed.digest.replace(':', '-');
  const manifests = [writtenImage(folder, 'soci').listed];
  server.addManifest('app', tag, Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })), INDEX);
}

function listedIn(folder: string): readonly Listed[] {
  const index = JSON.parse(readFileSync(path.join(folder, 'index.json'), 'utf8')) as { manifests: Listed[] };
  return index.manifests;
}
