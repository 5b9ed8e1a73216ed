// SHA-256, and SHA-512 for blobs that are named by it, with the EVP functions of the OpenSSL that is in the Node
// process already.
//
// Ownership: owns its EVP context. Threads: one at a time. Errors: std::bad_alloc where OpenSSL does not have the
// algorithm or no memory, caught at the edge of the thread like any other.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace peel {

using Digest32 = std::array<uint8_t, 32>;

enum class DigestAlgorithm : uint8_t { kSha256, kSha512 };

class Hash {
 public:
  explicit Hash(DigestAlgorithm algorithm);
  ~Hash();
  Hash(const Hash&) = delete;
  Hash& operator=(const Hash&) = delete;

  void Update(const uint8_t* data, size_t length);
  // The digest of everything since the construction or the last Finish; begins anew.
  std::vector<uint8_t> Finish();

 private:
  const EVP_MD* const algorithm_;
  EVP_MD_CTX* context_;
};

class Sha256 {
 public:
  void Update(const uint8_t* data, size_t length) { hash_.Update(data, length); }
  Digest32 Finish();

 private:
  Hash hash_{DigestAlgorithm::kSha256};
};

}  // namespace peel
