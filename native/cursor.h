// Positions in somebody else's memory, moved forward by whoever consumes or fills it.
//
// Ownership: none; the memory must outlive the call that the cursor is passed to. Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace peel {

struct Input {
  const uint8_t* next = nullptr;
  size_t left = 0;
};

struct Output {
  uint8_t* next = nullptr;
  size_t left = 0;
};

// Bytes that several threads read and nobody changes any more. Not zeroed: a vector would touch them twice.
struct Slab {
  explicit Slab(size_t capacity) : bytes(new uint8_t[capacity]), capacity(capacity) {}
  std::unique_ptr<uint8_t[]> bytes;
  size_t capacity;
};
using SlabRef = std::shared_ptr<Slab>;

}  // namespace peel
