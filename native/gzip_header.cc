#include "gzip_header.h"

#include <zlib.h>

namespace peel {
namespace {

// RFC 1952, 2.3.1, FLG.
constexpr uint8_t kFlagHeaderCrc = 1 << 1;
constexpr uint8_t kFlagExtra = 1 << 2;
constexpr uint8_t kFlagName = 1 << 3;
constexpr uint8_t kFlagComment = 1 << 4;
constexpr uint8_t kFlagsReserved = 0xe0;

}  // namespace

GzipHeader::State GzipHeader::Read(Input& in) {
  while (in.left > 0 && field_ != Field::kDone) {
    const uint8_t byte = *in.next++;
    in.left--;
    if (!Take(byte)) return State::kBad;
  }
  return field_ == Field::kDone ? State::kDone : State::kMore;
}

// Moves to `field`, or to the first one after it that the flags announce.
void GzipHeader::Enter(Field field) {
  index_ = 0;
  if (field == Field::kExtraLength && !(flags_ & kFlagExtra)) field = Field::kName;
  if (field == Field::kName && !(flags_ & kFlagName)) field = Field::kComment;
  if (field == Field::kComment && !(flags_ & kFlagComment)) field = Field::kChecksum;
  if (field == Field::kChecksum && !(flags_ & kFlagHeaderCrc)) field = Field::kDone;
  field_ = field;
}

bool GzipHeader::Take(uint8_t byte) {
  if (field_ != Field::kChecksum) crc_ = static_cast<uint32_t>(crc32(crc_, &byte, 1));
  switch (field_) {
    case Field::kFixed:
      if (index_ == 0 && byte != 0x1f) return Bad("no gzip magic");
      if (index_ == 1 && byte != 0x8b) return Bad("no gzip magic");
      if (index_ == 2 && byte != 8) return Bad("a compression method other than deflate");
      if (index_ == 3) {
        if (byte & kFlagsReserved) return Bad("reserved flags are set");
        flags_ = byte;
      }
      if (++index_ == 10) Enter(Field::kExtraLength);
      return true;
    case Field::kExtraLength:
      extra_left_ |= static_cast<uint32_t>(byte) << (8 * index_);
      if (++index_ == 2) {
        if (extra_left_ > 0) {
          field_ = Field::kExtra;
        } else {
          Enter(Field::kName);
        }
      }
      return true;
    case Field::kExtra:
      if (--extra_left_ == 0) Enter(Field::kName);
      return true;
    case Field::kName:
      if (byte == 0) Enter(Field::kComment);
      return true;
    case Field::kComment:
      if (byte == 0) Enter(Field::kChecksum);
      return true;
    case Field::kChecksum:
      found_crc_ |= static_cast<uint32_t>(byte) << (8 * index_);
      if (++index_ == 2) {
        if (found_crc_ != (crc_ & 0xffff)) return Bad("wrong checksum of the header");
        Enter(Field::kDone);
      }
      return true;
    case Field::kDone:
      return true;
  }
  return true;
}

}  // namespace peel
