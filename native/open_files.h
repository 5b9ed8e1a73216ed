// Which of the image's large files are open, and how: through this server and the page cache of the mount, or by the
// kernel alone from a file of the cache that holds the same bytes (FUSE passthrough, Linux 6.9).
//
//   OPEN  ──► open passthrough already ─────────────► the same backing again
//         ──► open in no way, and a backing file is known ──► opened, registered (an id) ──► passthrough
//         ──► else ──► cached, at once; and told: a backing file is wanted
//   last RELEASE ──► the id is given back (passthrough), or told: a backing file is wanted (cached)
//
// The kernel refuses (EIO) to mix the ways on one inode, so each handle counts until its RELEASE, which the kernel
// sends after it has let go itself. A backing file may be removed at any time: the kernel holds what is open.
//
// Ownership: the ids that it registered; no descriptors. Threads: any. Errors: none; "cached" is the answer to
// everything, and the first refusal of the kernel ends the trying.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "fuse_device.h"
#include "fuse_ops.h"
#include "fuse_protocol.h"

namespace peel::fuse {

class OpenFiles final : public Handles {
 public:
  struct Listener {
    // A file of the image was opened or closed that would go faster with a backing file.
    std::function<void(uint32_t ino)> wanted;
    // The kernel does not take backing files: an errno of ioctl(2).
    std::function<void(int error)> refused;
  };

  // Files of fewer bytes than `least_size` are always cached.
  OpenFiles(uint64_t least_size, Listener listener);

  // The connection. Before any request.
  void Begin(const std::shared_ptr<Device>& device);

  // The file at `path`, which `fd` leads to, has the bytes of the inode. False where that cannot be.
  bool AddBacking(uint32_t ino, const std::string& path, int fd);

  OpenReply Open(uint32_t ino, uint64_t size) override;
  void Release(uint32_t ino, uint64_t handle) override;

  // Opens so far that were answered with passthrough.
  uint64_t Passed() const;

 private:
  // Tells a file from others that come to have its name. Inode numbers are given out again, so the time of birth
  // counts.
  struct Identity {
    uint64_t device = 0;
    uint64_t inode = 0;
    int64_t born_sec = 0;
    uint32_t born_nsec = 0;
    bool operator==(const Identity& other) const;
  };
  struct BackingFile {
    std::string path;
    Identity identity;
  };
  struct OpenFile {
    uint64_t cached = 0;  // handles of each way; never both
    uint64_t passed = 0;
    int32_t id = 0;  // of the backing file while handles are passed
  };

  static bool Identify(int fd, Identity* identity);
  int32_t Register(uint32_t ino, uint64_t size, int* refused);
  void Unregister(int32_t id) const;

  const uint64_t least_size_;
  const Listener listener_;
  mutable std::mutex mutex_;  // of all that follows
  // Not owned: a descriptor that stays open keeps the readers of a mount waiting whose server threads have ended.
  std::weak_ptr<Device> device_;
  bool is_refused_ = false;
  std::unordered_map<uint32_t, BackingFile> backings_;
  std::unordered_map<uint32_t, OpenFile> open_;
  uint64_t passed_ = 0;
};

}  // namespace peel::fuse
