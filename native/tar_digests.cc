#include "tar_digests.h"

#include <utility>

namespace peel {

TarDigests::TarDigests(Lane& first, Lane& second, bool paired)
    : first_(first), second_(second), digests_(std::make_shared<Digests>()), paired_(paired) {
  if (paired_) digests_->pair.emplace();
}

void TarDigests::Update(const SlabRef& slab, Input bytes) {
  if (bytes.left == 0) return;
  if (paired_) {
    second_.Push(bytes.left, [digests = digests_, slab, bytes] { digests->pair->Update(bytes.next, bytes.left); });
    return;
  }
  first_.Push(bytes.left, [digests = digests_, slab, bytes] { digests->whole.Update(bytes.next, bytes.left); });
  second_.Push(bytes.left, [digests = digests_, slab, bytes] { digests->span.Update(bytes.next, bytes.left); });
}

void TarDigests::EndSpan() {
  second_.Push(0, [digests = digests_] {
    const Digest32 digest = digests->pair ? digests->pair->FinishSecond() : digests->span.Finish();
    digests->spans.insert(digests->spans.end(), digest.begin(), digest.end());
  });
}

Status TarDigests::Finish(Digest32& whole, std::vector<uint8_t>& spans) {
  if (!first_.Drain() || !second_.Drain()) return Status::Of(Fault::kMemory, "hashing the layer failed");
  whole = paired_ ? digests_->pair->FinishFirst() : digests_->whole.Finish();
  spans = std::move(digests_->spans);
  return Status::Ok();
}

}  // namespace peel
