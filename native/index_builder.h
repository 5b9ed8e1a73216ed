// Checkpoints and spans of a layer, made while its bytes stream by.
//
//   output  |------- span 0 -------|--- span 1 ---|------ span 2 ------|
//           ^ checkpoint 0         ^ checkpoint 1 ^ checkpoint 2
//
// gzip: once a span is long enough, the next deflate block boundary (or member start) ends the span and becomes a
// checkpoint, unless its window is large for the compressed bytes that it would save a reader: then the next span names
// the checkpoint before. Where no boundary comes, spans end at kSpansPerHardCut times that size. zstd: checkpoints at
// frame starts only. Not compressed: one checkpoint a span.
//
// Ownership: owns the lists. Threads: one at a time (the pool thread); hashing runs on lanes. Errors: Status.
#pragma once

#include <cstdint>
#include <vector>

#include "cursor.h"
#include "stream.h"
#include "tar_digests.h"
#include "window.h"

namespace peel {

constexpr uint64_t kSmallestSpan = 65536;

struct Checkpoint {
  uint64_t compressed_offset;
  uint64_t uncompressed_offset;
  uint8_t bits;
};

struct Span {
  uint64_t start;
  uint64_t end;
  uint64_t compressed_end;
  uint32_t checkpoint;
};

struct PackedWindow {
  uint64_t offset = 0;
  uint32_t length = 0;
};

struct Index {
  std::vector<Checkpoint> checkpoints;
  std::vector<PackedWindow> windows_of;  // one a checkpoint
  std::vector<uint8_t> windows;
  std::vector<Span> spans;
  std::vector<uint8_t> sha256;  // 32 bytes a span
};

class IndexBuilder {
 public:
  // `span_size` is at least kSmallestSpan, so that a window's sample ends before the next one begins.
  IndexBuilder(Compression compression, uint64_t span_size, TarDigests& digests);

  // How many bytes of output until the builder wants to decide something; at least 1.
  uint64_t Room() const;
  // Whether the next block boundary is wanted as a checkpoint.
  bool WantsBoundary() const;

  // After each step of the stream, which wrote `output` into `slab`.
  Status Advance(Stream& stream, const SlabRef& slab, Input output);
  Status OnMemberStart(Stream& stream);
  Status OnBlockBoundary(Stream& stream);

  // The blob is complete. The index has no digests of spans yet.
  Status Finish(Stream& stream, Index& index);

  uint64_t uncompressed_size() const { return output_; }

 private:
  uint64_t HardCut() const;
  bool IsWorth(const Checkpoint& checkpoint, size_t window_length) const;
  void AddCheckpoint(uint64_t compressed_offset, uint8_t bits);
  Status CutSpan();
  void EndSample(Stream& stream);

  const Compression compression_;
  const uint64_t span_size_;
  TarDigests& digests_;
  Index index_;

  uint64_t output_ = 0;
  uint64_t tried_ = 0;  // where the newest checkpoint was made, also one that was dropped
  bool span_open_ = false;
  uint64_t span_start_ = 0;
  uint32_t span_checkpoint_ = 0;
  uint64_t compressed_end_ = 0;  // position when the newest byte of output came out

  bool sampling_ = false;
  uint64_t sample_start_ = 0;
};

}  // namespace peel
