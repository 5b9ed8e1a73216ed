// How a zstd layer is told apart. The stream itself is behind OpenZstd() of stream.h.
#pragma once

#include "stream.h"

namespace peel {

// A frame's magic number, or one of a skippable frame.
bool IsZstd(const uint8_t magic[4]);

}  // namespace peel
