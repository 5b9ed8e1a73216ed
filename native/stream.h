// One interface for the ways a layer is stored: gzip, zstd, xz, bzip2, not compressed.
//
// Ownership: a stream owns its decoder state, never input or output. Threads: one at a time.
// Errors: Status with `compressed_offset` set; after an error only the destructor may be called.
#pragma once

#include <cstdint>
#include <memory>

#include "cursor.h"
#include "status.h"
#include "window.h"

namespace peel {

enum class Compression : uint8_t { kNone, kGzip, kZstd, kXz, kBzip2 };

enum class Event : uint8_t {
  kNeedInput,      // all input is used up, or a gzip member's data have ended: go on with what is left
  kOutputFull,     // no room is left in the output
  kBlockBoundary,  // gzip, only when asked for: between two deflate blocks, a place for a checkpoint
  kMemberStart,    // the next byte begins a member's deflate data, or a frame: a checkpoint without a window
  kMemberEnd,      // gzip, only after LeaveChecksums: all of a member and its trailer were read
  kFailed,         // see status()
};

class Stream {
 public:
  virtual ~Stream() = default;

  // Decodes until an event. `stop_at_block` asks for the next kBlockBoundary. Consumes from `in`, fills
  // `out`; every call either moves forward or returns kNeedInput, kOutputFull or kFailed.
  virtual Event Step(Input& in, Output& out, bool stop_at_block) = 0;

  // The blob ends here. Fails where that cuts something in two.
  virtual Status Finish() = 0;

  const Status& status() const { return status_; }
  // Compressed bytes consumed, counted from the beginning of the blob.
  uint64_t position() const { return position_; }
  // At kMemberStart: where a decoder for that checkpoint begins.
  virtual uint64_t member_position() const { return position_; }
  // Bytes after the last member or frame that are neither.
  uint64_t trailing_garbage() const { return trailing_garbage_; }

  // From now on the caller holds the output of each member against `member_checksum`, at kMemberEnd.
  virtual void LeaveChecksums() {}
  // At kMemberEnd: what the CRC-32 of the member's output has to be.
  virtual uint32_t member_checksum() const { return 0; }

  // At kBlockBoundary: how many high bits of the last consumed byte are not used yet (0 to 7).
  virtual unsigned unused_bits() const { return 0; }
  // At kBlockBoundary: begins a sample of this member's newest output, at most 32 KiB.
  virtual void BeginSample() {}
  // The sample begun last: all that later output refers to is in it after 32 KiB, at the next boundary where that is
  // sooner, at the end of the member.
  virtual WindowSample TakeSample() { return {}; }

 protected:
  Event Fail(Status status) {
    status.compressed_offset = static_cast<int64_t>(position_);
    status_ = std::move(status);
    return Event::kFailed;
  }

  // What comes after the last member or frame and is neither, to the end of the blob.
  Event SkipGarbage(Input& in) {
    trailing_garbage_ += in.left;
    position_ += in.left;
    in.next += in.left;
    in.left = 0;
    return Event::kNeedInput;
  }

  Status status_;
  uint64_t position_ = 0;
  uint64_t trailing_garbage_ = 0;
};

// A stream at the beginning of a blob.
std::unique_ptr<Stream> OpenGzip();
std::unique_ptr<Stream> OpenZstd();
std::unique_ptr<Stream> OpenXz();
std::unique_ptr<Stream> OpenBzip2();
std::unique_ptr<Stream> OpenPlain();

}  // namespace peel
