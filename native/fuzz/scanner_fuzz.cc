// libFuzzer target: no layer, however broken, makes the scanner leave the memory; what it finds does not depend on how
// the blob was cut into writes; and what it let through can be read back: every span from its checkpoint.
// scripts/fuzz.sh builds and runs it.
//
//   input: form (1): the rest is a blob, or a tar to be compressed | repeats (1) | count of cuts (1), each a length (2)
//          | blob or tar
#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#include "decoder.h"
#include "scanner.h"

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kMostWrites = 500;
constexpr size_t kLargestTar = 160 * 1024;

void Check(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what);
  abort();
}

struct Scanned {
  bool failed = false;
  std::vector<peel::Frame> frames;
  Bytes parts;  // headers and parts, back to back
  std::vector<std::pair<char, uint32_t>> kinds;
  peel::ScanResult result;
};

// Reading back a layer that is a bomb would take too long.
constexpr uint64_t kMostReadBack = 1 << 20;

// True when the run is over.
bool RunAll(peel::Scanner& scanner, bool last, Scanned& scanned) {
  for (uint64_t turns = 0; turns < 1000; ++turns) {
    peel::Progress progress;
    const peel::Status status = scanner.Run(last, progress);
    Check(status.ok() == status.message.empty(), "a failure without words");
    const peel::FrameBatch batch = scanner.TakeBatch();
    scanned.frames.insert(scanned.frames.end(), batch.frames.begin(), batch.frames.end());
    scanned.parts.insert(scanned.parts.end(), batch.bytes.begin(), batch.bytes.end());
    for (const peel::Part& part : batch.parts) scanned.kinds.emplace_back(part.kind, part.length);
    scanned.failed = !status.ok();
    if (scanned.failed || progress == peel::Progress::kDone) return true;
    if (progress == peel::Progress::kNeedInput) return false;
  }
  abort();
}

Scanned Scan(const Bytes& blob, const std::vector<size_t>& cuts) {
  peel::ScanOptions options;
  options.span_size = peel::kSmallestSpan;
  options.framer = {4096, 16384, 64, 1000};
  peel::Scanner scanner(options);
  Scanned scanned;
  size_t at = 0;
  for (size_t turn = 0; at < blob.size(); ++turn) {
    const size_t rest = blob.size() - at;
    const size_t length = turn < kMostWrites ? std::min(cuts[turn % cuts.size()], rest) : rest;
    auto slab = std::make_shared<peel::Slab>(length);
    if (length > 0) memcpy(slab->bytes.get(), blob.data() + at, length);
    scanner.Append(std::move(slab), length);
    at += length;
    if (RunAll(scanner, false, scanned)) return scanned;
  }
  Check(RunAll(scanner, true, scanned), "a blob without an end");
  if (!scanned.failed) scanned.result = scanner.TakeResult();
  return scanned;
}

auto Fields(const peel::Frame& frame) {
  return std::tie(frame.header_offset, frame.data_offset, frame.stored_size, frame.part_count);
}

// Checkpoints and spans may lie elsewhere; CheckSpans has them.
void CheckSame(const Scanned& one, const Scanned& other) {
  Check(one.failed == other.failed, "cutting decides whether it fails");
  if (one.failed) return;
  Check(std::equal(one.frames.begin(), one.frames.end(), other.frames.begin(), other.frames.end(),
                   [](const auto& a, const auto& b) { return Fields(a) == Fields(b); }),
        "cutting changed the frames");
  Check(one.parts == other.parts && one.kinds == other.kinds, "cutting changed the parts");
  const peel::ScanResult& a = one.result;
  const peel::ScanResult& b = other.result;
  Check(a.compression == b.compression && a.digest == b.digest && a.diff_id == b.diff_id &&
            a.uncompressed_size == b.uncompressed_size && a.compressed_size == b.compressed_size &&
            a.trailing_garbage == b.trailing_garbage,
        "cutting changed the result");
}

void CheckFrames(const Scanned& scanned) {
  uint64_t end = 0;
  for (const peel::Frame& frame : scanned.frames) {
    Check(frame.header_offset >= end && frame.data_offset >= frame.header_offset + 512, "frames out of order");
    end = frame.data_offset + frame.stored_size;
    Check(end <= scanned.result.uncompressed_size, "a payload behind the end");
  }
}

