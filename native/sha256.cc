#include "sha256.h"

#include <algorithm>
#include <new>

namespace peel {

Hash::Hash(DigestAlgorithm algorithm)
    : algorithm_(algorithm == DigestAlgorithm::kSha512 ? EVP_sha512() : EVP_sha256()), context_(EVP_MD_CTX_new()) {
  if (context_ == nullptr) throw std::bad_alloc();
  if (EVP_DigestInit_ex(context_, algorithm_, nullptr) != 1) {
    EVP_MD_CTX_free(context_);
    throw std::bad_alloc();
  }
}

Hash::~Hash() {
  EVP_MD_CTX_free(context_);
}

void Hash::Update(const uint8_t* data, size_t length) {
  if (length > 0 && EVP_DigestUpdate(context_, data, length) != 1) throw std::bad_alloc();
}

std::vector<uint8_t> Hash::Finish() {
  std::vector<uint8_t> digest(EVP_MAX_MD_SIZE);
  unsigned length = 0;
  if (EVP_DigestFinal_ex(context_, digest.data(), &length) != 1 ||
      EVP_DigestInit_ex(context_, algorithm_, nullptr) != 1) {
    throw std::bad_alloc();
  }
  digest.resize(length);
  return digest;
}

Digest32 Sha256::Finish() {
  const std::vector<uint8_t> bytes = hash_.Finish();
  Digest32 digest;
  if (bytes.size() != digest.size()) throw std::bad_alloc();
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

}  // namespace peel
