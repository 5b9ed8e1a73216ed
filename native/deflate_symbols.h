// What the symbols of deflate mean (RFC 1951, 3.2.5 and 3.2.7), as entries of decoding tables without their codes.
//
// Ownership: constants. Threads: any. Errors: none.
#pragma once

#include <cstdint>

#include "huffman.h"

namespace peel {

constexpr unsigned kEndOfBlockSymbol = 256;
constexpr unsigned kMostLitlens = 286;
constexpr unsigned kMostDistances = 30;
constexpr unsigned kMostMatch = 258;
constexpr uint8_t kCodeLengthOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

// Symbols that the fixed codes have and nobody may use are special.
struct Meanings {
  uint32_t litlens[288] = {};
  uint32_t distances[32] = {};
  uint32_t code_lengths[19] = {};

  constexpr Meanings() {
    for (uint32_t i = 0; i < 256; i++) litlens[i] = kLiteral | i << 16;
    litlens[kEndOfBlockSymbol] = kSpecial | kEndOfBlock;
    uint32_t base = 3;
    for (uint32_t i = 0; i < 28; i++) {
      const uint32_t extra = i < 8 ? 0 : i / 4 - 1;
      litlens[257 + i] = base << 16 | extra;
      base += 1u << extra;
    }
    litlens[285] = kMostMatch << 16;
    litlens[286] = litlens[287] = kSpecial;
    base = 1;
    for (uint32_t i = 0; i < kMostDistances; i++) {
      const uint32_t extra = i < 4 ? 0 : i / 2 - 1;
      distances[i] = base << 16 | extra;
      base += 1u << extra;
    }
    distances[30] = distances[31] = kSpecial;
    for (uint32_t i = 0; i < 19; i++) code_lengths[i] = i << 16;
  }
};
constexpr Meanings kMeanings;

// Base and extra bits of a length or distance; `bits` begin with its code.
inline uint32_t LengthOf(uint32_t entry, uint64_t bits) {
  return ValueOf(entry) + static_cast<uint32_t>(LowBits(bits, DroppedBitsOf(entry)) >> CodeBitsOf(entry));
}

}  // namespace peel
