// Ways to a mounted /dev/fuse: mount(2) where this process may, fusermount3 where it may not.
//
// Ownership: the caller owns the descriptor that comes back; it is closed on exec. Threads: any. Errors: an errno, or
// what fusermount3 said.
#pragma once

#include <cstdint>
#include <string>

namespace peel::fuse {

struct Mounted {
  int fd = -1;
  int error = 0;        // errno, where fd is -1
  std::string message;  // of fusermount3
};

// mount(2) of type fuse.peel; `flags` are MS_*, `options` what FUSE itself takes beside fd, rootmode and owner.
Mounted MountDirectly(const std::string& path, const std::string& source, unsigned long flags,
                      const std::string& options);

// Runs fusermount3, which mounts and passes the descriptor back over a socket (_FUSE_COMMFD). Waits at most
// `limit_ms`: it looks at the mount point, which may hang.
Mounted MountThroughHelper(const std::string& program, const std::string& path, const std::string& options,
                           int limit_ms);

}  // namespace peel::fuse
