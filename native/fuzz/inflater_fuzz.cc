// libFuzzer target: the inflater gives what zlib gives, byte for byte; it stops where zlib stops, fails where and for
// the reason that zlib fails, and the bytes of a window that it notes are those that zlib's output shows to be used.
// All of it however input and output are cut. scripts/fuzz.sh builds and runs it.
//
//   input: bits of the first byte that are not the stream's (1) | whether to stop between blocks (1) | boundary that a
//          window is sampled at (1) | size of the window (2) | count of cuts (1), each a length of input and one of
//          output (2 x 1) | deflate data
#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "inflater.h"

namespace {

using Bytes = std::vector<uint8_t>;
using peel::Inflater;

constexpr size_t kMostOutput = 100000;

void Check(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what);
  abort();
}

struct Stream {
  unsigned skipped_bits = 0;
  bool stops = false;
  size_t sampled_boundary = 0;
  Bytes window;
  Bytes compressed;
};

struct Cut {
  size_t input;
  size_t output;
};

struct Boundary {
  size_t bit;
  size_t output;
  bool operator==(const Boundary& other) const { return bit == other.bit && output == other.output; }
};

struct Decoded {
  Bytes bytes;
  std::vector<Boundary> boundaries;
  bool is_full = false;
  bool is_ended = false;
  size_t end = 0;  // bytes taken, where it is ended
  std::string problem;
  bool has_sample = false;
  peel::WindowSample sample;
};

Decoded Inflate(const Stream& stream, const std::vector<Cut>& cuts) {
  const auto inflater = std::make_unique<Inflater>();
  Decoded decoded;
  size_t at = 0;
  const Bytes& compressed = stream.compressed;
  if (stream.skipped_bits > 0 && !compressed.empty()) at = 1;
  inflater->BeginInside(at == 1 ? compressed[0] : 0, at == 1 ? 8 - stream.skipped_bits : 0, stream.window);
  for (size_t turn = 0;; turn++) {
    const Cut cut = cuts[turn % cuts.size()];
    // Copies of just the size: a byte too far is seen.
    const size_t offered = std::min(cut.input, compressed.size() - at);
    const Bytes piece(compressed.begin() + static_cast<ptrdiff_t>(at),
                      compressed.begin() + static_cast<ptrdiff_t>(at + offered));
    Bytes room(std::min(cut.output, kMostOutput - decoded.bytes.size()));
    peel::Input in{piece.data(), piece.size()};
    peel::Output out{room.data(), room.size()};
    const Inflater::Result result = inflater->Run(in, out, stream.stops);
    Check(in.left <= offered && in.next == piece.data() + (offered - in.left), "an input that does not add up");
    Check(out.left <= room.size() && out.next == room.data() + (room.size() - out.left), "an output that does not");
    decoded.bytes.insert(decoded.bytes.end(), room.data(), out.next);
    at += offered - in.left;
    if (result == Inflater::Result::kBroken) decoded.problem = inflater->problem();
    if (result == Inflater::Result::kEnd) {
      decoded.is_ended = true;
      decoded.end = at;
    }
    if (result == Inflater::Result::kBroken || result == Inflater::Result::kEnd) break;
    if (result == Inflater::Result::kBlockBoundary) {
      Check(inflater->unused_bits() < 8 && stream.stops, "a boundary nobody wanted");
      if (decoded.boundaries.size() == stream.sampled_boundary) {
        inflater->BeginSample();
        decoded.has_sample = true;
      }
      decoded.boundaries.push_back({at * 8 - inflater->unused_bits(), decoded.bytes.size()});
    }
    if (result == Inflater::Result::kOutputFull) {
      Check(out.left == 0, "full with room left");
      decoded.is_full = decoded.bytes.size() == kMostOutput;
      if (decoded.is_full) break;
    }
    if (result == Inflater::Result::kNeedInput) {
      Check(in.left == 0, "input wanted that is there");
      if (at == compressed.size()) break;
    }
  }
  if (decoded.has_sample) decoded.sample = inflater->TakeSample();
  return decoded;
}

