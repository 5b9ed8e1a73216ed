// zstd, frame after frame, skippable frames among them, with libzstd.
//
// Ownership: owns its decoder context. Threads: one at a time. Errors: Status with the compressed offset.
// Frames ask for a window of their choice: above 128 MiB (zstd's own limit for `--long=27`) they are refused.
#define ZSTD_STATIC_LINKING_ONLY  // ZSTD_MAGICNUMBER, ZSTD_MAGIC_SKIPPABLE_*
#include <zstd.h>

#include <cstring>
#include <string>

#include "zstd_stream.h"

namespace peel {
namespace {

constexpr int kWindowLogMax = 27;

class ZstdStream final : public Stream {
 public:
  ~ZstdStream() override { ZSTD_freeDCtx(context_); }

  Event Step(Input& in, Output& out, bool) override {
    for (;;) {
      switch (state_) {
        case State::kBetween: {
          if (in.left == 0) return Event::kNeedInput;
          const bool at_once = magic_fill_ == 0 && in.left >= sizeof magic_;
          if (magic_fill_ == 0) frame_position_ = position_;
          if (at_once) {
            // Left in place: libzstd decodes a frame that it sees whole in one pass.
            memcpy(magic_, in.next, sizeof magic_);
          } else {
            magic_[magic_fill_++] = *in.next++;
            in.left--;
            position_++;
            if (magic_fill_ < sizeof magic_) break;
          }
          if (!IsZstd(magic_)) {
            trailing_garbage_ = at_once ? 0 : sizeof magic_;
            state_ = State::kGarbage;
            break;
          }
          state_ = State::kFrame;
          fed_ = at_once ? sizeof magic_ : 0;
          if (!Prepare()) return Event::kFailed;
          return Event::kMemberStart;
        }
        case State::kFrame: {
          const Event event = Decode(in, out);
          if (state_ == State::kFrame || event == Event::kFailed) return event;
          break;
        }
        case State::kGarbage:
          return SkipGarbage(in);
      }
    }
  }

  uint64_t member_position() const override { return frame_position_; }

  Status Finish() override {
    if (state_ == State::kFrame || (state_ == State::kBetween && frames_ == 0 && magic_fill_ > 0)) {
      Status status = Status::Invalid("zstd data ends inside a frame");
      status.compressed_offset = static_cast<int64_t>(position_);
      return status;
    }
    if (state_ == State::kBetween) trailing_garbage_ = magic_fill_;
    return Status::Ok();
  }

 private:
  enum class State : uint8_t { kBetween, kFrame, kGarbage };

  bool Prepare() {
    if (context_ == nullptr) {
      context_ = ZSTD_createDCtx();
      if (context_ == nullptr || ZSTD_isError(ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, kWindowLogMax))) {
        Fail(Status::Of(Fault::kMemory, "no memory for zstd"));
        return false;
      }
    }
    ZSTD_DCtx_reset(context_, ZSTD_reset_session_only);
    return true;
  }

  Event Decode(Input& in, Output& out) {
    for (;;) {
      // A magic that came in pieces was taken to tell a frame from garbage; the decoder gets it first.
      const bool replay = fed_ < sizeof magic_;
      // libzstd takes repeated calls that cannot move for a broken program.
      if (!replay && in.left == 0 && !may_flush_) return Event::kNeedInput;
      ZSTD_inBuffer source{replay ? magic_ + fed_ : in.next, replay ? sizeof magic_ - fed_ : in.left, 0};
      ZSTD_outBuffer target{out.next, out.left, 0};
      const size_t result = ZSTD_decompressStream(context_, &target, &source);
      if (replay) {
        fed_ += source.pos;
      } else {
        in.next += source.pos;
        in.left -= source.pos;
        position_ += source.pos;
      }
      out.next += target.pos;
      out.left -= target.pos;
      if (ZSTD_isError(result)) {
        return Fail(Status::Invalid(std::string("zstd frame: ") + ZSTD_getErrorName(result)));
      }
      if (result == 0) {
        frames_++;
        state_ = State::kBetween;
        magic_fill_ = 0;
        may_flush_ = false;
        return Event::kNeedInput;
      }
      may_flush_ = out.left == 0;
      if (may_flush_) return Event::kOutputFull;
      if (!replay && in.left > 0 && source.pos == 0 && target.pos == 0) {
        return Fail(Status::Invalid("zstd frame: no progress"));
      }
    }
  }

  ZSTD_DCtx* context_ = nullptr;
  State state_ = State::kBetween;
  uint8_t magic_[4] = {};
  size_t magic_fill_ = 0;
  size_t fed_ = sizeof magic_;  // of the magic, where it was taken apart: bytes given to the decoder
  uint64_t frame_position_ = 0;
  bool may_flush_ = false;  // the last call filled the output: the decoder may hold more
  uint64_t frames_ = 0;
};

}  // namespace

bool IsZstd(const uint8_t magic[4]) {
  const uint32_t value = static_cast<uint32_t>(magic[0]) | static_cast<uint32_t>(magic[1]) << 8 |
                         static_cast<uint32_t>(magic[2]) << 16 | static_cast<uint32_t>(magic[3]) << 24;
  return value == ZSTD_MAGICNUMBER || (value & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

std::unique_ptr<Stream> OpenZstd() {
  return std::make_unique<ZstdStream>();
}

}  // namespace peel
