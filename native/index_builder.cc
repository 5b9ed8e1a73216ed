#include "index_builder.h"

#include <algorithm>
#include <string>
#include <utility>

namespace peel {
namespace {

// Blocks of gzip and pigz are at most about 1 MiB of output; beyond four times 256 KiB nobody wants to wait.
constexpr uint64_t kSpansPerHardCut = 4;
// A TiB at 256 KiB: a bomb that streams for hours must not fill the memory with its index.
constexpr size_t kMostSpans = size_t{1} << 22;
// A window may take a twelfth of the compressed bytes since the checkpoint before. In layers of programs nearly all
// stay below; in layers of text a third does not, and takes nearly half of the bytes of all windows.
constexpr uint64_t kMostOfCompressed = 12;
// Each time the windows have grown by this much, it is half of it: what hostile layers take of the memory.
constexpr uint64_t kWindowBudget = uint64_t{64} << 20;

}  // namespace

IndexBuilder::IndexBuilder(Compression compression, uint64_t span_size, TarDigests& digests)
    : compression_(compression), span_size_(span_size), digests_(digests) {}

uint64_t IndexBuilder::HardCut() const {
  return compression_ == Compression::kGzip ? span_size_ * kSpansPerHardCut : span_size_;
}

bool IndexBuilder::WantsBoundary() const {
  return compression_ == Compression::kGzip && !index_.checkpoints.empty() && output_ - tried_ >= span_size_;
}

uint64_t IndexBuilder::Room() const {
  uint64_t room = (span_open_ ? span_start_ : output_) + HardCut() - output_;
  if (compression_ == Compression::kGzip && !index_.checkpoints.empty() && !WantsBoundary()) {
    room = std::min(room, tried_ + span_size_ - output_);
  }
  return room;
}

Status IndexBuilder::Advance(Stream& stream, const SlabRef& slab, Input output) {
  if (output.left == 0) return Status::Ok();

  if (!span_open_) {
    if (compression_ == Compression::kNone) AddCheckpoint(output_, 0);
    span_open_ = true;
    span_start_ = output_;
    span_checkpoint_ = static_cast<uint32_t>(index_.checkpoints.size() - 1);
  }
  digests_.Update(slab, output);
  output_ += output.left;
  compressed_end_ = stream.position();
  if (sampling_ && output_ - sample_start_ >= kWindowSize) EndSample(stream);
  return output_ - span_start_ >= HardCut() ? CutSpan() : Status::Ok();
}

void IndexBuilder::AddCheckpoint(uint64_t compressed_offset, uint8_t bits) {
  index_.checkpoints.push_back({compressed_offset, output_, bits});
  index_.windows_of.push_back({index_.windows.size(), 0});
  tried_ = output_;
}

Status IndexBuilder::CutSpan() {
  if (!span_open_) return Status::Ok();
  if (index_.spans.size() >= kMostSpans) {
    return Status::Limit("layer of more than " + std::to_string(kMostSpans) + " spans", static_cast<int64_t>(output_));
  }
  index_.spans.push_back({span_start_, output_, compressed_end_, span_checkpoint_});
  span_open_ = false;
  digests_.EndSpan();
  return Status::Ok();
}

// A member's data needs no window: a checkpoint for nothing, where one is due.
Status IndexBuilder::OnMemberStart(Stream& stream) {
  if (!index_.checkpoints.empty() && output_ - index_.checkpoints.back().uncompressed_offset < span_size_) {
    return Status::Ok();
  }
  if (sampling_) EndSample(stream);
  Status status = CutSpan();
  AddCheckpoint(stream.member_position(), 0);
  return status;
}

Status IndexBuilder::OnBlockBoundary(Stream& stream) {
  const unsigned unused = stream.unused_bits();
  if (sampling_) EndSample(stream);
  Status status = CutSpan();
  AddCheckpoint(stream.position() - (unused > 0 ? 1 : 0), static_cast<uint8_t>(unused > 0 ? 8 - unused : 0));
  stream.BeginSample();
  sampling_ = true;
  sample_start_ = output_;
  return status;
}

// Whether the window of the newest checkpoint saves a reader more than it takes.
bool IndexBuilder::IsWorth(const Checkpoint& checkpoint, size_t window_length) const {
  const uint64_t saved =
      checkpoint.compressed_offset - index_.checkpoints[index_.checkpoints.size() - 2].compressed_offset;
  const uint64_t doublings = std::min<uint64_t>(index_.windows.size() / kWindowBudget, 16);
  return window_length * (kMostOfCompressed << doublings) <= saved;
}

// The span that is open begins at the newest checkpoint: a sample is shorter than any span.
void IndexBuilder::EndSample(Stream& stream) {
  sampling_ = false;
  const std::vector<uint8_t> packed = PackWindow(stream.TakeSample());
  if (packed.empty()) return;
  if (!IsWorth(index_.checkpoints.back(), packed.size())) {
    index_.checkpoints.pop_back();
    index_.windows_of.pop_back();
    span_checkpoint_ = static_cast<uint32_t>(index_.checkpoints.size() - 1);
    return;
  }
  index_.windows_of.back().length = static_cast<uint32_t>(packed.size());
  index_.windows.insert(index_.windows.end(), packed.begin(), packed.end());
}

Status IndexBuilder::Finish(Stream& stream, Index& index) {
  if (sampling_) EndSample(stream);
  Status status = CutSpan();
  if (!status.ok()) return status;
  index = std::move(index_);
  return Status::Ok();
}

}  // namespace peel
