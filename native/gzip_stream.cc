#include "gzip_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace peel {
namespace {

// zlib counts in uInt; a step never needs more.
constexpr size_t kMostAtOnce = 1u << 30;

uint32_t LittleEndian32(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
         static_cast<uint32_t>(p[3]) << 24;
}

}  // namespace

GzipStream::GzipStream() = default;

GzipStream::GzipStream(unsigned bits, std::vector<uint8_t> window)
    : state_(State::kResume), checked_(false), resume_bits_(bits), resume_window_(std::move(window)) {}

GzipStream::~GzipStream() {
  if (initialized_) inflateEnd(&z_);
}

// Raw deflate (-15): header and trailer are read here, so that places between members are known.
bool GzipStream::Prepare() {
  const int result = initialized_ ? inflateReset(&z_) : inflateInit2(&z_, -15);
  if (result != Z_OK) {
    Fail(Status::Of(Fault::kMemory, "no memory for inflate"));
    return false;
  }
  initialized_ = true;
  crc_ = 0;
  member_size_ = 0;
  return true;
}

bool GzipStream::Resume(Input& in) {
  if (!Prepare()) return false;
  if (resume_bits_ > 0) {
    last_byte_ = *in.next++;
    in.left--;
    position_++;
    if (inflatePrime(&z_, static_cast<int>(8 - resume_bits_), last_byte_ >> resume_bits_) != Z_OK) {
      Fail(Status::Of(Fault::kWindow, "inflate refuses the bits of the checkpoint"));
      return false;
    }
  }
  if (!resume_window_.empty() &&
      inflateSetDictionary(&z_, resume_window_.data(), static_cast<uInt>(resume_window_.size())) != Z_OK) {
    Fail(Status::Of(Fault::kWindow, "inflate refuses the window of the checkpoint"));
    return false;
  }
  resume_window_ = {};
  state_ = State::kData;
  return true;
}

Event GzipStream::Step(Input& in, Output& out, bool stop_at_block) {
  for (;;) {
    switch (state_) {
      case State::kResume:
        if (in.left == 0) return Event::kNeedInput;
        if (!Resume(in)) return Event::kFailed;
        break;
      case State::kHeader: {
        const size_t before = in.left;
        const GzipHeader::State read = header_.Read(in);
        position_ += before - in.left;
        if (read == GzipHeader::State::kMore) return Event::kNeedInput;
        if (read == GzipHeader::State::kBad) {
          return Fail(Status::Invalid(std::string("gzip header: ") + header_.problem()));
        }
        if (!Prepare()) return Event::kFailed;
        checked_ = true;
        state_ = State::kData;
        return Event::kMemberStart;
      }
      case State::kData: {
        const Event event = Inflate(in, out, stop_at_block);
        if (state_ == State::kData || event == Event::kFailed) return event;
        break;
      }
      case State::kTrailer:
        if (in.left == 0) return Event::kNeedInput;
        if (!ReadTrailer(in)) return Event::kFailed;
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
  for (;;) {
    const size_t offered_in = std::min(in.left, kMostAtOnce);
    const size_t offered_out = std::min(out.left, kMostAtOnce);
    // zlib refuses a null pointer even where there is nothing to read or to fill.
    uint8_t nothing = 0;
    z_.next_in = offered_in > 0 ? const_cast<Bytef*>(in.next) : &nothing;
    z_.avail_in = static_cast<uInt>(offered_in);
    z_.next_out = offered_out > 0 ? out.next : &nothing;
    z_.avail_out = static_cast<uInt>(offered_out);
    const int result = inflate(&z_, stop_at_block ? Z_BLOCK : Z_NO_FLUSH);
    const size_t consumed = offered_in - z_.avail_in;
    const size_t produced = offered_out - z_.avail_out;
    if (consumed > 0) last_byte_ = in.next[consumed - 1];
    if (produced > 0 && checked_) crc_ = static_cast<uint32_t>(crc32_z(crc_, out.next, produced));
    in.next += consumed;
    in.left -= consumed;
    out.next += produced;
    out.left -= produced;
    position_ += consumed;
    member_size_ += produced;

    if (result == Z_STREAM_END) {
      state_ = State::kTrailer;
      trailer_fill_ = 0;
      return Event::kNeedInput;
    }
    if (result == Z_MEM_ERROR) return Fail(Status::Of(Fault::kMemory, "no memory for inflate"));
    // Z_BUF_ERROR only says that this call moved nothing.
    if (result != Z_OK && result != Z_BUF_ERROR) {
      return Fail(Status::Invalid(std::string("deflate data: ") + (z_.msg != nullptr ? z_.msg : "broken")));
    }
    const bool at_boundary = stop_at_block && (z_.data_type & 128) != 0;
    const bool was_last_block = (z_.data_type & 64) != 0;
    if (at_boundary && !was_last_block) return Event::kBlockBoundary;
    if (at_boundary) continue;  // the next call takes the end of the member
    if (out.left == 0) return Event::kOutputFull;
    if (in.left == 0) return Event::kNeedInput;
    if (consumed == 0 && produced == 0) return Fail(Status::Invalid("deflate data: no progress"));
  }
}

bool GzipStream::ReadTrailer(Input& in) {
  while (in.left > 0 && trailer_fill_ < sizeof trailer_) {
    trailer_[trailer_fill_++] = *in.next++;
    in.left--;
    position_++;
  }
  if (trailer_fill_ < sizeof trailer_) return true;
  if (checked_) {
    if (LittleEndian32(trailer_) != crc_) {
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

size_t GzipStream::CopyWindow(uint8_t* into) {
  uInt length = 0;
  if (inflateGetDictionary(&z_, into, &length) != Z_OK) return 0;
  return length;
}

std::unique_ptr<Stream> OpenGzip() {
  return std::make_unique<GzipStream>();
}

}  // namespace peel
