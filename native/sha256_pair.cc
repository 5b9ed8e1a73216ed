#include "sha256_pair.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace peel {

#if defined(__x86_64__)

namespace {

alignas(16) constexpr uint32_t kRoundConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

bool HasInstructions() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_SSSE3) == 0 || (c & bit_SSE4_1) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

}  // namespace

bool Sha256Pair::IsSupported() {
  static const bool supported = HasInstructions();
  return supported;
}

// Both go through each step together: a loop over them inside it, which the compiler unrolls.
template <size_t kCount>
__attribute__((target("sha,ssse3,sse4.1"))) void Sha256Pair::Compress(Running* running, const uint8_t** next,
                                                                      size_t blocks) {
  static_assert(kCount <= 2, "the loops over them are unrolled twice");
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i abef[kCount];
  __m128i cdgh[kCount];
#pragma GCC unroll 2
  for (size_t i = 0; i < kCount; i++) {
    abef[i] = _mm_load_si128(reinterpret_cast<const __m128i*>(running[i].state));
    cdgh[i] = _mm_load_si128(reinterpret_cast<const __m128i*>(running[i].state + 4));
  }
  for (; blocks > 0; blocks--) {
    __m128i old_abef[kCount];
    __m128i old_cdgh[kCount];
    __m128i words[kCount][4];  // the newest 16 of the schedule, in a ring
#pragma GCC unroll 2
    for (size_t i = 0; i < kCount; i++) {
      old_abef[i] = abef[i];
      old_cdgh[i] = cdgh[i];
    }
#pragma GCC unroll 16
    for (size_t four = 0; four < 16; four++) {
      const __m128i constants = _mm_load_si128(reinterpret_cast<const __m128i*>(kRoundConstants + 4 * four));
#pragma GCC unroll 2
      for (size_t i = 0; i < kCount; i++) {
        __m128i& newest = words[i][four % 4];
        if (four < 4) {
          newest = _mm_loadu_si128(reinterpret_cast<const __m128i*>(next[i]) + four);
          newest = _mm_shuffle_epi8(newest, big_endian);
        } else {
          const __m128i before = words[i][(four + 3) % 4];
          newest = _mm_sha256msg1_epu32(newest, words[i][(four + 1) % 4]);
          newest = _mm_add_epi32(newest, _mm_alignr_epi8(before, words[i][(four + 2) % 4], 4));
          newest = _mm_sha256msg2_epu32(newest, before);
        }
        const __m128i added = _mm_add_epi32(newest, constants);
        cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], added);
        abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], _mm_shuffle_epi32(added, 0x0e));
      }
    }
#pragma GCC unroll 2
    for (size_t i = 0; i < kCount; i++) {
      abef[i] = _mm_add_epi32(abef[i], old_abef[i]);
      cdgh[i] = _mm_add_epi32(cdgh[i], old_cdgh[i]);
      next[i] += kBlock;
    }
  }
#pragma GCC unroll 2
  for (size_t i = 0; i < kCount; i++) {
    _mm_store_si128(reinterpret_cast<__m128i*>(running[i].state), abef[i]);
    _mm_store_si128(reinterpret_cast<__m128i*>(running[i].state + 4), cdgh[i]);
  }
}

#else

bool Sha256Pair::IsSupported() {
  return false;
}

// Nobody makes a pair here.
template <size_t kCount>
void Sha256Pair::Compress(Running*, const uint8_t**, size_t) {}

#endif

void Sha256Pair::Update(const uint8_t* data, size_t length) {
  if (length == 0) return;
  const uint8_t* const end = data + length;
  const uint8_t* next[2] = {data, data};
  for (size_t i = 0; i < 2; i++) {
    Running& running = running_[i];
    const size_t begun = running.length % kBlock;
    running.length += length;
    if (begun == 0) continue;
    const size_t taken = std::min(kBlock - begun, length);
    memcpy(running.rest + begun, data, taken);
    next[i] += taken;
    if (begun + taken < kBlock) continue;
    const uint8_t* whole = running.rest;
    Compress<1>(&running, &whole, 1);
  }
  // What is left of one is less than a block longer than of the other.
  const auto blocks_left = [&](size_t i) { return static_cast<size_t>(end - next[i]) / kBlock; };
  Compress<2>(running_, next, std::min(blocks_left(0), blocks_left(1)));
  for (size_t i = 0; i < 2; i++) {
    Compress<1>(&running_[i], &next[i], blocks_left(i));
    if (next[i] < end) memcpy(running_[i].rest, next[i], static_cast<size_t>(end - next[i]));
  }
}

// Ends the bytes as FIPS 180-4 5.1.1 says: a one, zeros, and their number in bits.
Digest32 Sha256Pair::Finish(Running& running) {
  uint8_t last[2 * kBlock] = {};
  const size_t begun = running.length % kBlock;
  const size_t padded = begun < kBlock - sizeof running.length ? kBlock : 2 * kBlock;
  memcpy(last, running.rest, begun);
  last[begun] = 0x80;
  for (size_t i = 0; i < 8; i++) last[padded - 1 - i] = static_cast<uint8_t>(running.length * 8 >> 8 * i);
  const uint8_t* next = last;
  Compress<1>(&running, &next, padded / kBlock);

  constexpr size_t kFromAToH[8] = {3, 2, 7, 6, 1, 0, 5, 4};
  Digest32 digest;
  for (size_t i = 0; i < digest.size(); i++) {
    digest[i] = static_cast<uint8_t>(running.state[kFromAToH[i / 4]] >> (24 - 8 * (i % 4)));
  }
  running = Running();
  return digest;
}

}  // namespace peel
