/** An index of peel as a scripted server has it once it was pushed there: made by the program, served by hand. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { sha256Digest } from './digests.ts';
import type { PeelUser } from './run-peel.ts';
import type { ScriptedServer } from './scripted-server.ts';

export const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';

export interface Referrer {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly artifactType: string;
}

export interface ServedIndex {
  /** Digest of the list. */
  readonly pin: string;
  /** By what they refer to: the list by the manifest of the image, an artifact by each layer. */
  readonly referrers: ReadonlyMap<string, Referrer>;
}

/** `image` is indexed by `maker`, and the documents and blobs are added to `repository`. Who lists them is left to the test. */
export async function serveIndex(
  server: ScriptedServer,
  repository: string,
  maker: PeelUser,
  image: string,
): Promise<ServedIndex> {
  const folder = mkdtempSync(path.join(maker.work, 'index-'));
  const file = path.join(folder, 'index.tar');
  const { status, stdout, stderr } = await maker.run(['index', 'export', image, file]);
  if (status !== 0) throw new Error(`peel index export: ${stderr}`);
  const layout = path.join(folder, 'layout');
  mkdirSync(layout);
  execFileSync('tar', ['-xf', file, '-C', layout]);
  const referrers = new Map<string, Referrer>();
  for (const name of readdirSync(path.join(layout, 'blobs/sha256'))) {
    const bytes = readFileSync(path.join(layout, 'blobs/sha256', name));
    const document = parse(bytes);
    if (document?.subject === undefined) {
      server.addBlob(repository, bytes);
      continue;
    }
    const { mediaType, artifactType, subject } = document;
    server.addManifest(repository, undefined, bytes, mediaType);
    referrers.set(subject.digest, {
      mediaType,
      digest: sha256Digest(bytes),
      size: bytes.length,
      artifactType,
    });
  }
  return { pin: stdout.toString().trim(), referrers };
}

/** With the referrers API: what is listed for each subject, `pageSize` a page. */
export function listReferrers(
  server: ScriptedServer,
  repository: string,
  listOf: (subject: string) => readonly unknown[],
  pageSize = 1000,
): void {
  const prefix = `/v2/${repository}/referrers/`;
  server.rule({
    path: new RegExp(`^${prefix}sha256:`),
    reply: ({ path: asked, query }) => {
      const all = listOf(asked.slice(prefix.length));
      const from = Number(query.get('from') ?? '0');
      const link = { link: `<${asked}?from=${from + pageSize}>; rel="next"` };
      return {
        headers: { 'content-type': INDEX_TYPE, ...(from + pageSize < all.length ? link : {}) },
        body: JSON.stringify(indexOf(all.slice(from, from + pageSize))),
      };
    },
  });
}

/** Without: the tag that stands in for it. */
export function tagReferrers(
  server: ScriptedServer,
  repository: string,
  subject: string,
  list: readonly unknown[],
): void {
  const bytes = Buffer.from(JSON.stringify(indexOf(list)));
  server.addManifest(repository, subject.replace(':', '-'), bytes, INDEX_TYPE);
}

function indexOf(manifests: readonly unknown[]): object {
  return { schemaVersion: 2, mediaType: INDEX_TYPE, manifests };
}

interface Document {
  readonly mediaType: string;
  readonly artifactType: string;
  readonly subject?: { readonly digest: string };
}

function parse(bytes: Buffer): Document | undefined {
  try {
    return JSON.parse(bytes.toString()) as Document;
  } catch {
    return undefined;
  }
}
