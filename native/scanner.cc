#include "scanner.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace peel {
namespace {

// One slab of output: fits the second-level cache together with inflate's own 32 KiB.
constexpr size_t kSlabSize = 256 * 1024;
// Backlog of each lane. Enough that inflate never waits for a hash that keeps up on average.
constexpr size_t kLaneCapacity = 4 << 20;
// A Run hands over after this much: a bomb of frames must not pile up, and other work wants the pool.
constexpr size_t kBatchWeight = 4 << 20;
constexpr uint64_t kOutputPerRun = 64 << 20;
// The same where the output is kept for JavaScript: what is copied there in one go must not hold it up.
constexpr uint64_t kKeptPerRun = 2 << 20;

// A compression that is not read here, told apart from a broken tar.
const char* ForeignCompression(const uint8_t* head, size_t length) {
  return length >= 4 && memcmp(head, "\x04\x22\x4d\x18", 4) == 0 ? "lz4" : nullptr;
}

}  // namespace

Scanner::Scanner(const ScanOptions& options)
    : options_(options),
      blob_digest_(std::make_shared<peel::Hash>(options.digest_algorithm)),
      framer_(options.framer),
      blob_lane_(kLaneCapacity),
      tar_lane_(kLaneCapacity),
      tar_digests_(blob_lane_, tar_lane_, Sha256Pair::IsSupported()),
      member_checksums_(blob_lane_) {}

void Scanner::Append(SlabRef slab, size_t length) {
  if (length == 0) return;
  const Input bytes{slab->bytes.get(), length};
  Hash(slab, length);
  for (size_t i = 0; i < length && head_fill_ < sizeof head_; i++) head_[head_fill_++] = bytes.next[i];
  appended_ += length;
  chunks_.push_back({std::move(slab), bytes});
}

void Scanner::Hash(SlabRef slab, size_t length) {
  blob_lane_.Push(length, [digest = blob_digest_, slab, length] { digest->Update(slab->bytes.get(), length); });
}

Status Scanner::TakeDigest(std::vector<uint8_t>& digest) {
  if (!blob_lane_.Drain()) return Status::Of(Fault::kMemory, "hashing the layer failed");
  digest = blob_digest_->Finish();
  return Status::Ok();
}

// By the first bytes, never by a media type (E116). False while they do not tell yet.
bool Scanner::Sniff(bool last) {
  if (stream_ != nullptr) return true;
  if (head_fill_ < sizeof head_ && !last) return false;
  if (head_fill_ >= 2 && head_[0] == 0x1f && head_[1] == 0x8b) {
    compression_ = Compression::kGzip;
    stream_ = OpenGzip();
  } else if (head_fill_ >= 4 && IsZstd(head_)) {
    compression_ = Compression::kZstd;
    stream_ = OpenZstd();
  } else if (IsXz(head_, head_fill_)) {
    compression_ = Compression::kXz;
    stream_ = OpenXz();
  } else if (IsBzip2(head_, head_fill_)) {
    compression_ = Compression::kBzip2;
    stream_ = OpenBzip2();
  } else {
    compression_ = Compression::kNone;
    stream_ = OpenPlain();
  }
  stream_->LeaveChecksums();
  builder_ = std::make_unique<IndexBuilder>(compression_, options_.span_size, tar_digests_);
  return true;
}

Status Scanner::Place(Status status) const {
  if (stream_ != nullptr) {
    if (status.offset < 0) status.offset = static_cast<int64_t>(builder_->uncompressed_size());
    if (status.compressed_offset < 0) status.compressed_offset = static_cast<int64_t>(stream_->position());
  }
  return status;
}

// What comes after a member that is not what its trailer says is not given out.
Status Scanner::Run(bool last, Progress& progress) {
  Status status = Scan(last, progress);
  if (!status.ok() || !member_ended_) return status;
  member_ended_ = false;
  return Place(member_checksums_.Finish());
}

