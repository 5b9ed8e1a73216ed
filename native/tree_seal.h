// The sums in the header of a stored tree: whether it is what was written. They detect damage, not malice: whoever
// can write the file can seal what he wrote, which is why TreeView::Open believes nothing all the same.
//
// Ownership: borrows `data`. Threads: any. Errors: Status with the offset of the sum that does not match. Cost: one
// pass of SHA-256 over the file.
#pragma once

#include <cstddef>
#include <cstdint>

#include "status.h"

namespace peel {

// Throws std::bad_alloc, as Sha256 does.
Status CheckTreeSeal(const uint8_t* data, size_t size);

}  // namespace peel
