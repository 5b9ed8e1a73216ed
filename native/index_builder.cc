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
// Real layers need 2 % of their size; hostile ones up to an eighth. Each time the windows have grown by this
// much, checkpoints get twice as rare.
constexpr uint64_t kWindowBudget = uint64_t{64} << 20;

}  // namespace

IndexBuilder::IndexBuilder(Compression compression, uint64_t span_size, TarDigests& digests, Lane& lane)
    : compression_(compression),
      span_size_(span_size),
      digests_(digests),
      lane_(lane),
      packed_(std::make_shared<Packed>()) {}

uint64_t IndexBuilder::HardCut() const {
  return compression_ == Compression::kGzip ? span_size_ * kSpansPerHardCut : span_size_;
}

uint64_t IndexBuilder::Interval() const {
  const uint64_t grown = packed_->window_bytes.load(std::memory_order_relaxed) / kWindowBudget;
  return span_size_ << std::min<uint64_t>(grown, 8);
}

bool IndexBuilder::WantsBoundary() const {
  return compression_ == Compression::kGzip && !index_.checkpoints.empty() &&
         output_ - index_.checkpoints.back().uncompressed_offset >= Interval();
}

uint64_t IndexBuilder::Room() const {
  uint64_t room = (span_open_ ? span_start_ : output_) + HardCut() - output_;
  if (compression_ == Compression::kGzip && !index_.checkpoints.empty() && !WantsBoundary()) {
    const uint64_t target = index_.checkpoints.back().uncompressed_offset + Interval();
    if (target > output_) room = std::min(room, target - output_);
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

void IndexBuilder::EndSample(Stream& stream) {
  const size_t checkpoint = index_.checkpoints.size() - 1;
  auto sample = std::make_shared<const WindowSample>(stream.TakeSample());
  lane_.Push(2 * kWindowSize, [all = packed_, sample = std::move(sample), checkpoint] {
    const std::vector<uint8_t> packed = all->packer.Pack(*sample);
    if (packed.empty()) return;
    all->places.push_back({checkpoint, {all->windows.size(), static_cast<uint32_t>(packed.size())}});
    all->windows.insert(all->windows.end(), packed.begin(), packed.end());
    all->window_bytes.store(all->windows.size(), std::memory_order_relaxed);
  });
  sampling_ = false;
}

Status IndexBuilder::Finish(Stream& stream, Index& index) {
  if (sampling_) EndSample(stream);
  Status status = CutSpan();
  if (!status.ok()) return status;
  if (!lane_.Drain()) return Status::Of(Fault::kMemory, "packing the windows failed");
  index_.windows = std::move(packed_->windows);
  index_.windows_of.resize(index_.checkpoints.size());
  for (const auto& [checkpoint, window] : packed_->places) index_.windows_of[checkpoint] = window;
  index = std::move(index_);
  return Status::Ok();
}

}  // namespace peel
