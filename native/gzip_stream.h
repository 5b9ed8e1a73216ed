// Gzip, member after member; can begin at a checkpoint.
//
// Ownership: owns its decoder state. Threads: one at a time. Errors: Status with the compressed offset.
// Checked: block structure, CRC-32 (or left to the caller) and size of every member that was read from its beginning. A
// member entered at a checkpoint is not checked: the sha256 of the span covers its bytes.
#pragma once

#include <string>
#include <vector>

#include "gzip_header.h"
#include "inflater.h"
#include "stream.h"

namespace peel {

class GzipStream final : public Stream {
 public:
  // At the first byte of the first member.
  GzipStream();
  // Inside a member: `bits` low bits of the first byte belong to the block before, `window` is the output
  // before it (empty at the beginning of a member's data).
  GzipStream(unsigned bits, std::vector<uint8_t> window);

  Event Step(Input& in, Output& out, bool stop_at_block) override;
  Status Finish() override;
  void LeaveChecksums() override { leaves_checksums_ = true; }
  uint32_t member_checksum() const override;
  unsigned unused_bits() const override { return inflater_.unused_bits(); }
  void BeginSample() override { inflater_.BeginSample(); }
  WindowSample TakeSample() override { return inflater_.TakeSample(); }

 private:
  // kResume: the byte that the checkpoint shares with the block before is still to come.
  enum class State : uint8_t { kResume, kHeader, kData, kTrailer, kBetween, kGarbage };

  void Resume(Input& in);
  Event Inflate(Input& in, Output& out, bool stop_at_block);
  bool ReadTrailer(Input& in);
  void SkipGarbage(Input& in);

  Inflater inflater_;
  State state_ = State::kHeader;
  GzipHeader header_;
  bool checked_ = true;
  bool leaves_checksums_ = false;
  bool magic_seen_ = false;  // kBetween: the first magic byte was consumed
  uint64_t garbage_ = 0;
  bool garbage_is_zero_ = true;
  uint32_t crc_ = 0;
  uint64_t member_size_ = 0;
  uint8_t trailer_[8] = {};
  unsigned trailer_fill_ = 0;
  unsigned resume_bits_ = 0;
  std::vector<uint8_t> resume_window_;
};

}  // namespace peel
