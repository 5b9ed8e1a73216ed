// What every step of the data plane returns: success, or one failure with its place. Nothing here throws.
//
// Ownership: a plain value. Threads: copied between them. Errors: `offset` counts uncompressed bytes,
// `compressed_offset` counts bytes of the blob; -1 where the side is not known.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace peel {

enum class Fault : uint8_t {
  kNone,
  kInvalid,      // the data breaks its format
  kLimit,        // a cap on size or count was passed
  kUnsupported,  // valid, but of a kind that is not read here
  kWindow,       // a stored window cannot be opened
  kClosed,       // close() came first
  kMemory,
};

struct [[nodiscard]] Status {
  Fault fault = Fault::kNone;
  std::string message;
  int64_t offset = -1;
  int64_t compressed_offset = -1;

  bool ok() const { return fault == Fault::kNone; }

  static Status Ok() { return {}; }
  static Status Invalid(std::string message, int64_t offset = -1) {
    return {Fault::kInvalid, std::move(message), offset, -1};
  }
  static Status Limit(std::string message, int64_t offset = -1) {
    return {Fault::kLimit, std::move(message), offset, -1};
  }
  static Status Of(Fault fault, std::string message) { return {fault, std::move(message), -1, -1}; }
};

}  // namespace peel
