// Decoding tables for the Huffman codes of deflate (RFC 1951, 3.2.2).
//
//   main table: the next kBits bits ──► meaning of a code, or ──► a subtable for the codes that are longer
//
// An entry is 32 bits, so that one load tells all:
//   31     a literal; its byte is in 16-23
//   30-16  what a length or distance begins at; of a subtable, where it begins
//   15-13  special: leads to a subtable, ends the block, or is no symbol at all (neither of the two)
//   11-8   bits of the code; of a subtable, bits of its index
//   7-0    bits to drop: code and extra bits
//
// Ownership: plain values. Threads: one. Errors: false for lengths that are no code.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace peel {

constexpr uint32_t kLiteral = 1u << 31;
constexpr uint32_t kSpecial = 1u << 15;
constexpr uint32_t kSubtable = 1u << 14;
constexpr uint32_t kEndOfBlock = 1u << 13;
constexpr unsigned kLongestCode = 15;

inline uint32_t ValueOf(uint32_t entry) {
  return entry >> 16;
}
inline unsigned CodeBitsOf(uint32_t entry) {
  return entry >> 8 & 15;
}
inline unsigned DroppedBitsOf(uint32_t entry) {
  return entry & 0xff;
}
inline uint64_t LowBits(uint64_t bits, unsigned count) {
  return bits & ((uint64_t{1} << count) - 1);
}

// Fills `table`: `main_bits` wide, with room for a subtable for every two of the `size` symbols. `meanings` are
// entries without a code. Codes are complete, but for one of a single symbol of one bit where `may_be_single`, and one
// of no symbols at all: as zlib has it, since encoders rely on that.
bool BuildHuffman(const uint8_t* lengths, size_t size, const uint32_t* meanings, unsigned main_bits, bool may_be_single,
                  uint32_t* table);

template <unsigned kBits, size_t kSymbols>
class HuffmanTable {
 public:
  bool Build(const uint8_t* lengths, size_t size, const uint32_t* meanings, bool may_be_single) {
    return BuildHuffman(lengths, size, meanings, kBits, may_be_single, entries_.data());
  }

  uint32_t Main(uint64_t bits) const { return entries_[LowBits(bits, kBits)]; }
  // `bits` without those that led to the subtable.
  uint32_t Sub(uint32_t entry, uint64_t bits) const {
    return entries_[ValueOf(entry) + LowBits(bits, CodeBitsOf(entry))];
  }

 private:
  // Codes are complete where any is longer than a bit: no subtable has less than two symbols.
  std::array<uint32_t, (size_t{1} << kBits) + (kSymbols / 2 << (kLongestCode - kBits))> entries_;
};

}  // namespace peel
