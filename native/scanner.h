// One streaming pass over a layer blob: decompress, frame the tar, make checkpoints and spans, hash.
//
//   blob ──► input queue ──► stream ──► slab ──► framer (this thread)
//              │                          ╰────► lane 2: sha256 of the tar and of each span
//              ╰───────────────────────────────► lane 1: sha256 of the blob, CRC-32 of gzip members (of the slab),
//                                                and the sha256 of the tar where both at once
//                                                is not cheaper (tar_digests.h)
//
// Ownership: owns everything below it. Threads: Append and Run from one thread at a time, Cancel from any.
// Memory: two lanes' backlog, one batch of frames and of kept bytes, the index; nothing is allocated by a declared
// size. Errors: Status with offsets; after one, only Hash, TakeDigest and the destructor may be called.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "index_builder.h"
#include "lane.h"
#include "library_stream.h"
#include "member_checksums.h"
#include "sha256.h"
#include "stream.h"
#include "tar_digests.h"
#include "tar_framer.h"
#include "zstd_stream.h"

namespace peel {

struct ScanOptions {
  // Of the blob; the tar and the spans always have SHA-256.
  DigestAlgorithm digest_algorithm = DigestAlgorithm::kSha256;
  uint64_t span_size = 256 * 1024;
  FramerLimits framer;
};

struct ScanResult {
  Compression compression = Compression::kNone;
  std::vector<uint8_t> digest;
  Digest32 diff_id{};
  uint64_t compressed_size = 0;
  uint64_t uncompressed_size = 0;
  uint64_t trailing_garbage = 0;
  Index index;
};

enum class Progress : uint8_t {
  kNeedInput,  // everything appended so far is done
  kMore,       // a batch is ready, or it is somebody else's turn: call Run again
  kDone,       // only after the last byte: the result is complete
};

// Bytes of the tar, back to back, in slabs that the lanes still share.
struct TarBytes {
  uint64_t start = 0;
  uint64_t length = 0;
  std::vector<std::pair<SlabRef, Input>> pieces;
};

class Scanner {
 public:
  explicit Scanner(const ScanOptions& options);

  // The next bytes of the blob. `length` bytes of `slab`, which nobody changes any more.
  void Append(SlabRef slab, size_t length);
  // Works until the input is used up or a batch is full. `last`: no more input comes.
  Status Run(bool last, Progress& progress);
  FrameBatch TakeBatch() { return framer_.TakeBatch(); }
  // Whether the next Run keeps the bytes of the tar that it makes; it then hands over after a few MiB of them.
  void KeepTar(bool keep) { keeps_tar_ = keep; }
  TarBytes TakeTar() { return std::exchange(kept_, TarBytes{}); }
  ScanResult TakeResult() { return std::move(result_); }
  // The next bytes of a blob that is not scanned any further: a layer that does not decompress is either broken
  // or not the layer, and only the digest of all its bytes tells which.
  void Hash(SlabRef slab, size_t length);
  // Of all that was appended and hashed.
  Status TakeDigest(std::vector<uint8_t>& digest);
  // Makes a running Run return soon, and every later one at once.
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }

 private:
  struct Chunk {
    SlabRef slab;
    Input rest;
  };
  Status Scan(bool last, Progress& progress);
  bool Sniff(bool last);
  Status Step(Chunk& chunk, bool& wants_input);
  Status Emit(Input output);
  void Keep(Input output);
  Status NameForeign(Status status) const;
  Status Finish();
  Status Place(Status status) const;

  const ScanOptions options_;
  std::atomic<bool> cancelled_{false};
  std::shared_ptr<peel::Hash> blob_digest_;
  TarFramer framer_;
  std::deque<Chunk> chunks_;
  uint64_t appended_ = 0;
  uint8_t head_[kBzip2Magic] = {};
  size_t head_fill_ = 0;
  Compression compression_ = Compression::kNone;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<IndexBuilder> builder_;
  SlabRef slab_;
  Output room_;
  bool keeps_tar_ = false;
  bool member_ended_ = false;  // since the last Run
  TarBytes kept_;
  ScanResult result_;
  // Last: their threads end before what the tasks refer to goes away; tasks own what they write to.
  Lane blob_lane_;
  Lane tar_lane_;
  TarDigests tar_digests_;
  MemberChecksums member_checksums_;
};

}  // namespace peel
