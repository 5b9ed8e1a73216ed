/** Operating system and architecture: image-spec image-index.md, matching as containerd/platforms does. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly osVersion?: string;
}
