// Sparse windows: of the 32 KiB before a checkpoint only the bytes that later data refers to, about a tenth.
//
// Deflate refers at most 32 KiB back, so only the next 32 KiB of output can reach into the window: the decoder notes
// which bytes they take.
//
// Packed form (docs/TOC-FORMAT.md): varint size of the window, varint count of runs, per run varint skip and varint
// length, then the bytes of all runs. Empty = no window needed. Not compressed: that is done where it travels.
//
// Ownership: plain values. Threads: any. Errors: Unpack returns a Status.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "status.h"

namespace peel {

constexpr size_t kWindowSize = 32768;  // RFC 1951: the farthest distance

// The output before a checkpoint, at most kWindowSize, and for each byte of it 1 where later output refers to it.
struct WindowSample {
  std::vector<uint8_t> window;
  std::vector<uint8_t> used;
};

// The packed window; empty where nothing refers to it. Throws std::bad_alloc.
std::vector<uint8_t> PackWindow(const WindowSample& sample);

// Opens a packed window; bytes nobody refers to are zero.
Status UnpackWindow(const uint8_t* packed, size_t length, std::vector<uint8_t>& window);

}  // namespace peel
