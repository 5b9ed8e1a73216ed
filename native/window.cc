#include "window.h"

#include <algorithm>
#include <cstring>

#include "cursor.h"

namespace peel {
namespace {

// Runs closer than this are joined: a gap costs two varints, more than the bytes it saves.
constexpr size_t kShortestGap = 4;

void PutVarint(std::vector<uint8_t>& out, size_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<uint8_t>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<uint8_t>(value));
}

bool GetVarint(Input& in, size_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 21; shift += 7) {
    if (in.left == 0) return false;
    const uint8_t byte = *in.next++;
    in.left--;
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

std::vector<uint8_t> PackWindow(const WindowSample& sample) {
  const std::vector<Run> runs = RunsOf(sample.used);
  if (runs.empty()) return {};

  std::vector<uint8_t> packed;
  PutVarint(packed, sample.window.size());
  PutVarint(packed, runs.size());
  size_t at = 0;
  for (const Run& run : runs) {
    PutVarint(packed, run.start - at);
    PutVarint(packed, run.end - run.start);
    at = run.end;
  }
  for (const Run& run : runs) {
    packed.insert(packed.end(), sample.window.begin() + static_cast<ptrdiff_t>(run.start),
                  sample.window.begin() + static_cast<ptrdiff_t>(run.end));
  }
  return packed;
}

Status UnpackWindow(const uint8_t* packed, size_t length, std::vector<uint8_t>& window) {
  const Status damaged = Status::Of(Fault::kWindow, "the stored window of a checkpoint is damaged");
  window.clear();
  if (length == 0) return Status::Ok();

  Input in{packed, length};
  size_t size = 0;
  size_t count = 0;
  if (!GetVarint(in, size) || !GetVarint(in, count)) return damaged;
  if (size == 0 || size > kWindowSize || count > size) return damaged;
  std::vector<Run> runs;
  size_t end = 0;
  size_t stored = 0;
  for (size_t i = 0; i < count; i++) {
    size_t skip = 0;
    size_t run_length = 0;
    if (!GetVarint(in, skip) || !GetVarint(in, run_length)) return damaged;
    if (skip > size - end || run_length > size - end - skip) return damaged;
    runs.push_back({end + skip, end + skip + run_length});
    end = runs.back().end;
    stored += run_length;
  }
  if (in.left != stored) return damaged;
  window.assign(size, 0);
  for (const Run& run : runs) {
    memcpy(window.data() + run.start, in.next, run.end - run.start);
    in.next += run.end - run.start;
  }
  return Status::Ok();
}

}  // namespace peel
