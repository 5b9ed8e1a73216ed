// INIT: what the kernel offers and what is taken of it, feature by feature, so that one binary serves every kernel
// from 5.10 on. Pure. An image never changes, which is why nearly everything that caches is taken.
#pragma once

#include <cstdint>

#include "fuse_protocol.h"

namespace peel::fuse {

struct Wishes {
  bool posix_acls = false;  // the image has some: the kernel is to enforce them
  // Owners are plain numbers here, so that the kernel may map them per mount. It refuses the whole INIT where the mount
  // has no default_permissions.
  bool mapped_owners = false;
  // Large files are read from the cache's files by the kernel itself. It takes OPEN messages.
  bool passthrough = false;
  // Requests over io_uring. Once promised, nothing is answered until all queues are there.
  bool over_uring = false;
};

struct Terms {
  uint32_t minor = 0;
  uint64_t features = 0;  // offered and taken
  bool Has(Feature feature) const { return (features & feature) != 0; }
};

enum class Agreement : uint8_t {
  kAgreed,
  kAskAgain,  // a newer major: the reply names ours, and the kernel sends another INIT
  kTooOld,
};

// Features that the kernel offers.
uint64_t Offered(const InitRequest& offer);

Agreement Negotiate(const InitRequest& offer, const Wishes& wishes, InitReply* reply, Terms* session);

}  // namespace peel::fuse
