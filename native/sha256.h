// SHA-256 with the EVP functions of the OpenSSL that is in the Node process already.
//
// Ownership: owns its EVP context. Threads: one at a time. Errors: std::bad_alloc where OpenSSL has no
// SHA-256 or no memory, caught at the edge of the thread like any other.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace peel {

using Digest32 = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(const uint8_t* data, size_t length);
  // The digest of everything since the construction or the last Finish; begins anew.
  Digest32 Finish();

 private:
  EVP_MD_CTX* context_;
};

}  // namespace peel
