#include "library_stream.h"

#include <string>

namespace peel {

Event LibraryStream::Step(Input& in, Output& out, bool) {
  for (;;) {
    switch (state_) {
      case State::kBetween: {
        if (in.left == 0) return Event::kNeedInput;
        const uint8_t byte = *in.next;
        if (Begins(byte)) {
          Status status = Open();
          if (!status.ok()) return Fail(std::move(status));
          stream_position_ = position_;
          state_ = State::kStream;
          return Event::kMemberStart;
        }
        if (Pads(byte)) {
          in.next++;
          in.left--;
          position_++;
          break;
        }
        state_ = State::kGarbage;
        break;
      }
      case State::kStream: {
        const Event event = StepStream(in, out);
        if (state_ == State::kStream || event == Event::kFailed) return event;
        break;
      }
      case State::kGarbage:
        return SkipGarbage(in);
    }
  }
}

Event LibraryStream::StepStream(Input& in, Output& out) {
  if (in.left == 0 && !may_flush_) return Event::kNeedInput;
  const size_t before = in.left;
  const size_t room = out.left;
  bool ended = false;
  Status status = Decode(in, out, ended);
  position_ += before - in.left;
  if (!status.ok()) return Fail(std::move(status));
  if (!ended && in.left > 0 && in.left == before && out.left > 0 && out.left == room) {
    return Fail(Status::Invalid(std::string(name_) + " data: no progress"));
  }
  may_flush_ = !ended && out.left == 0;
  if (ended) state_ = State::kBetween;
  return may_flush_ ? Event::kOutputFull : Event::kNeedInput;
}

Status LibraryStream::Finish() {
  if (state_ != State::kStream) return Status::Ok();
  Status status = Status::Invalid(std::string(name_) + " data ends inside a stream");
  status.compressed_offset = static_cast<int64_t>(position_);
  return status;
}

}  // namespace peel
