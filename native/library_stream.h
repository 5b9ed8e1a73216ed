// What xz and bzip2 have in common: streams one after the other, each decoded by a library and entered at its start.
//
// Ownership: of the decoder state, by the subclass. Threads: one at a time. Errors: Status with the compressed offset.
#pragma once

#include "stream.h"

namespace peel {

class LibraryStream : public Stream {
 public:
  Event Step(Input& in, Output& out, bool stop_at_block) final;
  Status Finish() final;
  uint64_t member_position() const final { return stream_position_; }

 protected:
  explicit LibraryStream(const char* name) : name_(name) {}

  // Whether a stream begins with this byte, or the byte may lie between two: anything else is garbage.
  virtual bool Begins(uint8_t byte) const = 0;
  virtual bool Pads(uint8_t byte) const = 0;
  // A decoder at the start of a stream, in place of the one before.
  virtual Status Open() = 0;
  // As far as input and output go; `ended` when the stream is complete.
  virtual Status Decode(Input& in, Output& out, bool& ended) = 0;

 private:
  enum class State : uint8_t { kBetween, kStream, kGarbage };

  Event StepStream(Input& in, Output& out);

  const char* const name_;
  State state_ = State::kBetween;
  uint64_t stream_position_ = 0;
  bool may_flush_ = false;  // the last call filled the output: the library may hold more
};

// A stream of xz begins with these six bytes; one of bzip2 with ten, of which one is a level.
constexpr size_t kXzMagic = 6;
constexpr size_t kBzip2Magic = 10;
bool IsXz(const uint8_t* head, size_t length);
bool IsBzip2(const uint8_t* head, size_t length);

}  // namespace peel
