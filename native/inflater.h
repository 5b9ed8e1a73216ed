// Decoder for deflate (RFC 1951) that stops between blocks, begins there again, and notes which bytes of a window
// are referred to. It takes and refuses exactly what zlib does; fuzz/inflater_fuzz.cc compares the two.
//
//   input ──► bits (64 of them) ──► codes ──► output ──► history, for matches that reach before this call
//
// Most bytes go through DecodeFast, which needs 32 bytes of input and 320 of room and looks at neither in between;
// the rest goes symbol by symbol. All state is in members: input and output may be cut anywhere.
//
// Ownership: owns its state and the sample, never input or output. Threads: one at a time.
// Errors: kBroken, with problem() in zlib's words; after it only Begin may be called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cursor.h"
#include "history.h"
#include "huffman.h"
#include "window.h"

namespace peel {

class Inflater {
 public:
  enum class Result : uint8_t {
    kNeedInput,      // all input is used up
    kOutputFull,     // no room is left
    kBlockBoundary,  // only when asked for: between two blocks
    kEnd,            // behind the last block; the rest of the last byte is dropped
    kBroken,
  };

  // At the first block of a stream.
  void Begin();
  // At a block inside a stream: the high `count` (0 to 7) bits of `byte` come first, `window` is the output before.
  void BeginInside(uint8_t byte, unsigned count, const std::vector<uint8_t>& window);

  // Takes no more than the bytes that hold what it has decoded, but for kNeedInput.
  Result Run(Input& in, Output& out, bool stop_at_block);
  const char* problem() const { return problem_; }

  // At kBlockBoundary: how many high bits of the last byte taken are not used yet (0 to 7).
  unsigned unused_bits() const { return count_; }
  // At kBlockBoundary: begins a sample with the newest output.
  void BeginSample();
  // The sample begun last, complete after 32 KiB more of output or the end of the stream.
  WindowSample TakeSample();

 private:
  enum class State : uint8_t {
    kBlockHeader,
    kStoredLength,
    kStored,
    kTableSizes,
    kCodeLengthLengths,
    kCodeLengths,
    kSymbols,
    kMatch,
    kEnd,
  };
  enum class Outcome : uint8_t { kMore, kNeedInput, kOutputFull, kEndOfBlock, kBroken };

  bool Need(Input& in, unsigned count);
  unsigned Take(unsigned count);
  Outcome Broken(const char* problem);
  Outcome Step(Input& in, Output& out);
  Outcome ReadBlockHeader(Input& in);
  Outcome CopyStored(Input& in, Output& out);
  Outcome ReadCodeLengthLengths(Input& in);
  Outcome ReadCodeLengths(Input& in);
  Outcome UseFixedCodes();
  Outcome UseCodes();
  Outcome DecodeFast(Input& in, Output& out);
  Outcome DecodeSymbol(Input& in, Output& out);
  Outcome CopyMatch(Output& out);
  void CopyFromHistory(size_t back, size_t length, uint8_t* to);

  State state_ = State::kBlockHeader;
  uint64_t bits_ = 0;  // the next `count_` bits of the input, zeros above
  unsigned count_ = 0;
  bool is_last_block_ = false;
  const char* problem_ = "";
  const uint8_t* begin_ = nullptr;  // of the output of this call

  size_t stored_left_ = 0;
  size_t match_length_ = 0;  // what is left of a match
  size_t match_distance_ = 0;
  unsigned litlen_count_ = 0;
  unsigned distance_count_ = 0;
  unsigned code_length_count_ = 0;
  unsigned index_ = 0;
  uint8_t lengths_[320] = {};  // of literals and lengths, then of distances

  HuffmanTable<7, 19> code_lengths_;
  HuffmanTable<11, 288> litlens_;
  HuffmanTable<9, 32> distances_;
  History history_;
  WindowSample sample_;
  size_t sampled_ = kWindowSize;  // output behind the sample's window, up to the beginning of this call
};

}  // namespace peel
