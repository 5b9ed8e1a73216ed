#include "fuse_later.h"

#include <utility>

namespace peel::fuse {

void LaterReads::Put(LaterRead read) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_ended_) return;
    reads_.push_back(std::move(read));
  }
  changed_.notify_one();
}

bool LaterReads::Take(LaterRead* read) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return is_ended_ || !reads_.empty(); });
  if (is_ended_) return false;
  *read = std::move(reads_.front());
  reads_.pop_front();
  return true;
}

void LaterReads::End() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_ended_ = true;
    reads_.clear();
  }
  changed_.notify_all();
}

}  // namespace peel::fuse
