// Sparse windows: of the 32 KiB before a checkpoint only the bytes that later data refers to, about a tenth.
//
// Deflate refers at most 32 KiB back, so only the next 32 KiB of output can reach into the window. They are
// inflated twice with marker windows in place of the real one: byte i is first low = i & 255, then
// low + 1 + (i >> 8), which never equals low. Where the two outputs differ, and only there, the byte came
// from the window, and the two values give its index.
//
// Packed form (docs/TOC-FORMAT.md): raw deflate of: varint size of the window, varint count of runs, per
// run varint skip and varint length, then the bytes of all runs. Empty = no window needed.
//
// Ownership: plain values. Threads: one WindowPacker per thread. Errors: Unpack returns a Status.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <vector>

#include "status.h"

namespace peel {

constexpr size_t kWindowSize = 32768;  // RFC 1951: the farthest distance
// The most compressed bytes looked at behind a checkpoint. A stored block of 32 KiB fits; data that needs
// more for 32 KiB of output (empty blocks) keeps its window whole.
constexpr size_t kLookahead = 65536;

// What the scanner collects at and after a checkpoint.
struct WindowSample {
  unsigned bits = 0;                // low bits of compressed[0] that belong to the block before
  std::vector<uint8_t> window;      // output before the checkpoint, at most kWindowSize
  std::vector<uint8_t> compressed;  // from the checkpoint's byte on, at most kLookahead
};

class WindowPacker {
 public:
  WindowPacker() = default;
  ~WindowPacker();
  WindowPacker(const WindowPacker&) = delete;
  WindowPacker& operator=(const WindowPacker&) = delete;

  // The packed window; empty where nothing refers to it. Throws std::bad_alloc.
  std::vector<uint8_t> Pack(const WindowSample& sample);

 private:
  bool FindReferences(const WindowSample& sample, std::vector<bool>& used);
  bool InflateWithMarkers(const WindowSample& sample, bool second, std::vector<uint8_t>& output, bool& complete);
  std::vector<uint8_t> Deflate(const std::vector<uint8_t>& plain);

  z_stream inflate_{};
  z_stream deflate_{};
  bool inflate_ready_ = false;
  bool deflate_ready_ = false;
};

// Opens a packed window; bytes nobody refers to are zero.
Status UnpackWindow(const uint8_t* packed, size_t length, std::vector<uint8_t>& window);

}  // namespace peel
