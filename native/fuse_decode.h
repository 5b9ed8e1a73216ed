// One request from /dev/fuse, taken apart. Whatever the bytes are, decoding reads no byte outside of them: the
// kernel is trusted with everything else, but a descriptor handed to us (/dev/fd/N) may have anybody behind it.
//
// Ownership: `name` points into the bytes. Threads: pure. Errors: kUnanswerable where not even the header is whole
// (there is nobody to answer), kMalformed where the header is, but not what follows: answered with EIO.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fuse_protocol.h"

namespace peel::fuse {

struct Request {
  uint64_t unique = 0;
  uint64_t node = 0;
  uint32_t opcode = 0;
  uint32_t pid = 0;  // of the thread that asks; 0 where it is out of sight

  std::string_view name;  // LOOKUP, GETXATTR
  uint64_t offset = 0;    // READ, READDIR, READDIRPLUS, LSEEK
  uint32_t size = 0;      // those, GETXATTR, LISTXATTR
  uint32_t flags = 0;     // OPEN: open(2) flags; ACCESS: mask; LSEEK: whence
  uint64_t handle = 0;    // RELEASE
  uint64_t target = 0;    // INTERRUPT: the unique of the request that it is about
  InitRequest init{};     // INIT; zeros where an older kernel has no field
};

enum class Decoded : uint8_t { kOk, kMalformed, kUnanswerable };

Decoded Decode(const uint8_t* bytes, size_t size, Request* request);

// For statistics: "lookup", "read"; nullptr for opcodes that nobody knows.
const char* NameOf(uint32_t opcode);

// Whether the operation would change the file system.
bool IsWriting(uint32_t opcode);

}  // namespace peel::fuse
