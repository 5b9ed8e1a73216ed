// Threads of the FUSE server: detached, named, and without signals, which are Node's.
#pragma once

#include <functional>

namespace peel::fuse {

// False where the system has no thread left.
bool StartThread(const char* name, std::function<void()> run);

}  // namespace peel::fuse
