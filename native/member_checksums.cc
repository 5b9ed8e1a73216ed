#include "member_checksums.h"

#include <zlib.h>

namespace peel {
namespace {

// What a task takes of the memory: a blob may be nothing but empty members.
constexpr size_t kTaskWeight = 256;

}  // namespace

void MemberChecksums::Update(const SlabRef& slab, Input bytes) {
  lane_.Push(bytes.left, [check = check_, slab, bytes] {
    check->crc = static_cast<uint32_t>(crc32_z(check->crc, bytes.next, bytes.left));
  });
}

void MemberChecksums::EndMember(uint32_t expected, uint64_t position) {
  lane_.Push(kTaskWeight, [check = check_, expected, position] {
    if (check->crc != expected && !check->wrong_at) check->wrong_at = position;
    check->crc = 0;
  });
}

Status MemberChecksums::Finish() {
  if (!lane_.Drain()) return Status::Of(Fault::kMemory, "checking the layer failed");
  if (!check_->wrong_at) return Status::Ok();
  Status status = Status::Invalid("gzip member: its CRC-32 is not the one of its data");
  status.compressed_offset = static_cast<int64_t>(*check_->wrong_at);
  return status;
}

}  // namespace peel
