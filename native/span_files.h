// The cached spans of layers, read beside JavaScript: bytes that this process has verified and that lie in the cache
// (docs/TOC-FORMAT.md, "spans" and "spans.map"). Whatever is in doubt is not at hand; JavaScript then reads it.
//
//   MarkReady(span)   verified here, and on disk
//   Read              entry of the map ── pread of the bytes ── entry of the map again ── the map still has its name
//
// Others evict at any time: entry cleared, then the bytes punched out; or the map removed, then the file cut. So bytes
// are good if, after they were read, the entry is the one from before and the map has its name. One more case is
// excluded by looking at the clock: evicted and stored again in between, the entry would be of this second or later.
// The files are never mapped: a file that somebody cuts would end the process (SIGBUS).
//
// Ownership: descriptors, two a layer. Threads: Add and Forget from one thread, all else from any. Errors: none;
// "not at hand" is the answer to everything.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "fuse_ops.h"

namespace peel {

struct SpanFilesOfLayer {
  std::string spans_path;
  std::string map_path;
  // Where each span ends, uncompressed; they rise strictly. The first begins at 0.
  std::vector<uint64_t> ends;
};

class SpanFiles final : public fuse::Bytes {
 public:
  // Told (from any thread) that a span was read which is new in the cache, or was not marked as used for a minute.
  using OnUse = std::function<void(uint32_t layer, uint32_t span)>;

  SpanFiles(uint32_t layers, OnUse on_use);
  ~SpanFiles() override;
  SpanFiles(const SpanFiles&) = delete;
  SpanFiles& operator=(const SpanFiles&) = delete;

  // Once a layer; false for one that is there already, or has no place.
  bool Add(uint32_t layer, SpanFilesOfLayer files);
  void MarkReady(uint32_t layer, uint32_t span);

  fuse::Found Read(uint32_t layer, uint64_t start, size_t length, uint8_t* out, bool may_wait) override;

 private:
  class Layer;

  OnUse on_use_;
  // Filled once, read by all: no lock.
  std::unique_ptr<std::atomic<Layer*>[]> layers_;
  uint32_t count_;
};

}  // namespace peel
