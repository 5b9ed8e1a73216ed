// What the framer must know of a 512-byte tar header: that it is one, its type, its size. Everything else
// (names, owners, times) is decoded in TypeScript, src/layer/.
//
// Ownership: borrows the block. Threads: pure. Errors: a flag each; the framer words them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace peel {

constexpr size_t kTarBlock = 512;

bool IsZeroBlock(const uint8_t* block);

// The sum over the block with its checksum field as spaces, bytes unsigned or signed (E94).
bool HasTarChecksum(const uint8_t* block);

char TarTypeOf(const uint8_t* block);

// "ustar  \0": the GNU form, which alone may hold old sparse files.
bool HasGnuMagic(const uint8_t* block);

// Octal with spaces or NULs around, or base-256 (first bit set). False for anything else and for overflow.
bool ParseTarNumber(const uint8_t* field, size_t length, int64_t& value);

// The size field. False as above.
bool TarSizeOf(const uint8_t* block, int64_t& size);

// Whether mode, owners, time and, but for v7, device numbers are numbers. TypeScript says so for members; headers of
// extensions end here, and Go refuses those as well.
bool HasTarNumbers(const uint8_t* block);

// Whether the name in the header (with a ustar prefix) ends in a slash.
bool NameEndsInSlash(const uint8_t* block);

// Calls `visit` for each "%d key=value\n" of a PAX header. False where one is malformed (E83).
bool ForEachPaxRecord(std::string_view records,
                      const std::function<void(std::string_view key, std::string_view value)>& visit);

// Digits only, no sign, below 2^63.
bool ParseDecimal(std::string_view text, int64_t& value);

}  // namespace peel