void CheckSpans(const Bytes& blob, const peel::ScanResult& result) {
  const peel::Index& index = result.index;
  uint64_t end = 0;
  for (size_t i = 0; i < index.spans.size(); ++i) {
    const peel::Span& span = index.spans[i];
    Check(span.start == end && span.end > span.start, "spans with gaps");
    end = span.end;
    Check(span.checkpoint < index.checkpoints.size(), "a span without a checkpoint");
    const peel::Checkpoint& checkpoint = index.checkpoints[span.checkpoint];
    const peel::PackedWindow& window = index.windows_of[span.checkpoint];
    Check(checkpoint.uncompressed_offset <= span.start && checkpoint.compressed_offset <= span.compressed_end &&
              span.compressed_end <= blob.size(),
          "a checkpoint in the wrong place");
    peel::DecoderOptions options;
    options.compression = result.compression;
    options.bits = checkpoint.bits;
    const auto packed = index.windows.begin() + static_cast<ptrdiff_t>(window.offset);
    options.packed_window.assign(packed, packed + window.length);
    peel::Decoder decoder(options);
    decoder.Append(blob.data() + checkpoint.compressed_offset, span.compressed_end - checkpoint.compressed_offset);
    Bytes output(span.end - checkpoint.uncompressed_offset);
    peel::Output room{output.data(), output.size()};
    Check(decoder.Run(room).ok() && room.left == 0, "a span that cannot be read");
    peel::Sha256 sha256;
    sha256.Update(output.data() + (span.start - checkpoint.uncompressed_offset), span.end - span.start);
    const peel::Digest32 digest = sha256.Finish();
    Check(std::equal(digest.begin(), digest.end(), index.sha256.begin() + static_cast<ptrdiff_t>(32 * i)),
          "a span with other bytes");
  }
  Check(end == result.uncompressed_size, "bytes in no span");
}

// `level` 1 to 9. Blocks end where a small memory makes them end, so that there are places for checkpoints.
Bytes Gzip(const Bytes& tar, int level) {
  z_stream z{};
  Check(deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 2, Z_DEFAULT_STRATEGY) == Z_OK, "no memory");
  Bytes blob(deflateBound(&z, static_cast<uLong>(tar.size())));
  z.next_in = const_cast<Bytef*>(tar.data());
  z.avail_in = static_cast<uInt>(tar.size());
  z.next_out = blob.data();
  z.avail_out = static_cast<uInt>(blob.size());
  Check(deflate(&z, Z_FINISH) == Z_STREAM_END, "no end");
  blob.resize(blob.size() - z.avail_out);
  deflateEnd(&z);
  return blob;
}

// Larger than a span: the copies differ, else there would be little to refer to a window for.
Bytes Repeat(const Bytes& tar, size_t copies) {
  Bytes repeated;
  for (size_t copy = 0; copy < copies && repeated.size() + tar.size() <= kLargestTar; ++copy) {
    repeated.insert(repeated.end(), tar.begin(), tar.end());
    if (copy > 0 && !tar.empty()) repeated[repeated.size() - 1 - copy % tar.size()] ^= static_cast<uint8_t>(copy);
  }
  return repeated;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const unsigned form = data[0] % 12;
  const size_t copies = size_t{1} + data[1];
  std::vector<size_t> cuts(1 + data[2] % 4);
  size_t at = 3;
  for (size_t& cut : cuts) {
    if (size - at < 2) return 0;
    cut = data[at] | size_t{data[at + 1]} << 8;
    at += 2;
  }
  // Without it nothing would ever go in.
  cuts.back() += 1;
  Bytes blob(data + at, data + size);
  if (form >= 2) blob = Repeat(blob, copies);
  peel::Digest32 tar{};
  if (form >= 3) {
    peel::Sha256 sha256;
    sha256.Update(blob.data(), blob.size());
    tar = sha256.Finish();
    blob = Gzip(blob, static_cast<int>(form) - 2);
  }

  const Scanned whole = Scan(blob, {blob.size() + 1});
  const Scanned cut = Scan(blob, cuts);
  if (!whole.failed) {
    CheckFrames(whole);
    if (whole.result.uncompressed_size <= kMostReadBack) CheckSpans(blob, whole.result);
    Check(form < 3 || whole.result.diff_id == tar, "another tar than the one that was compressed");
  }
  CheckSame(whole, cut);
  if (!cut.failed && cut.result.uncompressed_size <= kMostReadBack) CheckSpans(blob, cut.result);
  return 0;
}
