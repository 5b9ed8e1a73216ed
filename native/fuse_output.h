// Where answers are made: kMaxAnswer bytes without the header. Pages are touched only as far as answers reach.
//
// Ownership: its own, or what it is told to use. Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace peel::fuse {

// The largest answer: a read of as many pages as INIT agrees on.
constexpr size_t kMaxAnswer = 1024 * 1024;

class Output {
 public:
  // Memory of somebody else, kMaxAnswer bytes, for the answers from now on; null: its own.
  void Use(uint8_t* room) { room_ = room; }

  uint8_t* Room() {
    if (room_ != nullptr) return room_;
    return own_ == nullptr ? Make(own_) : own_.get();
  }
  // A second room, for the stored bytes of sparse files.
  uint8_t* Scratch() { return scratch_ == nullptr ? Make(scratch_) : scratch_.get(); }

 private:
  static uint8_t* Make(std::unique_ptr<uint8_t[]>& memory) {
    memory.reset(new uint8_t[kMaxAnswer]);
    return memory.get();
  }

  uint8_t* room_ = nullptr;
  std::unique_ptr<uint8_t[]> own_;
  std::unique_ptr<uint8_t[]> scratch_;
};

}  // namespace peel::fuse
