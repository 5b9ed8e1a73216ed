// The two SHA-256 of a layer's tar: of all of it, and of each span. Each byte goes into both.
//
//   paired:  second lane: both at once
//   else:    first lane: of all of it; second lane: of each span
//
// Ownership: the lanes' tasks share what they write, and own their slabs. Threads: one at a time.
// Errors: Finish fails where a lane did.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "cursor.h"
#include "lane.h"
#include "sha256.h"
#include "sha256_pair.h"
#include "status.h"

namespace peel {

class TarDigests {
 public:
  // `paired` only where Sha256Pair::IsSupported().
  TarDigests(Lane& first, Lane& second, bool paired);

  // The next bytes of the tar, in `slab`.
  void Update(const SlabRef& slab, Input bytes);
  // The span ends here.
  void EndSpan();
  // The tar ends here, after the end of a span. `spans`: 32 bytes each.
  Status Finish(Digest32& whole, std::vector<uint8_t>& spans);

 private:
  // Read here only when the lanes have nothing left to do.
  struct Digests {
    std::optional<Sha256Pair> pair;
    Sha256 whole;
    Sha256 span;
    std::vector<uint8_t> spans;
  };

  Lane& first_;
  Lane& second_;
  std::shared_ptr<Digests> digests_;
  const bool paired_;
};

}  // namespace peel