Status Scanner::Scan(bool last, Progress& progress) {
  progress = Progress::kNeedInput;
  if (!Sniff(last)) return Status::Ok();
  const uint64_t begin = builder_->uncompressed_size();
  const uint64_t most = keeps_tar_ ? kKeptPerRun : kOutputPerRun;
  while (!chunks_.empty()) {
    if (cancelled_.load(std::memory_order_relaxed)) return Status::Of(Fault::kClosed, "the scanner was closed");
    if (framer_.batch().Weight() >= kBatchWeight || builder_->uncompressed_size() - begin >= most) {
      progress = Progress::kMore;
      return Status::Ok();
    }
    bool wants_input = false;
    Status status = Step(chunks_.front(), wants_input);
    if (!status.ok()) return Place(std::move(status));
    if (wants_input && chunks_.front().rest.left == 0) chunks_.pop_front();
  }
  if (!last) return Status::Ok();
  Status status = Finish();
  if (!status.ok()) return Place(std::move(status));
  progress = Progress::kDone;
  return Status::Ok();
}

Status Scanner::Step(Chunk& chunk, bool& wants_input) {
  if (room_.left == 0) {
    slab_ = std::make_shared<Slab>(kSlabSize);
    room_ = {slab_->bytes.get(), slab_->capacity};
  }
  uint8_t* const output = room_.next;
  Output limited{room_.next, static_cast<size_t>(std::min<uint64_t>(room_.left, builder_->Room()))};
  const Event event = stream_->Step(chunk.rest, limited, builder_->WantsBoundary());
  if (event == Event::kFailed) return stream_->status();
  const size_t produced = static_cast<size_t>(limited.next - output);
  room_.next += produced;
  room_.left -= produced;
  wants_input = event == Event::kNeedInput;

  const Input made{output, produced};
  Status status = builder_->Advance(*stream_, slab_, made);
  if (status.ok() && produced > 0 && keeps_tar_) Keep(made);
  if (status.ok() && produced > 0) status = Emit(made);
  if (produced > 0 && compression_ == Compression::kGzip) member_checksums_.Update(slab_, made);
  if (event == Event::kMemberEnd) {
    member_checksums_.EndMember(stream_->member_checksum(), stream_->position());
    member_ended_ = true;
  }
  if (status.ok() && event == Event::kMemberStart) status = builder_->OnMemberStart(*stream_);
  if (status.ok() && event == Event::kBlockBoundary) status = builder_->OnBlockBoundary(*stream_);
  return status;
}

Status Scanner::Emit(Input output) {
  return NameForeign(framer_.Feed(output.next, output.left));
}

// Pieces that lie beside each other become one: their number must not depend on how small the steps are.
void Scanner::Keep(Input output) {
  if (kept_.pieces.empty()) kept_.start = builder_->uncompressed_size() - output.left;
  kept_.length += output.left;
  if (!kept_.pieces.empty()) {
    auto& [slab, last] = kept_.pieces.back();
    if (slab == slab_ && last.next + last.left == output.next) {
      last.left += output.left;
      return;
    }
  }
  kept_.pieces.push_back({slab_, output});
}

// What is no tar at its first byte may be a layer in a compression that is not read.
Status Scanner::NameForeign(Status status) const {
  if (status.ok() || status.offset != 0 || compression_ != Compression::kNone) return status;
  const char* name = ForeignCompression(head_, head_fill_);
  if (name == nullptr) return status;
  return Status::Of(Fault::kUnsupported, std::string("layer compressed with ") + name +
                                             ", only gzip, zstd, xz, bzip2 and plain tar are read");
}

Status Scanner::Finish() {
  Status status = stream_->Finish();
  if (status.ok()) status = NameForeign(framer_.Finish());
  if (status.ok()) status = builder_->Finish(*stream_, result_.index);
  if (status.ok()) status = member_checksums_.Finish();
  if (status.ok()) status = tar_digests_.Finish(result_.diff_id, result_.index.sha256);
  if (status.ok()) status = TakeDigest(result_.digest);
  if (!status.ok()) return status;
  result_.compression = compression_;
  result_.compressed_size = appended_;
  result_.uncompressed_size = builder_->uncompressed_size();
  result_.trailing_garbage = stream_->trailing_garbage();
  return Status::Ok();
}

}  // namespace peel
