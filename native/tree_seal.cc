#include "tree_seal.h"

#include <cstring>

#include "sha256.h"
#include "tree_view.h"

namespace peel {
namespace {

bool Matches(const uint8_t* data, size_t length, const uint8_t* sum) {
  Sha256 hash;
  hash.Update(data, length);
  const Digest32 digest = hash.Finish();
  return memcmp(digest.data(), sum, digest.size()) == 0;
}

}  // namespace

// The header first: a file of something else is told apart before all of it is read.
Status CheckTreeSeal(const uint8_t* data, size_t size) {
  if (size < kTreeHeaderSize) return Status::Invalid("stored tree: less than its header", 0);
  if (!Matches(data, kTreeHeaderSum, data + kTreeHeaderSum)) {
    return Status::Invalid("stored tree: its header does not have its sum", kTreeHeaderSum);
  }
  if (!Matches(data + kTreeHeaderSize, size - kTreeHeaderSize, data + kTreeBodySum)) {
    return Status::Invalid("stored tree: what follows its header does not have its sum", kTreeBodySum);
  }
  return Status::Ok();
}

}  // namespace peel
