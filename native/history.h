// The newest 32 KiB of output, kept between the calls of a decoder: what matches may refer to.
//
// A ring, so that a call that gives one byte costs one byte.
//
// Ownership: a plain value. Threads: one. Errors: none; the caller asks for no more than size().
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "window.h"

namespace peel {

class History {
 public:
  size_t size() const { return size_; }
  void Clear() { size_ = 0; }

  void Append(const uint8_t* data, size_t length) {
    if (length > kWindowSize) {
      data += length - kWindowSize;
      length = kWindowSize;
    }
    const size_t first = std::min(length, kWindowSize - end_);
    if (first > 0) memcpy(&ring_[end_], data, first);
    if (length > first) memcpy(&ring_[0], data + first, length - first);
    end_ = (end_ + length) % kWindowSize;
    size_ = std::min(size_ + length, kWindowSize);
  }

  // Copies `length` bytes, the first of them `back` bytes before the end: length <= back <= size().
  void Copy(size_t back, size_t length, uint8_t* into) const {
    const size_t from = (end_ + kWindowSize - back) % kWindowSize;
    const size_t first = std::min(length, kWindowSize - from);
    if (first > 0) memcpy(into, &ring_[from], first);
    if (length > first) memcpy(into + first, &ring_[0], length - first);
  }

 private:
  std::array<uint8_t, kWindowSize> ring_;
  size_t end_ = 0;
  size_t size_ = 0;
};

}  // namespace peel
