// Two SHA-256 over the same bytes that end at different places, at two thirds of the price of one after the other: the
// SHA instructions of x86 wait for their own results, and meanwhile there is time for another one's.
//
//   bytes ──┬──► first   |--------------------- all of it ---------------------|
//           └──► second  |---- span ----|-------- span --------|---- span -----|
//
// Ownership: plain values. Threads: one at a time. Errors: none; only where IsSupported() may one be made.
// Source: FIPS 180-4; a block's rounds in the order of Intel's "New Instructions Supporting the SHA Algorithms".
#pragma once

#include <cstddef>
#include <cstdint>

#include "sha256.h"

namespace peel {

class Sha256Pair {
 public:
  // Whether the processor has the instructions. Without them, two of Sha256 on two threads are faster.
  static bool IsSupported();

  // More bytes for both.
  void Update(const uint8_t* data, size_t length);
  // The digest of everything since the construction or the last Finish; that one begins anew.
  Digest32 FinishFirst() { return Finish(running_[0]); }
  Digest32 FinishSecond() { return Finish(running_[1]); }

 private:
  static constexpr size_t kBlock = 64;

  struct Running {
    // f, e, b, a, h, g, d, c: the order in which the instructions want them.
    alignas(16) uint32_t state[8] = {0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667,
                                     0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372};
    uint8_t rest[kBlock] = {};  // the first `length % kBlock` bytes of a block
    uint64_t length = 0;
  };

  // Digests `blocks` blocks of each of kCount, and moves `next` behind them.
  template <size_t kCount>
  static void Compress(Running* running, const uint8_t** next, size_t blocks);
  static Digest32 Finish(Running& running);

  Running running_[2];
};

}  // namespace peel
