#include "fuse_parked.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "monotonic.h"

namespace peel::fuse {
namespace {

// Interrupts that came before their request was parked. Few: that takes a signal in the microseconds between.
constexpr size_t kMostEarlyInterrupts = 1024;

// Whether a thread will not come back from the kernel to its program. Only then is what it asks given up: to all others
// a read of a file is not interrupted by a signal, as on a disk; a program that catches SIGCHLD would have to expect
// EINTR, and one that takes a page fault just then would die of SIGBUS.
bool IsBeingKilled(uint32_t pid) {
  if (pid == 0) return false;
  char path[32];
  snprintf(path, sizeof(path), "/proc/%u/status", pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT;
  char text[4096];
  const ssize_t length = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (length <= 0) return true;  // it has just gone
  text[length] = '\0';
  // The kernel turns whatever ends a process into SIGKILL for each of its threads.
  const char* pending = strstr(text, "\nSigPnd:");
  const uint64_t mask = pending == nullptr ? 0 : strtoull(pending + strlen("\nSigPnd:"), nullptr, 16);
  return (mask >> (SIGKILL - 1) & 1) != 0;
}

}  // namespace

uint64_t ParkedRequests::AddRead(const std::shared_ptr<Channel>& channel, const Place& place, uint32_t pid,
                                 size_t length) {
  Parked parked;
  parked.channel = channel;
  parked.place = place;
  parked.length = length;
  parked.pid = pid;
  std::lock_guard<std::mutex> lock(mutex_);
  return Add(std::move(parked));
}

bool ParkedRequests::AddWaiting(const std::shared_ptr<Channel>& channel, const Incoming& incoming, const Place& place,
                                uint32_t pid) {
  Parked parked;
  parked.channel = channel;
  parked.place = place;
  parked.asked.assign(incoming.bytes, incoming.bytes + incoming.size);
  parked.pid = pid;
  std::lock_guard<std::mutex> lock(mutex_);
  Add(std::move(parked));
  waiting_ += 1;
  return waiting_ == 1;
}

uint64_t ParkedRequests::Add(Parked parked) {
  const uint64_t unique = parked.place.unique;
  const auto early = std::find(early_interrupts_.begin(), early_interrupts_.end(), unique);
  if (early != early_interrupts_.end()) {
    early_interrupts_.erase(early);
    parked.is_interrupted = true;
    has_interrupted_ = true;
  }
  parked.since_ms = MonotonicMs();
  const uint64_t id = next_id_++;
  id_of_unique_[unique] = id;
  parked_.emplace(id, std::move(parked));
  return id;
}

bool ParkedRequests::Take(uint64_t id, Parked* parked) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = parked_.find(id);
  if (found == parked_.end()) return false;
  *parked = std::move(found->second);
  id_of_unique_.erase(parked->place.unique);
  parked_.erase(found);
  if (!parked->asked.empty()) waiting_ -= 1;
  return true;
}

std::vector<Parked> ParkedRequests::TakeWaiting() {
  std::vector<Parked> taken;
  std::lock_guard<std::mutex> lock(mutex_);
  taken.reserve(waiting_);
  for (auto each = parked_.begin(); waiting_ > 0 && each != parked_.end();) {
    if (each->second.asked.empty()) {
      ++each;
      continue;
    }
    id_of_unique_.erase(each->second.place.unique);
    taken.push_back(std::move(each->second));
    each = parked_.erase(each);
    waiting_ -= 1;
  }
  return taken;
}

void ParkedRequests::NoteProgress() {
  std::lock_guard<std::mutex> lock(mutex_);
  progress_ms_ = MonotonicMs();
}

uint64_t ParkedRequests::Interrupt(uint64_t unique) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = id_of_unique_.find(unique);
  if (found == id_of_unique_.end()) {
    // Answered already, or about to be parked by another thread.
    early_interrupts_.push_back(unique);
    if (early_interrupts_.size() > kMostEarlyInterrupts) early_interrupts_.pop_front();
    return 0;
  }
  Parked& parked = parked_.at(found->second);
  if (IsBeingKilled(parked.pid)) return found->second;
  parked.is_interrupted = true;
  has_interrupted_ = true;
  return 0;
}

std::vector<uint64_t> ParkedRequests::Killed() {
  std::vector<uint64_t> killed;
  std::lock_guard<std::mutex> lock(mutex_);
  if (!has_interrupted_) return killed;
  has_interrupted_ = false;
  for (const auto& [id, parked] : parked_) {
    if (!parked.is_interrupted) continue;
    has_interrupted_ = true;
    if (IsBeingKilled(parked.pid)) killed.push_back(id);
  }
  return killed;
}

std::vector<uint64_t> ParkedRequests::Overdue(uint64_t now_ms, uint64_t limit_ms) {
  std::vector<uint64_t> overdue;
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [id, parked] : parked_) {
    const uint64_t since = parked.asked.empty() ? parked.since_ms : std::max(parked.since_ms, progress_ms_);
    if (now_ms > since && now_ms - since > limit_ms) overdue.push_back(id);
  }
  return overdue;
}

void ParkedRequests::Clear() {
  std::lock_guard<std::mutex> lock(mutex_);
  parked_.clear();
  id_of_unique_.clear();
  waiting_ = 0;
}

}  // namespace peel::fuse
