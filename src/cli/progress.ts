/** What the user sees while layers are indexed. */
export interface Progress {
  /** `done` of `total` compressed bytes of layer `layer` (0 = lowest) of `layers` that are indexed. */
  layerProgress(event: { layer: number; layers: number; done: number; total: number }): void;
  /** Takes the bar off the terminal; later events bring it back. */
  clear(): void;
}
