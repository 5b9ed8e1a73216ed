#include "window.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "inflater.h"

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

std::vector<Run> RunsOf(const std::vector<uint8_t>& used) {
  std::vector<Run> runs;
  const auto find = [&used](size_t from, int value) {
    const void* at = from < used.size() ? memchr(&used[from], value, used.size() - from) : nullptr;
    return at == nullptr ? used.size() : static_cast<size_t>(static_cast<const uint8_t*>(at) - used.data());
  };
  for (size_t start = find(0, 1); start < used.size();) {
    const size_t end = find(start, 0);
    if (!runs.empty() && start - runs.back().end < kShortestGap) {
      runs.back().end = end;
    } else {
      runs.push_back({start, end});
    }
    start = find(end, 1);
  }
  return runs;
}

}  // namespace

WindowPacker::~WindowPacker() {
  if (deflate_ready_) deflateEnd(&deflate_);
}

std::vector<uint8_t> WindowPacker::Deflate(const std::vector<uint8_t>& plain) {
  if ((deflate_ready_ ? deflateReset(&deflate_) : deflateInit2(&deflate_, 1, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY)) !=
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
  const std::vector<Run> runs = RunsOf(sample.used);
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
  const auto inflater = std::make_unique<Inflater>();
  Input in{packed, length};
  Output out{plain.data(), plain.size()};
  if (inflater->Run(in, out, false) != Inflater::Result::kEnd || in.left > 0) return damaged;
  plain.resize(plain.size() - out.left);

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
