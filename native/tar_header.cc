#include "tar_header.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace peel {
namespace {

// POSIX.1-1988 ustar layout: offset and length of the fields that matter here.
constexpr size_t kNameLength = 100;
constexpr size_t kSizeAt = 124;
constexpr size_t kSizeLength = 12;
constexpr size_t kChecksumAt = 148;
constexpr size_t kChecksumLength = 8;
constexpr size_t kTypeAt = 156;
constexpr size_t kMagicAt = 257;
constexpr size_t kPrefixAt = 345;

bool IsPadding(uint8_t byte) {
  return byte == ' ' || byte == 0;
}

bool ParseOctal(const uint8_t* field, size_t length, int64_t& value) {
  size_t begin = 0;
  size_t end = length;
  while (begin < end && IsPadding(field[begin])) begin++;
  while (end > begin && IsPadding(field[end - 1])) end--;
  value = 0;
  for (size_t i = begin; i < end; i++) {
    if (field[i] == 0) break;  // what follows a NUL inside the field does not count
    if (field[i] < '0' || field[i] > '7') return false;
    if (value > INT64_MAX >> 3) return false;
    value = value << 3 | (field[i] - '0');
  }
  return true;
}

bool ParseBase256(const uint8_t* field, size_t length, int64_t& value) {
  // Two's complement, big-endian; the first bit only marks the form, the second is the sign.
  const bool negative = (field[0] & 0x40) != 0;
  uint64_t magnitude = 0;
  for (size_t i = 0; i < length; i++) {
    uint8_t byte = negative ? static_cast<uint8_t>(~field[i]) : field[i];
    if (i == 0) byte &= 0x7f;
    if (magnitude >> 56 != 0) return false;
    magnitude = magnitude << 8 | byte;
  }
  if (magnitude >> 63 != 0) return false;
  value = negative ? static_cast<int64_t>(~magnitude) : static_cast<int64_t>(magnitude);
  return true;
}

}  // namespace

bool IsZeroBlock(const uint8_t* block) {
  return block[0] == 0 && memcmp(block, block + 1, kTarBlock - 1) == 0;
}

bool HasTarChecksum(const uint8_t* block) {
  int64_t stored = 0;
  if (!ParseOctal(block + kChecksumAt, kChecksumLength, stored)) return false;
  int64_t as_unsigned = 0;
  int64_t as_signed = 0;
  for (size_t i = 0; i < kTarBlock; i++) {
    const bool in_field = i >= kChecksumAt && i < kChecksumAt + kChecksumLength;
    const uint8_t byte = in_field ? uint8_t{' '} : block[i];
    as_unsigned += byte;
    as_signed += static_cast<int8_t>(byte);
  }
  return stored == as_unsigned || stored == as_signed;
}

char TarTypeOf(const uint8_t* block) {
  return static_cast<char>(block[kTypeAt]);
}

bool HasGnuMagic(const uint8_t* block) {
  return memcmp(block + kMagicAt, "ustar  ", 8) == 0;
}

bool ParseTarNumber(const uint8_t* field, size_t length, int64_t& value) {
  if (length > 0 && (field[0] & 0x80) != 0) return ParseBase256(field, length, value);
  return ParseOctal(field, length, value);
}

bool TarSizeOf(const uint8_t* block, int64_t& size) {
  return ParseTarNumber(block + kSizeAt, kSizeLength, size);
}

bool HasTarNumbers(const uint8_t* block) {
  struct Field {
    size_t at;
    size_t length;
  };
  constexpr Field kFields[] = {{100, 8}, {108, 8}, {116, 8}, {136, 12}};
  constexpr Field kDeviceFields[] = {{329, 8}, {337, 8}};
  const auto is_number = [block](const Field& field) {
    int64_t value = 0;
    return ParseTarNumber(block + field.at, field.length, value);
  };
  if (!std::all_of(std::begin(kFields), std::end(kFields), is_number)) return false;
  const bool has_devices = memcmp(block + kMagicAt, "ustar\0", 6) == 0 || HasGnuMagic(block);
  return !has_devices || std::all_of(std::begin(kDeviceFields), std::end(kDeviceFields), is_number);
}

bool NameEndsInSlash(const uint8_t* block) {
  const size_t length = strnlen(reinterpret_cast<const char*>(block), kNameLength);
  if (length > 0) return block[length - 1] == '/';
  // A name that is all prefix: prefix + "/" + "".
  return memcmp(block + kMagicAt, "ustar\0", 6) == 0 && block[kPrefixAt] != 0;
}

bool ForEachPaxRecord(std::string_view records,
                      const std::function<void(std::string_view key, std::string_view value)>& visit) {
  while (!records.empty()) {
    const size_t space = records.find(' ');
    int64_t length = 0;
    if (space == std::string_view::npos || !ParseDecimal(records.substr(0, space), length)) return false;
    if (static_cast<uint64_t>(length) > records.size() || static_cast<size_t>(length) < space + 2) return false;
    const std::string_view record = records.substr(space + 1, static_cast<size_t>(length) - space - 1);
    if (record.back() != '\n') return false;
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) return false;
    visit(record.substr(0, equals), record.substr(equals + 1, record.size() - equals - 2));
    records.remove_prefix(static_cast<size_t>(length));
  }
  return true;
}

bool ParseDecimal(std::string_view text, int64_t& value) {
  if (text.empty()) return false;
  value = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return false;
    if (value > (INT64_MAX - (digit - '0')) / 10) return false;
    value = value * 10 + (digit - '0');
  }
  return true;
}

}  // namespace peel
