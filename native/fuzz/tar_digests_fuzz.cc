// libFuzzer target: both ways of computing the two SHA-256 of a tar give what OpenSSL gives for the same bytes in one
// piece, however they are cut, and wherever spans end. scripts/fuzz.sh builds and runs it.
//
//   input: how often the bytes are repeated, less one (1) | count of cuts, less one (1) | cuts, used in turn: a length
//   (2),
//          of which the lowest bit says that a span ends behind it | bytes
#include <openssl/sha.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cursor.h"
#include "lane.h"
#include "tar_digests.h"

namespace {

using Bytes = std::vector<uint8_t>;

struct Cut {
  size_t length;
  bool ends_span;
};

void Check(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what);
  abort();
}

peel::Digest32 DigestOf(const uint8_t* data, size_t length) {
  peel::Digest32 digest;
  SHA256(data, length, digest.data());
  return digest;
}

void Compare(const Bytes& tar, const std::vector<Cut>& cuts, bool paired) {
  peel::Lane first(1 << 20);
  peel::Lane second(1 << 20);
  peel::TarDigests digests(first, second, paired);
  const auto slab = std::make_shared<peel::Slab>(tar.size());
  if (!tar.empty()) memcpy(slab->bytes.get(), tar.data(), tar.size());

  Bytes want_spans;
  size_t span = 0;
  const auto end_span = [&](size_t at) {
    digests.EndSpan();
    const peel::Digest32 digest = DigestOf(tar.data() + span, at - span);
    want_spans.insert(want_spans.end(), digest.begin(), digest.end());
    span = at;
  };
  size_t at = 0;
  for (size_t i = 0; at < tar.size(); i++) {
    const Cut& cut = cuts[i % cuts.size()];
    const size_t length = std::min(cut.length, tar.size() - at);
    digests.Update(slab, {slab->bytes.get() + at, length});
    at += length;
    if (cut.ends_span) end_span(at);
  }
  if (span < at) end_span(at);

  peel::Digest32 whole;
  Bytes spans;
  Check(digests.Finish(whole, spans).ok(), "a lane failed");
  Check(whole == DigestOf(tar.data(), tar.size()), "another digest of the tar");
  Check(spans == want_spans, "other digests of the spans");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t copies = size_t{data[0]} + 1;
  std::vector<Cut> cuts(size_t{data[1]} + 1);
  data += 2;
  size -= 2;
  if (size < 2 * cuts.size()) return 0;
  for (Cut& cut : cuts) {
    const unsigned number = data[0] | static_cast<unsigned>(data[1]) << 8;
    cut = {(number >> 1) + 1, (number & 1) != 0};
    data += 2;
  }
  size -= 2 * cuts.size();
  Bytes tar;
  for (size_t i = 0; i < copies && tar.size() < 100000; i++) tar.insert(tar.end(), data, data + size);

  Compare(tar, cuts, false);
  if (peel::Sha256Pair::IsSupported()) Compare(tar, cuts, true);
  return 0;
}
