/** The service's methods: from messages to the snapshotter and back, and errors as containerd reads them. */
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js';
import { type ErrorCode, isPeelError, PeelError } from '../../errors.ts';
import { log } from '../../log.ts';
import { type InfoMessage, KIND_NUMBERS, type RequestMessage, type TimestampMessage } from './api.ts';
import type { Mount } from './mounts.ts';
import type { Snapshot } from './snapshot.ts';
import type { Snapshotter } from './snapshotter.ts';

/** containerd's errdefs go by these; all else is "unknown" to it. */
const STATUS_OF: Partial<Record<ErrorCode, status>> = {
  ERR_SNAPSHOT_NOT_FOUND: status.NOT_FOUND,
  ERR_SNAPSHOT_EXISTS: status.ALREADY_EXISTS,
  ERR_SNAPSHOT_STATE: status.FAILED_PRECONDITION,
  ERR_USAGE: status.INVALID_ARGUMENT,
  ERR_REGISTRY_UNREACHABLE: status.UNAVAILABLE,
  ERR_OFFLINE: status.UNAVAILABLE,
  ERR_INTERRUPTED: status.UNAVAILABLE,
  ERR_DEADLINE: status.DEADLINE_EXCEEDED,
};
/** As containerd's own server sends them. */
const INFOS_A_MESSAGE = 100;
/** containerd refuses larger labels; so much of a key and its value together. */
const MAX_LABEL_LENGTH = 4096;

type Unary = (...call: Parameters<handleUnaryCall<RequestMessage, object>>) => Promise<void>;

export interface SnapshotsHandlers {
  readonly [method: string]: Unary | handleServerStreamingCall<RequestMessage, object>;
}

export function snapshotsHandlers(snapshotter: Snapshotter): SnapshotsHandlers {
  const unary = (name: string, answer: (request: RequestMessage) => Promise<object>): Unary => {
    return async (call, callback) => {
      let message: object;
      try {
        message = await answer(call.request);
      } catch (error) {
        callback(failureOf(name, call.request, error));
        return;
      }
      callback(null, message);
    };
  };
  return {
    Prepare: unary('Prepare', async ({ key, parent, labels }) => {
      checkLabels(labels);
      return mountsMessage(await snapshotter.prepare(key, parent || undefined, labels));
    }),
    View: unary('View', async ({ key, parent, labels }) => {
      checkLabels(labels);
      return mountsMessage(await snapshotter.view(key, parent || undefined, labels));
    }),
    Mounts: unary('Mounts', async ({ key }) => mountsMessage(await snapshotter.mounts(key))),
    Commit: unary('Commit', async ({ key, name, labels }) => {
      checkLabels(labels);
      await snapshotter.commit(key, name, labels);
      return {};
    }),
    Remove: unary('Remove', async ({ key }) => {
      await snapshotter.remove(key);
      return {};
    }),
    Stat: unary('Stat', async ({ key }) => ({ info: infoMessage(snapshotter.stat(key)) })),
    Update: unary('Update', async ({ info, update_mask: mask }) => {
      const labels = info?.labels ?? {};
      checkLabels(labels);
      return { info: infoMessage(await snapshotter.update(info?.name ?? '', labels, mask?.paths ?? [])) };
    }),
    Usage: unary('Usage', ({ key }) => snapshotter.usage(key)),
    Cleanup: unary('Cleanup', async () => {
      await snapshotter.cleanup();
      return {};
    }),
    List: (call: ServerWritableStream<RequestMessage, object>) => {
      try {
        const infos = snapshotter.list(call.request.filters).map(infoMessage);
        for (let at = 0; at < infos.length; at += INFOS_A_MESSAGE) {
          call.write({ info: infos.slice(at, at + INFOS_A_MESSAGE) });
        }
        call.end();
      } catch (error) {
        call.emit('error', failureOf('List', call.request, error));
      }
    },
  };
}

function failureOf(
  method: string,
  { key, parent }: RequestMessage,
  error: unknown,
): { readonly code: status; readonly details: string; readonly message: string } {
  const code = (isPeelError(error) ? STATUS_OF[error.code] : undefined) ?? status.UNKNOWN;
  const message = error instanceof Error ? error.message : String(error);
  // What containerd asks for to find out whether it is there is no failure.
  if (code === status.UNKNOWN || code === status.UNAVAILABLE || code === status.DEADLINE_EXCEEDED) {
    const facts = isPeelError(error) ? { code: error.code, ...error.facts } : { err: error };
    log().error({ method, key, parent, ...facts }, `${method} of a snapshot failed: ${message}`);
  } else log().debug({ method, key, parent, status: status[code] }, message);
  return { code, details: message, message };
}

/** @throws PeelError ERR_USAGE */
function checkLabels(labels: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(labels)) {
    if (name.length + value.length <= MAX_LABEL_LENGTH) continue;
    throw new PeelError(
      'ERR_USAGE',
      `the label ${name.slice(0, 64)} and its value are longer than ${MAX_LABEL_LENGTH} characters`,
    );
  }
}

function mountsMessage(mounts: readonly Mount[]): object {
  return { mounts: mounts.map((mount) => ({ ...mount, target: '' })) };
}

function infoMessage({ name, parent, kind, labels, createdAt, updatedAt }: Snapshot): InfoMessage {
  return {
    name,
    parent: parent ?? '',
    kind: KIND_NUMBERS[kind],
    created_at: timestamp(createdAt),
    updated_at: timestamp(updatedAt),
    labels,
  };
}

/** Of microseconds. */
function timestamp(time: number): TimestampMessage {
  return { seconds: Math.floor(time / 1e6), nanos: (time % 1e6) * 1000 };
}
