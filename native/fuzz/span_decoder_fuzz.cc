// libFuzzer target: no span, window or checkpoint, however broken, makes the decoder leave the memory or give more than
// was asked for; what it gives does not depend on how its input was cut into writes; and a window loses nothing by
// being packed. scripts/fuzz.sh builds and runs it.
//
//   input: compression and kind of window (1) | bits (1) | length of the window (2) | most output (2)
//          | count of cuts (1), each a length of input and one of output (2 x 2) | window (at most 1 KiB of it)
//          | compressed bytes
#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "decoder.h"
#include "inflater.h"
#include "window.h"

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kPieceSize = 1024;
constexpr uint8_t kUntouched = 0xa5;
// Behind every output. Poisoned against our own code; looked at afterwards for zlib and zstd, which are not
// instrumented.
constexpr size_t kFence = 256;

void Check(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what);
  abort();
}

class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : next_(data), left_(size) {}

  unsigned Byte() {
    if (left_ == 0) return 0;
    left_ -= 1;
    return *next_++;
  }
  unsigned Short() {
    const unsigned low = Byte();
    return low | Byte() << 8;
  }
  Bytes Take(size_t length) {
    length = std::min(length, left_);
    Bytes taken(next_, next_ + length);
    next_ += length;
    left_ -= length;
    return taken;
  }
  Bytes Rest() { return Take(left_); }

 private:
  const uint8_t* next_;
  size_t left_;
};

struct Cut {
  size_t input;
  size_t output;
};

struct Decoded {
  Bytes bytes;
  bool failed = false;
};

// One Run, its output appended; false where it failed.
bool RunOnce(peel::Decoder& decoder, size_t most, Bytes& into) {
  Bytes memory(most + kFence, kUntouched);
  ASAN_POISON_MEMORY_REGION(memory.data() + most, kFence);
  peel::Output output{memory.data(), most};
  const peel::Status status = decoder.Run(output);
  ASAN_UNPOISON_MEMORY_REGION(memory.data() + most, kFence);
  Check(output.left <= most && output.next == memory.data() + (most - output.left), "an output that does not add up");
  for (size_t i = most; i < memory.size(); ++i) Check(memory[i] == kUntouched, "output behind the end");
  into.insert(into.end(), memory.data(), output.next);
  Check(status.ok() == status.message.empty(), "a failure without words");
  return status.ok();
}

// All in one write.
Decoded DecodeWhole(const peel::DecoderOptions& options, const Bytes& compressed, size_t most) {
  peel::Decoder decoder(options);
  decoder.Append(compressed.data(), compressed.size());
  Decoded decoded;
  decoded.failed = !RunOnce(decoder, most, decoded.bytes);
  return decoded;
}

// As src/blob does: bytes as they arrive, then empty writes until nothing more comes.
Decoded DecodeCut(const peel::DecoderOptions& options, const Bytes& compressed, const std::vector<Cut>& cuts,
                  size_t most) {
  peel::Decoder decoder(options);
  Decoded decoded;
  size_t at = 0;
  for (size_t turn = 0; decoded.bytes.size() < most; ++turn) {
    const Cut cut = cuts[turn % cuts.size()];
    const size_t length = std::min(cut.input, compressed.size() - at);
    const size_t room = std::min(cut.output, most - decoded.bytes.size());
    // A copy of just the size, so that a read one byte behind it is seen.
    const Bytes piece(compressed.begin() + static_cast<ptrdiff_t>(at),
                      compressed.begin() + static_cast<ptrdiff_t>(at + length));
    decoder.Append(piece.data(), piece.size());
    at += length;
    const size_t before = decoded.bytes.size();
    decoded.failed = !RunOnce(decoder, room, decoded.bytes);
    if (decoded.failed) break;
    if (at == compressed.size() && decoded.bytes.size() - before < room) break;
  }
  return decoded;
}

