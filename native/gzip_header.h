// The header of one gzip member (RFC 1952, 2.3), read byte by byte so that it may arrive in any pieces.
//
// Ownership: a plain value; stores no name and no comment. Threads: one. Errors: a text, or nullptr.
#pragma once

#include <cstdint>

#include "cursor.h"

namespace peel {

class GzipHeader {
 public:
  void Reset() { *this = GzipHeader(); }

  enum class State : uint8_t { kMore, kDone, kBad };

  // Takes what belongs to the header from `in`.
  State Read(Input& in);

  // Whether any byte was taken since Reset.
  bool begun() const { return field_ != Field::kFixed || index_ > 0; }
  // What is wrong, after kBad.
  const char* problem() const { return problem_; }

 private:
  enum class Field : uint8_t { kFixed, kExtraLength, kExtra, kName, kComment, kChecksum, kDone };

  bool Take(uint8_t byte);
  void Enter(Field field);
  bool Bad(const char* problem) {
    problem_ = problem;
    return false;
  }

  Field field_ = Field::kFixed;
  uint32_t index_ = 0;
  uint32_t extra_left_ = 0;
  uint32_t crc_ = 0;
  uint32_t found_crc_ = 0;
  uint8_t flags_ = 0;
  const char* problem_ = nullptr;
};

}  // namespace peel
