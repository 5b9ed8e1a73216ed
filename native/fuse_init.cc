#include "fuse_init.h"

#include <algorithm>

namespace peel::fuse {
namespace {

// 1 MiB: the kernel's own limit unless root raised it.
constexpr uint16_t kPagesPerRequest = 256;
// Reads ahead that may wait at once. The kernel's default of 12 would let a dozen slow files stop all others.
constexpr uint16_t kBackground = 256;

// Backing files lie on a file system that is no stack itself, which the overlayfs of a container is: the kernel allows
// two levels, and the second is for the overlayfs that has the mount as its lower.
constexpr uint32_t kStackDepth = 1;

// Not taken: ASYNC_DIO. With it a read past the page cache waits where no signal reaches it, not even SIGKILL.
constexpr uint64_t kWanted = kAsyncRead          // pages of one file are asked for side by side
                             | kExportSupport    // "." and ".." can be looked up: file handles outlive the dentry cache
                             | kDoReaddirplus    // names and attributes in one go
                             | kReaddirplusAuto  // plain READDIR for readers that never stat
                             | kNoOpendirSupport | kParallelDirops  // nothing here needs OPENDIR
                             | kAbortError  // tells a connection that was aborted from one that was unmounted
                             | kMaxPages | kCacheSymlinks | kInitExtended;

}  // namespace

uint64_t Offered(const InitRequest& offer) {
  return offer.flags | (uint64_t{offer.flags2} << 32);
}

Agreement Negotiate(const InitRequest& offer, const Wishes& wishes, InitReply* reply, Terms* session) {
  *reply = InitReply();
  reply->major = kMajor;
  reply->minor = kMinor;
  if (offer.major > kMajor) return Agreement::kAskAgain;
  if (offer.major < kMajor || offer.minor < kOldestMinor) return Agreement::kTooOld;

  const uint64_t offered = Offered(offer);
  const bool has_passthrough = wishes.passthrough && (offered & kPassthrough) != 0;
  const uint64_t opening = has_passthrough ? kPassthrough : kNoOpenSupport;
  const uint64_t taken =
      offered & (kWanted | opening | (wishes.posix_acls ? uint64_t{kPosixAcl} : 0) |
                 (wishes.mapped_owners ? uint64_t{kAllowIdmap} : 0) | (wishes.over_uring ? uint64_t{kOverUring} : 0));
  reply->minor = std::min(offer.minor, kMinor);
  reply->max_readahead = offer.max_readahead;
  reply->flags = static_cast<uint32_t>(taken);
  reply->flags2 = static_cast<uint32_t>(taken >> 32);
  reply->max_background = kBackground;
  reply->congestion_threshold = kBackground;
  reply->max_write = kPageSize;  // nothing is ever written
  reply->time_granularity = 1;
  reply->max_stack_depth = has_passthrough ? kStackDepth : 0;
  reply->max_pages = (taken & kMaxPages) != 0 ? kPagesPerRequest : 0;

  session->minor = reply->minor;
  session->features = taken;
  return Agreement::kAgreed;
}

}  // namespace peel::fuse
