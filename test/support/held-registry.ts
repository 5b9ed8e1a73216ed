/**
 * A registry whose layers come when the test lets them: each blob is held until it is released, as it is or spoilt, or
 * refused until then.
 */
import { gzipSync } from 'node:zlib';
import { sha256Digest } from './digests.ts';
import { type Reply, type ScriptedServer, startScriptedServer } from './scripted-server.ts';
import { type Member, writeTar } from './tar-bytes.ts';

const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

export interface HeldRegistry {
  readonly server: ScriptedServer;
  /** What `peel mount` takes. */
  readonly image: string;
  /** How often a layer was asked for. */
  requestsFor(layer: number): number;
  /** Requests for a layer (0 = lowest) are not answered until it is released, spoilt or refused. */
  hold(layer: number): void;
  release(layer: number): void;
  /** As many bytes, one of them wrong. */
  spoil(layer: number): void;
  /** The registry says that it has no such blob. */
  refuse(layer: number): void;
  close(): Promise<void>;
}

interface Gate {
  readonly opened: Promise<void>;
  readonly open: () => void;
}

function closedGate(): Gate {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Layers lowest first; all are released. */
export async function startHeldRegistry(layers: readonly (readonly Member[])[]): Promise<HeldRegistry> {
  const server = await startScriptedServer();
  const tars = layers.map((members) => writeTar(members).bytes);
  const blobs = tars.map((tar) => server.addBlob('app', gzipSync(tar)));
  const config = server.addBlob(
    'app',
    Buffer.from(
      JSON.stringify({
        os: 'linux',
        architecture: 'amd64',
        rootfs: { type: 'layers', diff_ids: tars.map(sha256Digest) },
      }),
    ),
  );
  const manifest = {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { ...config, mediaType: CONFIG },
    layers: blobs.map((blob) => ({ ...blob, mediaType: LAYER })),
  };
  server.addManifest('app', 'latest', Buffer.from(JSON.stringify(manifest)), MANIFEST);

  const gates = layers.map(() => ({ ...closedGate(), answer: (reply: Reply): Reply => reply }));
  for (const [layer, blob] of blobs.entries()) {
    gates[layer]?.open();
    server.rule({
      path: `/v2/app/blobs/${blob.digest}`,
      reply: async (request) => {
        await gates[layer]?.opened;
        return gates[layer]?.answer(server.content(request)) ?? {};
      },
    });
  }
  const answerWith = (layer: number, answer: (reply: Reply) => Reply): void => {
    const gate = gates[layer];
    if (gate === undefined) throw new RangeError(`no layer ${layer}`);
    gates[layer] = { ...gate, answer };
    gate.open();
  };
  return {
    server,
    image: `${server.address}/app:latest`,
    requestsFor: (layer) =>
      server.requests.filter(({ path }) => path.endsWith(blobs[layer]?.digest ?? '?')).length,
    hold: (layer) => {
      gates[layer] = { ...closedGate(), answer: (reply) => reply };
    },
    release: (layer) => answerWith(layer, (reply) => reply),
    spoil: (layer) => answerWith(layer, (reply) => ({ ...reply, flipBit: 8 * 20 + 3 })),
    refuse: (layer) =>
      answerWith(layer, () => ({ status: 404, body: '{"errors":[{"code":"BLOB_UNKNOWN"}]}' })),
    close: () => {
      for (const gate of gates) gate.open();
      return server.close();
    },
  };
}
