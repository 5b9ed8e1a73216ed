// The CRC-32 of gzip members, beside inflating: a tenth of what the thread that decodes would have to do.
//
//   lane: CRC-32 of the output, held against the trailer at each member's end
//
// Ownership: the lane's tasks share what they write, and own their slabs. Threads: one at a time.
// Errors: Finish names the first member that is not what its trailer says, or fails where the lane did.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "cursor.h"
#include "lane.h"
#include "status.h"

namespace peel {

class MemberChecksums {
 public:
  explicit MemberChecksums(Lane& lane) : lane_(lane), check_(std::make_shared<Check>()) {}

  // The next bytes of the member, in `slab`.
  void Update(const SlabRef& slab, Input bytes);
  // The member ends here; the next one begins. `position`: where its trailer ends in the blob.
  void EndMember(uint32_t expected, uint64_t position);
  Status Finish();

 private:
  // Read here only when the lane has nothing left to do.
  struct Check {
    uint32_t crc = 0;
    std::optional<uint64_t> wrong_at;
  };

  Lane& lane_;
  std::shared_ptr<Check> check_;
};

}  // namespace peel
