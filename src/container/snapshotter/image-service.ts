/**
 * kubelet's image service (CRI), answered by containerd: every message goes through as it is. On the way of a pull the
 * credentials are noted, since containerd tells a snapshotter which layer it wants, but not with which secrets.
 *
 *   kubelet --image-service-endpoint ──► peel ──► containerd
 *                                         └─► credentials of PullImage
 */
import {
  Client,
  credentials,
  type handleUnaryCall,
  type MethodDefinition,
  type Server,
  type ServiceError,
} from '@grpc/grpc-js';
import { fromJSON, type ServiceDefinition } from '@grpc/proto-loader';
import { log } from '../../log.ts';
import type { PullAuth, PullSecrets } from './pull-secrets.ts';

/** The older name is what containerd 1.6 has for kubelets before 1.23; their messages are the same. */
const SERVICES = ['runtime.v1.ImageService', 'runtime.v1alpha2.ImageService'];
const METHODS = ['ListImages', 'ImageStatus', 'PullImage', 'RemoveImage', 'ImageFsInfo'];
/** containerd's own limit: the list of a node's images can be long. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

export const IMAGE_SERVICE_LIMITS = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
};

interface PullRequest {
  readonly image: { readonly image: string } | null;
  readonly auth: PullAuth | null;
}

/** Adds the service to `server`; `containerd` is the path of its socket. Returns what ends the connection to it. */
export function addImageService(server: Server, containerd: string, secrets: PullSecrets): () => void {
  const client = new Client(`unix://${containerd}`, credentials.createInsecure(), IMAGE_SERVICE_LIMITS);
  const readPull = pullReader();
  const note = (message: Buffer): void => {
    try {
      const { image, auth } = readPull(message);
      if (image !== null && auth !== null) secrets.note(image.image, auth);
    } catch (error) {
      log().warn({ err: error }, 'a pull of kubelet cannot be read: it goes on without its credentials here');
    }
  };
  for (const service of SERVICES) {
    const definitions = METHODS.map((name) => [name, passing(`/${service}/${name}`)] as const);
    const handlers = definitions.map(([name, { path }]) => {
      const handler: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
        if (name === 'PullImage') note(call.request);
        const forwarded = client.makeUnaryRequest(
          path,
          same,
          same,
          call.request,
          call.metadata,
          { deadline: call.getDeadline() },
          (error: ServiceError | null, answer?: Buffer) => callback(error, answer ?? null),
        );
        call.on('cancelled', () => forwarded.cancel());
      };
      return [name, handler] as const;
    });
    server.addService(Object.fromEntries(definitions), Object.fromEntries(handlers));
  }
  return () => client.close();
}

function same(message: Buffer): Buffer {
  return message;
}

function passing(path: string): MethodDefinition<Buffer, Buffer> {
  return {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

/** What is read of a pull, after the description of the CRI (k8s.io/cri-api, runtime.v1). */
function pullReader(): (message: Buffer) => PullRequest {
  const text = (id: number): object => ({ type: 'string', id });
  const nested = {
    ImageSpec: { fields: { image: text(1) } },
    AuthConfig: {
      fields: {
        username: text(1),
        password: text(2),
        auth: text(3),
        server_address: text(4),
        identity_token: text(5),
        registry_token: text(6),
      },
    },
    PullImageRequest: {
      fields: { image: { type: 'ImageSpec', id: 1 }, auth: { type: 'AuthConfig', id: 2 } },
    },
    ImageService: {
      methods: { PullImage: { requestType: 'PullImageRequest', responseType: 'PullImageRequest' } },
    },
  };
  const json = { nested } as Parameters<typeof fromJSON>[0];
  const service = fromJSON(json, { keepCase: true, defaults: true })['ImageService'] as ServiceDefinition;
  const method = service['PullImage'];
  if (method === undefined) throw new TypeError('the image service has no PullImage');
  return (message) => method.requestDeserialize(message) as PullRequest;
}
