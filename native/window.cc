#include "window.h"

#include <algorithm>
#include <new>

namespace peel {
namespace {

// Runs closer than this are joined: a gap costs two varints, more than the bytes it saves.
constexpr size_t kShortestGap = 4;
// A packed window holds at most the window and two varints of at most three bytes a run.
constexpr size_t kLongestPlain = kWindowSize + (kWindowSize / kShortestGap + 2) * 6;

void PutVarint(std::vector<uint8_t>& out, size_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<uint8_t>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<uint8_t>(value));
}

bool GetVarint(const std::vector<uint8_t>& in, size_t& at, size_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 21; shift += 7) {
    if (at >= in.size()) return false;
    const uint8_t byte = in[at++];
    value |= static_cast<size_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

struct Run {
  size_t start;
  size_t end;
};

std::vector<Run> RunsOf(const std::vector<bool>& used) {
  std::vector<Run> runs;
  for (size_t i = 0; i < used.size(); i++) {
    if (!used[i]) continue;
    if (!runs.empty() && i - runs.back().end < kShortestGap) {
      runs.back().end = i + 1;
    } else {
      runs.push_back({i, i + 1});
    }
  }
  return runs;
}

}  // namespace

WindowPacker::~WindowPacker() {
  if (inflate_ready_) inflateEnd(&inflate_);
  if (deflate_ready_) deflateEnd(&deflate_);
}

bool WindowPacker::InflateWithMarkers(const WindowSample& sample, bool second, std::vector<uint8_t>& output,
                                      bool& complete) {
  const size_t size = sample.window.size();
  std::vector<uint8_t> markers(size);
  for (size_t i = 0; i < size; i++) markers[i] = static_cast<uint8_t>(second ? i + 1 + (i >> 8) : i);

  if ((inflate_ready_ ? inflateReset(&inflate_) : inflateInit2(&inflate_, -15)) != Z_OK) throw std::bad_alloc();
  inflate_ready_ = true;
  const uint8_t* next = sample.compressed.data();
  size_t left = sample.compressed.size();
  if (sample.bits > 0) {
    if (left == 0) return false;
    if (inflatePrime(&inflate_, static_cast<int>(8 - sample.bits), *next >> sample.bits) != Z_OK) return false;
    next++;
    left--;
  }
  if (inflateSetDictionary(&inflate_, markers.data(), static_cast<uInt>(size)) != Z_OK) return false;

  output.resize(kWindowSize);
  inflate_.next_in = const_cast<Bytef*>(next);
  inflate_.avail_in = static_cast<uInt>(left);
  inflate_.next_out = output.data();
  inflate_.avail_out = static_cast<uInt>(output.size());
  const int result = inflate(&inflate_, Z_SYNC_FLUSH);
  output.resize(output.size() - inflate_.avail_out);
  complete = result == Z_STREAM_END || inflate_.avail_out == 0;
  return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR;
}

// False where the sample does not tell: then every byte counts as used.
bool WindowPacker::FindReferences(const WindowSample& sample, std::vector<bool>& used) {
  std::vector<uint8_t> first;
  std::vector<uint8_t> second;
  bool complete = false;
  if (!InflateWithMarkers(sample, false, first, complete) || !complete) return false;
  if (!InflateWithMarkers(sample, true, second, complete) || !complete) return false;
  if (first.size() != second.size()) return false;
  for (size_t i = 0; i < first.size(); i++) {
    if (first[i] == second[i]) continue;
    const size_t high = static_cast<uint8_t>(second[i] - first[i] - 1);
    const size_t index = high << 8 | first[i];
    if (index < used.size()) used[index] = true;
  }
  return true;
}

std::vector<uint8_t> WindowPacker::Deflate(const std::vector<uint8_t>& plain) {
  if ((deflate_ready_ ? deflateReset(&deflate_) : deflateInit2(&deflate_, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY)) !=
      Z_OK) {
    throw std::bad_alloc();
  }
  deflate_ready_ = true;
  std::vector<uint8_t> packed(deflateBound(&deflate_, static_cast<uLong>(plain.size())));
  deflate_.next_in = const_cast<Bytef*>(plain.data());
  deflate_.avail_in = static_cast<uInt>(plain.size());
  deflate_.next_out = packed.data();
  deflate_.avail_out = static_cast<uInt>(packed.size());
  if (deflate(&deflate_, Z_FINISH) != Z_STREAM_END) throw std::bad_alloc();
  packed.resize(packed.size() - deflate_.avail_out);
  return packed;
}

std::vector<uint8_t> WindowPacker::Pack(const WindowSample& sample) {
  std::vector<bool> used(sample.window.size(), false);
  if (!FindReferences(sample, used)) used.assign(sample.window.size(), true);
  const std::vector<Run> runs = RunsOf(used);
  if (runs.empty()) return {};

  std::vector<uint8_t> plain;
  PutVarint(plain, sample.window.size());
  PutVarint(plain, runs.size());
  size_t at = 0;
  for (const Run& run : runs) {
    PutVarint(plain, run.start - at);
    PutVarint(plain, run.end - run.start);
    at = run.end;
  }
  for (const Run& run : runs) {
    plain.insert(plain.end(), sample.window.begin() + static_cast<ptrdiff_t>(run.start),
                 sample.window.begin() + static_cast<ptrdiff_t>(run.end));
  }
  return Deflate(plain);
}

Status UnpackWindow(const uint8_t* packed, size_t length, std::vector<uint8_t>& window) {
  const Status damaged = Status::Of(Fault::kWindow, "the stored window of a checkpoint is damaged");
  window.clear();
  if (length == 0) return Status::Ok();

  std::vector<uint8_t> plain(kLongestPlain);
  z_stream z{};
  if (inflateInit2(&z, -15) != Z_OK) return Status::Of(Fault::kMemory, "no memory for inflate");
  z.next_in = const_cast<Bytef*>(packed);
  z.avail_in = static_cast<uInt>(std::min<size_t>(length, 1u << 20));
  z.next_out = plain.data();
  z.avail_out = static_cast<uInt>(plain.size());
  const int result = inflate(&z, Z_FINISH);
  plain.resize(plain.size() - z.avail_out);
  const bool whole = result == Z_STREAM_END && z.avail_in == 0;
  inflateEnd(&z);
  if (!whole) return damaged;

  size_t at = 0;
  size_t size = 0;
  size_t count = 0;
  if (!GetVarint(plain, at, size) || !GetVarint(plain, at, count)) return damaged;
  if (size == 0 || size > kWindowSize || count > size) return damaged;
  std::vector<Run> runs;
  size_t end = 0;
  size_t stored = 0;
  for (size_t i = 0; i < count; i++) {
    size_t skip = 0;
    size_t run_length = 0;
    if (!GetVarint(plain, at, skip) || !GetVarint(plain, at, run_length)) return damaged;
    if (skip > size - end || run_length > size - end - skip) return damaged;
    runs.push_back({end + skip, end + skip + run_length});
    end = runs.back().end;
    stored += run_length;
  }
  if (plain.size() - at != stored) return damaged;
  window.assign(size, 0);
  for (const Run& run : runs) {
    std::copy_n(plain.begin() + static_cast<ptrdiff_t>(at), run.end - run.start,
                window.begin() + static_cast<ptrdiff_t>(run.start));
    at += run.end - run.start;
  }
  return Status::Ok();
}

}  // namespace peel