// Of two ways to decode the same: a fault may lie behind the last byte asked for, and then only one may see it; what
// comes out before a fault depends on how far one way looks ahead.
void CheckSame(const Decoded& one, const Decoded& other, size_t most, const char* what) {
  if (!one.failed && !other.failed) Check(one.bytes == other.bytes, what);
  if (one.failed != other.failed) Check((one.failed ? other : one).bytes.size() == most, what);
}

// A window of up to 32 KiB out of less input: the pieces differ, so that a byte taken from a wrong one is seen.
Bytes Expand(const Bytes& piece, size_t length) {
  Bytes window(piece.empty() ? 0 : length);
  for (size_t i = 0; i < window.size(); ++i) {
    window[i] = static_cast<uint8_t>(piece[i % piece.size()] + i / piece.size());
  }
  return window;
}

// Exactly `window`, as the packed form has it where every byte is needed.
Bytes PackWhole(const Bytes& window) {
  Bytes plain;
  const auto put = [&plain](size_t value) {
    for (; value >= 0x80; value >>= 7) plain.push_back(static_cast<uint8_t>(value | 0x80));
    plain.push_back(static_cast<uint8_t>(value));
  };
  put(window.size());
  put(1);
  put(0);
  put(window.size());
  plain.insert(plain.end(), window.begin(), window.end());
  return plain;
}

// The bytes of `window` that the next 32 KiB need.
peel::WindowSample SampleOf(const peel::DecoderOptions& options, const Bytes& window, const Bytes& compressed) {
  const auto inflater = std::make_unique<peel::Inflater>();
  peel::Input in{compressed.data(), compressed.size()};
  const bool shares_byte = options.bits > 0 && in.left > 0;
  inflater->BeginInside(shares_byte ? *in.next : 0, shares_byte ? 8 - options.bits : 0, window);
  if (shares_byte) {
    in.next++;
    in.left--;
  }
  inflater->BeginSample();
  Bytes next(peel::kWindowSize);
  peel::Output out{next.data(), next.size()};
  inflater->Run(in, out, false);
  return inflater->TakeSample();
}

void CheckPacking(const peel::DecoderOptions& options, const Bytes& window, const Bytes& compressed, size_t most) {
  peel::DecoderOptions sparse = options;
  sparse.packed_window = peel::PackWindow(SampleOf(options, window, compressed));
  Bytes opened;
  Check(peel::UnpackWindow(sparse.packed_window.data(), sparse.packed_window.size(), opened).ok(), "a window shut");
  Check(opened.empty() || opened.size() == window.size(), "a window of another size");
  CheckSame(DecodeWhole(options, compressed, most), DecodeWhole(sparse, compressed, most), most,
            "packing changed what comes out");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  enum : unsigned { kAsStored, kPlain };
  Reader reader(data, size);
  const unsigned kinds = reader.Byte();
  peel::DecoderOptions options;
  options.compression = static_cast<peel::Compression>(kinds % 3);
  const unsigned kind = kinds / 3 % 2;
  options.bits = reader.Byte() & 7;
  const size_t window_length = reader.Short();
  // A span can be far larger than what an input of a few KiB is in most formats.
  const size_t most = 1 + reader.Short() * size_t{4};
  std::vector<Cut> cuts(1 + reader.Byte() % 8);
  for (Cut& cut : cuts) cut = {reader.Short(), 1 + size_t{reader.Short()}};
  // Without it nothing would ever go in.
  cuts.back().input += 1;
  Bytes window = reader.Take(std::min(window_length, kPieceSize));
  const Bytes compressed = reader.Rest();
  if (kind == kAsStored || window.empty()) {
    options.packed_window = std::move(window);
  } else {
    window = Expand(window, std::min(window_length, peel::kWindowSize));
    options.packed_window = PackWhole(window);
    if (options.compression == peel::Compression::kGzip) CheckPacking(options, window, compressed, most);
  }

  CheckSame(DecodeWhole(options, compressed, most), DecodeCut(options, compressed, cuts, most), most,
            "cutting changed what comes out");
  return 0;
}
