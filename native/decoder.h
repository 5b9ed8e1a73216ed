// Decompresses forward from one checkpoint, so that a span can be read without what lies before it.
//
// Ownership: owns its stream and the input not used up yet. Threads: one at a time.
// Errors: Status; after one, only the destructor may be called.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "stream.h"

namespace peel {

struct DecoderOptions {
  Compression compression = Compression::kNone;
  bool at_header = false;              // gzip: the first byte is that of a member, not of its data
  unsigned bits = 0;                   // gzip: as in the checkpoint
  std::vector<uint8_t> packed_window;  // gzip: as stored; empty for none
};

class Decoder {
 public:
  explicit Decoder(DecoderOptions options) : options_(std::move(options)) {}

  void Append(const uint8_t* data, size_t length) { input_.insert(input_.end(), data, data + length); }
  // Fills `output` as far as the input goes.
  Status Run(Output& output);

 private:
  Status Open();

  DecoderOptions options_;
  std::unique_ptr<Stream> stream_;
  std::vector<uint8_t> input_;
};

}  // namespace peel
