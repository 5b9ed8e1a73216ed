// Whether requests can come over io_uring here, and the channels for it: found out before INIT promises it, since the
// kernel then holds all requests back until every processor's queue has an entry.
//
// Threads: any. Errors: an errno, which means /dev/fuse alone.
#pragma once

#include <memory>
#include <vector>

#include "fuse_device.h"
#include "fuse_uring.h"

namespace peel::fuse {

// At most so many channels, hence threads.
constexpr unsigned kMostChannels = 16;

// The channels for a connection whose INIT offers io_uring and is not answered yet.
int PrepareUring(const std::shared_ptr<Device>& device, std::vector<std::shared_ptr<UringChannel>>* channels);

}  // namespace peel::fuse