// By zlib, which takes everything at once, from `bit` on.
Decoded Reference(const Bytes& compressed, size_t bit, const Bytes& window, bool stops, size_t most) {
  Decoded decoded;
  z_stream z{};
  Check(inflateInit2(&z, -15) == Z_OK, "no memory");
  size_t at = bit / 8;
  if (bit % 8 > 0 && at < compressed.size()) {
    const int count = static_cast<int>(8 - bit % 8);
    Check(inflatePrime(&z, count, compressed[at] >> (bit % 8)) == Z_OK, "bits refused");
    at++;
  }
  if (!window.empty()) {
    Check(inflateSetDictionary(&z, window.data(), static_cast<uInt>(window.size())) == Z_OK, "window refused");
  }
  decoded.bytes.resize(most);
  uint8_t nothing = 0;
  z.next_in = at < compressed.size() ? const_cast<Bytef*>(compressed.data() + at) : &nothing;
  z.avail_in = static_cast<uInt>(compressed.size() - at);
  z.next_out = decoded.bytes.data();
  z.avail_out = static_cast<uInt>(most);
  for (;;) {
    const int result = inflate(&z, stops ? Z_BLOCK : Z_NO_FLUSH);
    if (result == Z_DATA_ERROR) decoded.problem = z.msg;
    decoded.is_ended = result == Z_STREAM_END;
    if (result != Z_OK) break;
    const bool is_boundary = (z.data_type & 128) != 0 && (z.data_type & 64) == 0;
    if (stops && is_boundary) {
      const size_t taken = compressed.size() - z.avail_in;
      decoded.boundaries.push_back({taken * 8 - static_cast<size_t>(z.data_type & 7), most - z.avail_out});
    }
    if (z.avail_out == 0) break;
  }
  decoded.is_full = z.avail_out == 0;
  decoded.end = compressed.size() - z.avail_in;
  decoded.bytes.resize(most - z.avail_out);
  inflateEnd(&z);
  return decoded;
}

void CheckSame(const Decoded& got, const Decoded& want, const char* what) {
  Check(got.bytes == want.bytes, what);
  // The one may have looked behind the last byte that there was room for.
  if (got.is_full || want.is_full) return;
  Check(got.problem == want.problem && got.is_ended == want.is_ended, what);
  Check(!got.is_ended || got.end == want.end, what);
  Check(got.boundaries == want.boundaries, what);
}

// Twice with markers in place of the window: where the outputs differ, and only there, a byte came from the window,
// and the two values give its index.
Bytes UsedBytes(const Bytes& compressed, size_t bit, size_t window_size) {
  Bytes low(window_size);
  Bytes high(window_size);
  for (size_t i = 0; i < window_size; i++) {
    low[i] = static_cast<uint8_t>(i);
    high[i] = static_cast<uint8_t>(i + 1 + (i >> 8));
  }
  const Bytes first = Reference(compressed, bit, low, false, peel::kWindowSize).bytes;
  const Bytes second = Reference(compressed, bit, high, false, peel::kWindowSize).bytes;
  Check(first.size() == second.size(), "markers change the size");
  Bytes used(window_size);
  for (size_t i = 0; i < first.size(); i++) {
    if (first[i] == second[i]) continue;
    used[static_cast<size_t>(static_cast<uint8_t>(second[i] - first[i] - 1)) << 8 | first[i]] = 1;
  }
  return used;
}

void CheckSample(const Stream& stream, const Decoded& got) {
  const Boundary boundary = got.boundaries[stream.sampled_boundary];
  Bytes before = stream.window;
  before.insert(before.end(), got.bytes.begin(), got.bytes.begin() + static_cast<ptrdiff_t>(boundary.output));
  before.erase(before.begin(), before.end() - static_cast<ptrdiff_t>(std::min(before.size(), peel::kWindowSize)));
  Check(got.sample.window == before, "the window is not the output before it");
  if (got.is_full && got.bytes.size() - boundary.output < peel::kWindowSize) return;
  Check(got.sample.used == UsedBytes(stream.compressed, boundary.bit, before.size()), "other bytes used");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  size_t at = 0;
  const auto byte = [&]() -> size_t { return at < size ? data[at++] : 0; };
  Stream stream;
  stream.skipped_bits = byte() & 7;
  stream.stops = (byte() & 1) != 0;
  stream.sampled_boundary = byte() & 7;
  const size_t window_low = byte();
  stream.window.resize(std::min((window_low | byte() << 8), peel::kWindowSize));
  for (size_t i = 0; i < stream.window.size(); i++) stream.window[i] = static_cast<uint8_t>((i * i * 31) >> 7);
  std::vector<Cut> cuts(1 + byte() % 8);
  // Cut lengths up to 4 KiB: the fast way wants some hundred bytes of room.
  for (Cut& cut : cuts) {
    const size_t input = byte();
    const size_t output = byte();
    cut = {input * input / 16, 1 + output * output / 16};
  }
  cuts.back().input += 1;
  stream.compressed.assign(data + at, data + size);

  const Decoded want = Reference(stream.compressed, stream.skipped_bits, stream.window, stream.stops, kMostOutput);
  const Decoded whole = Inflate(stream, {{stream.compressed.size() + 1, kMostOutput}});
  CheckSame(whole, want, "not what zlib gives");
  const Decoded cut = Inflate(stream, cuts);
  CheckSame(cut, want, "not what zlib gives, cut");
  if (whole.has_sample) CheckSample(stream, whole);
  if (cut.has_sample) CheckSample(stream, cut);
  return 0;
}
