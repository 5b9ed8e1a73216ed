#include "lane.h"

#include <cstdlib>
#include <exception>
#include <set>
#include <utility>

namespace peel {
namespace {

// process.exit() runs no finalizer of ours, but exit(3) runs what was registered with it, the newest first:
// this before OpenSSL's own, so that no lane hashes while OpenSSL is being taken down.
class LiveLanes {
 public:
  static LiveLanes& Get() {
    // Never destroyed: a lane may end later still.
    static LiveLanes* const lanes = [] {
      auto* created = new LiveLanes;
      std::atexit([] { Get().StopAll(); });
      return created;
    }();
    return *lanes;
  }
  void Add(Lane* lane) {
    std::lock_guard<std::mutex> lock(mutex_);
    lanes_.insert(lane);
  }
  void Remove(Lane* lane) {
    std::lock_guard<std::mutex> lock(mutex_);
    lanes_.erase(lane);
  }

 private:
  void StopAll() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (Lane* lane : lanes_) lane->Stop();
  }

  std::mutex mutex_;
  std::set<Lane*> lanes_;
};

}  // namespace

Lane::Lane(size_t capacity) : capacity_(capacity) {
  thread_ = std::thread([this] { Run(); });
  LiveLanes::Get().Add(this);
}

Lane::~Lane() {
  LiveLanes::Get().Remove(this);
  Stop();
}

void Lane::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    items_.clear();
    backlog_ = 0;
  }
  changed_.notify_all();
  std::lock_guard<std::mutex> lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

void Lane::Push(size_t weight, Task task) {
  std::unique_lock<std::mutex> lock(mutex_);
  // One task may always wait, however heavy it is.
  changed_.wait(lock, [&] { return stopping_ || items_.empty() || backlog_ + weight <= capacity_; });
  if (stopping_ || failed_) return;
  items_.push_back({weight, std::move(task)});
  backlog_ += weight;
  lock.unlock();
  changed_.notify_all();
}

bool Lane::Drain() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || (items_.empty() && !busy_); });
  return !failed_ && !stopping_;
}

void Lane::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !items_.empty(); });
    if (stopping_) return;
    Item item = std::move(items_.front());
    items_.pop_front();
    busy_ = true;
    const bool run = !failed_;
    lock.unlock();
    bool thrown = false;
    if (run) {
      try {
        item.task();
      } catch (const std::exception&) {
        thrown = true;
      }
    }
    item.task = nullptr;  // frees its slabs outside the lock
    lock.lock();
    busy_ = false;
    failed_ = failed_ || thrown;
    backlog_ -= backlog_ < item.weight ? backlog_ : item.weight;
    changed_.notify_all();
  }
}

}  // namespace peel
