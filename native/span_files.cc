#include "span_files.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>

#include "own_file.h"

namespace peel {
namespace {

// As src/blob/span-map.ts writes it.
constexpr char kMapMagic[8] = {'p', 'e', 'e', 'l', 'm', 'a', 'p', '1'};
constexpr size_t kMapHeader = 16;
constexpr size_t kMapEntry = 4;
// A read covers five of the usual 256 KiB spans; of layers with dwarfs, this many are worth a look.
constexpr size_t kMostSpans = 64;
constexpr uint32_t kTellAgainSeconds = 60;

using fuse::Found;
using Entries = std::array<uint32_t, kMostSpans>;

uint32_t Now() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return static_cast<uint32_t>(time.tv_sec);
}

bool ReadAll(int fd, void* out, size_t length, uint64_t offset) {
  auto* at = static_cast<uint8_t*>(out);
  while (length > 0) {
    const ssize_t count = pread(fd, at, length, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    at += count;
    offset += static_cast<size_t>(count);
    length -= static_cast<size_t>(count);
  }
  return true;
}

// From memory alone; false where not all of it is there, or nobody can say.
bool ReadNow(int fd, void* out, size_t length, uint64_t offset) {
  const iovec room{out, length};
  return preadv2(fd, &room, 1, static_cast<off_t>(offset), RWF_NOWAIT) == static_cast<ssize_t>(length);
}

int OpenOurs(const std::string& path) {
  struct stat stats;
  return OpenOwnFile(path, &stats);
}

bool HasName(int fd) {
  struct stat stats;
  return fstat(fd, &stats) == 0 && stats.st_nlink > 0;
}

}  // namespace

class SpanFiles::Layer {
 public:
  Layer(uint32_t index, SpanFilesOfLayer files)
      : index_(index), files_(std::move(files)), states_(new State[std::max<size_t>(files_.ends.size(), 1)]) {}
  ~Layer() { Close(); }

  void MarkReady(uint32_t span) {
    if (span >= files_.ends.size()) return;
    if (!states_[span].ready.exchange(true, std::memory_order_release)) {
      states_[span].told.store(0, std::memory_order_relaxed);
    }
  }

