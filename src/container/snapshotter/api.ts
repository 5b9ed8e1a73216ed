/**
 * The service that containerd calls, `containerd.services.snapshots.v1.Snapshots`: what goes over the wire, after the
 * description of the API in containerd's documentation (api/services/snapshots/v1, api/types). Numbers are those of
 * the wire; names in the form of the protocol.
 */
import { fromJSON, type ServiceDefinition } from '@grpc/proto-loader';
import type { SnapshotKind } from './snapshot.ts';

interface Field {
  readonly type: string;
  readonly id: number;
  readonly rule?: 'repeated';
  readonly keyType?: 'string';
}

const text = (id: number): Field => ({ type: 'string', id });
const texts = (id: number): Field => ({ type: 'string', id, rule: 'repeated' });
const integer = (id: number): Field => ({ type: 'int64', id });
const labels = (id: number): Field => ({ type: 'string', keyType: 'string', id });
const message = (type: string, id: number): Field => ({ type, id });
const messages = (type: string, id: number): Field => ({ type, id, rule: 'repeated' });

const EMPTY = 'google.protobuf.Empty';
const TIMESTAMP = 'google.protobuf.Timestamp';
const MOUNT = 'containerd.types.Mount';

const named = { snapshotter: text(1), key: text(2) };
const creating = { ...named, parent: text(3), labels: labels(4) };
const mounting = { mounts: messages(MOUNT, 1) };

const MESSAGES: Readonly<Record<string, Readonly<Record<string, Field>>>> = {
  PrepareSnapshotRequest: creating,
  PrepareSnapshotResponse: mounting,
  ViewSnapshotRequest: creating,
  ViewSnapshotResponse: mounting,
  MountsRequest: named,
  MountsResponse: mounting,
  RemoveSnapshotRequest: named,
  CommitSnapshotRequest: { snapshotter: text(1), name: text(2), key: text(3), labels: labels(4) },
  StatSnapshotRequest: named,
  StatSnapshotResponse: { info: message('Info', 1) },
  UpdateSnapshotRequest: {
    snapshotter: text(1),
    info: message('Info', 2),
    update_mask: message('google.protobuf.FieldMask', 3),
  },
  UpdateSnapshotResponse: { info: message('Info', 1) },
  ListSnapshotsRequest: { snapshotter: text(1), filters: texts(2) },
  ListSnapshotsResponse: { info: messages('Info', 1) },
  UsageRequest: named,
  UsageResponse: { size: integer(1), inodes: integer(2) },
  CleanupRequest: { snapshotter: text(1) },
  Info: {
    name: text(1),
    parent: text(2),
    kind: message('Kind', 3),
    created_at: message(TIMESTAMP, 4),
    updated_at: message(TIMESTAMP, 5),
    labels: labels(6),
  },
};

export const KIND_NUMBERS: Readonly<Record<SnapshotKind, number>> = { view: 1, active: 2, committed: 3 };

const METHODS = {
  Prepare: { requestType: 'PrepareSnapshotRequest', responseType: 'PrepareSnapshotResponse' },
  View: { requestType: 'ViewSnapshotRequest', responseType: 'ViewSnapshotResponse' },
  Mounts: { requestType: 'MountsRequest', responseType: 'MountsResponse' },
  Commit: { requestType: 'CommitSnapshotRequest', responseType: EMPTY },
  Remove: { requestType: 'RemoveSnapshotRequest', responseType: EMPTY },
  Stat: { requestType: 'StatSnapshotRequest', responseType: 'StatSnapshotResponse' },
  Update: { requestType: 'UpdateSnapshotRequest', responseType: 'UpdateSnapshotResponse' },
  List: {
    requestType: 'ListSnapshotsRequest',
    responseType: 'ListSnapshotsResponse',
    responseStream: true,
  },
  Usage: { requestType: 'UsageRequest', responseType: 'UsageResponse' },
  Cleanup: { requestType: 'CleanupRequest', responseType: EMPTY },
};

const inNamespaces = (names: readonly string[], nested: object): object =>
  names.reduceRight<object>((inner, name) => ({ [name]: { nested: inner } }), nested);
const fieldsOf = (fields: object): object => ({ fields });

const SERVICE = 'containerd.services.snapshots.v1.Snapshots';

/** For a gRPC server or client. Fields that did not come over the wire have their zero value. */
export function snapshotsService(): ServiceDefinition {
  const api = inNamespaces(['services', 'snapshots', 'v1'], {
    ...Object.fromEntries(Object.entries(MESSAGES).map(([name, fields]) => [name, fieldsOf(fields)])),
    Kind: { values: { UNKNOWN: 0, VIEW: 1, ACTIVE: 2, COMMITTED: 3 } },
    Snapshots: { methods: METHODS },
  });
  const types = inNamespaces(['types'], {
    Mount: fieldsOf({ type: text(1), source: text(2), target: text(3), options: texts(4) }),
  });
  const google = inNamespaces(['google', 'protobuf'], {
    Empty: fieldsOf({}),
    Timestamp: fieldsOf({ seconds: integer(1), nanos: { type: 'int32', id: 2 } }),
    FieldMask: fieldsOf({ paths: texts(1) }),
  });
  const nested = { containerd: { nested: { ...api, ...types } }, ...google };
  const definitions = fromJSON(
    { nested },
    {
      keepCase: true,
      longs: Number,
      defaults: true,
    },
  );
  return definitions[SERVICE] as ServiceDefinition;
}

export interface TimestampMessage {
  readonly seconds: number;
  readonly nanos: number;
}

export interface InfoMessage {
  readonly name: string;
  readonly parent: string;
  readonly kind: number;
  readonly created_at: TimestampMessage | null;
  readonly updated_at: TimestampMessage | null;
  readonly labels: Readonly<Record<string, string>>;
}

/** Of a request that names a snapshot; what a message does not have is missing. */
export interface RequestMessage {
  readonly key: string;
  readonly name: string;
  readonly parent: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly filters: readonly string[];
  readonly info: InfoMessage | null;
  readonly update_mask: { readonly paths: readonly string[] } | null;
}
