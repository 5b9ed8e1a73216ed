#include "gzip_stream.h"

#include <zlib.h>

#include <algorithm>
#include <utility>

namespace peel {
namespace {

uint32_t LittleEndian32(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
         static_cast<uint32_t>(p[3]) << 24;
}

}  // namespace

GzipStream::GzipStream() = default;

GzipStream::GzipStream(unsigned bits, std::vector<uint8_t> window)
    : state_(State::kResume), checked_(false), resume_bits_(bits), resume_window_(std::move(window)) {}

void GzipStream::Resume(Input& in) {
  uint8_t shared = 0;
  if (resume_bits_ > 0) {
    shared = *in.next++;
    in.left--;
    position_++;
  }
  inflater_.BeginInside(shared, resume_bits_ > 0 ? 8 - resume_bits_ : 0, resume_window_);
  resume_window_ = {};
  state_ = State::kData;
}

Event GzipStream::Step(Input& in, Output& out, bool stop_at_block) {
  for (;;) {
    switch (state_) {
      case State::kResume:
        if (in.left == 0) return Event::kNeedInput;
        Resume(in);
        break;
      case State::kHeader: {
        const size_t before = in.left;
        const GzipHeader::State read = header_.Read(in);
        position_ += before - in.left;
        if (read == GzipHeader::State::kMore) return Event::kNeedInput;
        if (read == GzipHeader::State::kBad) {
          return Fail(Status::Invalid(std::string("gzip header: ") + header_.problem()));
        }
        inflater_.Begin();
        crc_ = 0;
        member_size_ = 0;
        checked_ = true;
        state_ = State::kData;
        return Event::kMemberStart;
      }
      case State::kData:
        // Also where the data end: what came of them lies before the trailer, however the input is cut.
        return Inflate(in, out, stop_at_block);
      case State::kTrailer:
        if (in.left == 0) return Event::kNeedInput;
        if (!ReadTrailer(in)) return Event::kFailed;
        if (state_ == State::kBetween && leaves_checksums_) return Event::kMemberEnd;
        break;
      case State::kBetween:
        // One byte decides nothing: 0x1f alone may still be garbage, so it is held back as "seen".
        if (in.left == 0) return Event::kNeedInput;
        if (!magic_seen_) {
          if (*in.next != 0x1f) {
            state_ = State::kGarbage;
            break;
          }
          magic_seen_ = true;
          in.next++;
          in.left--;
          position_++;
          break;
        }
        magic_seen_ = false;
        header_.Reset();
        if (*in.next != 0x8b) {
          garbage_ = 1;
          garbage_is_zero_ = false;
          state_ = State::kGarbage;
          break;
        }
        {
          const uint8_t magic = 0x1f;
          Input first{&magic, 1};
          header_.Read(first);
        }
        state_ = State::kHeader;
        break;
      case State::kGarbage:
        SkipGarbage(in);
        return Event::kNeedInput;
    }
  }
}

Event GzipStream::Inflate(Input& in, Output& out, bool stop_at_block) {
  const size_t offered = in.left;
  const uint8_t* const output = out.next;
  const Inflater::Result result = inflater_.Run(in, out, stop_at_block);
  const size_t produced = static_cast<size_t>(out.next - output);
  if (produced > 0 && checked_ && !leaves_checksums_) crc_ = static_cast<uint32_t>(crc32_z(crc_, output, produced));
  position_ += offered - in.left;
  member_size_ += produced;
  switch (result) {
    case Inflater::Result::kNeedInput:
      return Event::kNeedInput;
    case Inflater::Result::kOutputFull:
      return Event::kOutputFull;
    case Inflater::Result::kBlockBoundary:
      return Event::kBlockBoundary;
    case Inflater::Result::kEnd:
      state_ = State::kTrailer;
      trailer_fill_ = 0;
      return Event::kNeedInput;
    case Inflater::Result::kBroken:
      break;
  }
  return Fail(Status::Invalid(std::string("deflate data: ") + inflater_.problem()));
}

bool GzipStream::ReadTrailer(Input& in) {
  while (in.left > 0 && trailer_fill_ < sizeof trailer_) {
    trailer_[trailer_fill_++] = *in.next++;
    in.left--;
    position_++;
  }
  if (trailer_fill_ < sizeof trailer_) return true;
  if (checked_) {
    if (!leaves_checksums_ && LittleEndian32(trailer_) != crc_) {
      Fail(Status::Invalid("gzip member: its CRC-32 is not the one of its data"));
      return false;
    }
    if (LittleEndian32(trailer_ + 4) != static_cast<uint32_t>(member_size_)) {
      Fail(Status::Invalid("gzip member: its size is not the one of its data"));
      return false;
    }
  }
  state_ = State::kBetween;
  return true;
}

uint32_t GzipStream::member_checksum() const {
  return LittleEndian32(trailer_);
}

// gzip(1) is silent about zero bytes after the last member (tapes were padded so) and warns of others.
void GzipStream::SkipGarbage(Input& in) {
  if (garbage_is_zero_) {
    garbage_is_zero_ = std::all_of(in.next, in.next + in.left, [](uint8_t byte) { return byte == 0; });
  }
  garbage_ += in.left;
  position_ += in.left;
  trailing_garbage_ = garbage_is_zero_ ? 0 : garbage_;
  in.next += in.left;
  in.left = 0;
}

Status GzipStream::Finish() {
  Status status = Status::Ok();
  switch (state_) {
    case State::kResume:
    case State::kGarbage:
      break;
    case State::kHeader:
      status = Status::Invalid("gzip data ends inside a member's header");
      break;
    case State::kData:
      status = Status::Invalid("gzip data ends inside a member");
      break;
    case State::kTrailer:
      status = Status::Invalid("gzip data ends inside a member's trailer");
      break;
    case State::kBetween:
      if (magic_seen_) trailing_garbage_ = 1;
      break;
  }
  if (!status.ok()) status.compressed_offset = static_cast<int64_t>(position_);
  return status;
}

std::unique_ptr<Stream> OpenGzip() {
  return std::make_unique<GzipStream>();
}

}  // namespace peel
