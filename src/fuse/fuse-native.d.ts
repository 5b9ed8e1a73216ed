/**
 * The part of fuse-native that we use. Its own operation methods (`_op_*`) and option list are replaced on the
 * instance: they are too coarse (see fuse-native-operations.ts).
 */
declare module 'fuse-native' {
  type Callback = (error: Error | null) => void;

  class Fuse {
    /** Operations named in `operations` are answered by the `_op_*` method of that name, all else with ENOSYS. */
    constructor(
      mountPoint: string,
      operations: Readonly<Record<string, () => void>>,
      options: { readonly timeout: false },
    );
    /** Unmounts with a command of its own; `unmount` of an instance runs it first. */
    static unmount: (mountPoint: string, callback: Callback) => void;
    /** The one `-o...` argument for libfuse; at most 1023 bytes. */
    _fuseOptions: () => string;
    mount(callback: Callback): void;
    unmount(callback: Callback): void;
  }
  export default Fuse;
}
