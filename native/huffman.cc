#include "huffman.h"

#include <cstring>

namespace peel {
namespace {

// Deflate reads codes from their first bit, at the low end: they are counted up with their bits reversed.
unsigned NextCode(unsigned code, unsigned length) {
  unsigned bit = 1u << (length - 1);
  for (; (code & bit) != 0; bit >>= 1) code ^= bit;
  return code | bit;
}

uint32_t EntryOf(uint32_t meaning, unsigned code_bits) {
  return meaning + code_bits * 0x0101;
}

}  // namespace

bool BuildHuffman(const uint8_t* lengths, size_t size, const uint32_t* meanings, unsigned main_bits, bool may_be_single,
                  uint32_t* table) {
  uint16_t count[kLongestCode + 1] = {};
  for (size_t i = 0; i < size; i++) count[lengths[i]]++;
  unsigned longest = kLongestCode;
  while (longest > 0 && count[longest] == 0) longest--;
  int unused = 1;  // of the patterns of so many bits
  for (unsigned length = 1; length <= kLongestCode; length++) {
    unused = unused * 2 - count[length];
    if (unused < 0) return false;
  }
  if (unused > 0 && longest > (may_be_single ? 1 : 0)) return false;

  // Symbols by length, those of one length in order; those without a code come last and are not looked at.
  uint16_t first[kLongestCode + 2];
  first[1] = 0;
  for (unsigned length = 1; length <= kLongestCode; length++) first[length + 1] = first[length] + count[length];
  uint16_t sorted[288];
  for (size_t i = 0; i < size; i++) {
    if (lengths[i] > 0) sorted[first[lengths[i]]++] = static_cast<uint16_t>(i);
  }

  if (unused > 0) {
    for (size_t i = 0; i < size_t{1} << main_bits; i++) {
      const bool is_symbol = longest == 1 && i % 2 == 0;
      table[i] = EntryOf(is_symbol ? meanings[sorted[0]] : kSpecial, 1);
    }
    return true;
  }

  // The table for codes up to `length` is twice the one before, and the codes of that length.
  unsigned code = 0;
  const uint16_t* symbol = sorted;
  table[0] = 0;
  for (unsigned length = 1; length <= main_bits; length++) {
    const size_t half = size_t{1} << (length - 1);
    memcpy(table + half, table, half * sizeof *table);
    for (unsigned i = 0; i < count[length]; i++) {
      table[code] = EntryOf(meanings[*symbol++], length);
      code = NextCode(code, length);
    }
  }
  // All subtables are as wide as the longest code wants. Codes that share one follow each other.
  const unsigned sub_bits = longest > main_bits ? longest - main_bits : 0;
  size_t end = size_t{1} << main_bits;
  size_t subtable = 0;
  size_t last_prefix = end;
  for (unsigned length = main_bits + 1; length <= longest; length++) {
    for (unsigned i = 0; i < count[length]; i++) {
      const size_t prefix = LowBits(code, main_bits);
      if (prefix != last_prefix) {
        last_prefix = prefix;
        subtable = end;
        end += size_t{1} << sub_bits;
        table[prefix] = kSpecial | kSubtable | static_cast<uint32_t>(subtable) << 16 | sub_bits << 8 | main_bits;
      }
      const uint32_t entry = EntryOf(meanings[*symbol++], length - main_bits);
      for (size_t at = code >> main_bits; at < size_t{1} << sub_bits; at += size_t{1} << (length - main_bits)) {
        table[subtable + at] = entry;
      }
      code = NextCode(code, length);
    }
  }
  return true;
}

}  // namespace peel