  Found Read(uint64_t start, size_t length, uint8_t* out, bool may_wait, const OnUse& on_use) {
    if (length == 0) return Found::kAll;
    const std::vector<uint64_t>& ends = files_.ends;
    if (ends.empty() || start >= ends.back() || length > ends.back() - start) return Found::kNotAll;
    const auto first = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), start) - ends.begin());
    const auto last =
        static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), start + length - 1) - ends.begin());
    const size_t count = last - first + 1;
    if (count > kMostSpans) return Found::kNotAll;
    for (size_t span = first; span <= last; ++span) {
      if (!states_[span].ready.load(std::memory_order_acquire)) return Found::kNotAll;
    }

    const uint32_t now = Now();
    Entries before;
    {
      std::shared_lock<std::shared_mutex> lock(mutex_);
      if (spans_ < 0) {
        lock.unlock();
        if (!Open()) return Found::kNotAll;
        lock.lock();
        if (spans_ < 0) return Found::kNotAll;
      }
      const uint64_t place = kMapHeader + kMapEntry * (ends.size() + first);
      Entries after;
      if (!ReadAll(map_, before.data(), count * kMapEntry, place)) return Found::kNotAll;
      for (size_t i = 0; i < count; ++i) {
        if (before[i] == 0) states_[first + i].ready.store(false, std::memory_order_relaxed);
        if (before[i] == 0 || before[i] >= now) return Found::kNotAll;
      }
      if (!may_wait && !ReadNow(spans_, out, length, start)) return Found::kNotNow;
      if ((may_wait && !ReadAll(spans_, out, length, start)) || !ReadAll(map_, after.data(), count * kMapEntry, place))
        return Found::kNotAll;
      if (memcmp(before.data(), after.data(), count * kMapEntry) != 0) return Found::kNotAll;
      if (!HasName(map_) || (looked_.load(std::memory_order_relaxed) != now && !HasName(spans_))) {
        lock.unlock();
        Forget();
        return Found::kNotAll;
      }
      looked_.store(now, std::memory_order_relaxed);
    }
    for (size_t i = 0; i < count; ++i) Tell(static_cast<uint32_t>(first + i), before[i], now, on_use);
    return Found::kAll;
  }

 private:
  struct State {
    std::atomic<bool> ready{false};
    std::atomic<uint32_t> told{0};  // when JavaScript was last told of a use
  };

  void Tell(uint32_t span, uint32_t last_use, uint32_t now, const OnUse& on_use) {
    std::atomic<uint32_t>& told = states_[span].told;
    uint32_t before = told.load(std::memory_order_relaxed);
    if (before != 0 && (now - last_use < kTellAgainSeconds || now - before < kTellAgainSeconds)) return;
    if (told.compare_exchange_strong(before, now, std::memory_order_relaxed)) on_use(index_, span);
  }

  bool Open() {
    std::unique_lock<std::shared_mutex> lock(mutex_);
    if (spans_ >= 0) return true;
    map_ = OpenOurs(files_.map_path);
    if (map_ >= 0 && IsOurMap()) spans_ = OpenOurs(files_.spans_path);
    if (spans_ >= 0) return true;
    CloseFiles();
    ForgetReady();
    return false;
  }

  // Its spans are those of the TOC: same number, same lengths.
  bool IsOurMap() const {
    const std::vector<uint64_t>& ends = files_.ends;
    std::vector<uint8_t> fixed(kMapHeader + kMapEntry * ends.size());
    if (!ReadAll(map_, fixed.data(), fixed.size(), 0) || memcmp(fixed.data(), kMapMagic, sizeof(kMapMagic)) != 0) {
      return false;
    }
    uint32_t count = 0;
    memcpy(&count, fixed.data() + sizeof(kMapMagic), sizeof(count));
    if (count != ends.size()) return false;
    uint64_t start = 0;
    for (size_t span = 0; span < ends.size(); ++span) {
      uint32_t length = 0;
      memcpy(&length, fixed.data() + kMapHeader + kMapEntry * span, sizeof(length));
      if (ends[span] - start != length) return false;
      start = ends[span];
    }
    return true;
  }

  // The files were removed: what is put in their place has to be verified anew.
  void Forget() {
    std::unique_lock<std::shared_mutex> lock(mutex_);
    if (spans_ < 0 || (HasName(map_) && HasName(spans_))) return;
    CloseFiles();
    ForgetReady();
  }

  void Close() {
    std::unique_lock<std::shared_mutex> lock(mutex_);
    CloseFiles();
  }

  void ForgetReady() {
    for (size_t span = 0; span < files_.ends.size(); ++span) states_[span].ready.store(false);
  }

  void CloseFiles() {
    if (spans_ >= 0) close(spans_);
    if (map_ >= 0) close(map_);
    spans_ = map_ = -1;
  }

  const uint32_t index_;
  const SpanFilesOfLayer files_;
  const std::unique_ptr<State[]> states_;
  std::shared_mutex mutex_;  // of the descriptors
  int spans_ = -1;
  int map_ = -1;
  std::atomic<uint32_t> looked_{0};
};

SpanFiles::SpanFiles(uint32_t layers, OnUse on_use)
    : on_use_(std::move(on_use)), layers_(new std::atomic<Layer*>[std::max(layers, 1u)]), count_(layers) {
  for (uint32_t layer = 0; layer < std::max(layers, 1u); ++layer) layers_[layer].store(nullptr);
}

SpanFiles::~SpanFiles() {
  for (uint32_t layer = 0; layer < count_; ++layer) delete layers_[layer].load();
}

bool SpanFiles::Add(uint32_t layer, SpanFilesOfLayer files) {
  if (layer >= count_ || layers_[layer].load() != nullptr) return false;
  layers_[layer].store(new Layer(layer, std::move(files)), std::memory_order_release);
  return true;
}

void SpanFiles::MarkReady(uint32_t layer, uint32_t span) {
  if (layer >= count_) return;
  if (Layer* found = layers_[layer].load(std::memory_order_acquire); found != nullptr) found->MarkReady(span);
}

Found SpanFiles::Read(uint32_t layer, uint64_t start, size_t length, uint8_t* out, bool may_wait) {
  if (layer >= count_) return Found::kNotAll;
  Layer* found = layers_[layer].load(std::memory_order_acquire);
  return found == nullptr ? Found::kNotAll : found->Read(start, length, out, may_wait, on_use_);
}

}  // namespace peel
