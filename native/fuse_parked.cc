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

// Interrupts that came before their read was parked. Few: that takes a signal in the microseconds between.
constexpr size_t kMostEarlyInterrupts = 1024;

// Whether a thread will not come back from the kernel to its program. Only then is its read given up: to all others a
// read of a file is not interrupted by a signal, as on a disk; a program that catches SIGCHLD would have to expect
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

uint64_t ParkedReads::Add(const std::shared_ptr<Channel>& channel, const Place& place, uint32_t pid, size_t length) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto early = std::find(early_interrupts_.begin(), early_interrupts_.end(), place.unique);
  const bool is_interrupted = early != early_interrupts_.end();
  if (is_interrupted) {
    early_interrupts_.erase(early);
    has_interrupted_ = true;
  }
  const uint64_t id = next_id_++;
  id_of_unique_[place.unique] = id;
  parked_.emplace(id, ParkedRead{channel, place, length, MonotonicMs(), pid, is_interrupted});
  return id;
}

bool ParkedReads::Take(uint64_t id, ParkedRead* parked) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = parked_.find(id);
  if (found == parked_.end()) return false;
  *parked = std::move(found->second);
  id_of_unique_.erase(parked->place.unique);
  parked_.erase(found);
  return true;
}

uint64_t ParkedReads::Interrupt(uint64_t unique) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = id_of_unique_.find(unique);
  if (found == id_of_unique_.end()) {
    // Answered already, or about to be parked by another thread.
    early_interrupts_.push_back(unique);
    if (early_interrupts_.size() > kMostEarlyInterrupts) early_interrupts_.pop_front();
    return 0;
  }
  ParkedRead& parked = parked_.at(found->second);
  if (IsBeingKilled(parked.pid)) return found->second;
  parked.is_interrupted = true;
  has_interrupted_ = true;
  return 0;
}

std::vector<uint64_t> ParkedReads::Killed() {
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

std::vector<uint64_t> ParkedReads::Overdue(uint64_t now_ms, uint64_t limit_ms) {
  std::vector<uint64_t> overdue;
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [id, parked] : parked_) {
    if (now_ms - parked.since_ms > limit_ms) overdue.push_back(id);
  }
  return overdue;
}

void ParkedReads::Clear() {
  std::lock_guard<std::mutex> lock(mutex_);
  parked_.clear();
  id_of_unique_.clear();
}

}  // namespace peel::fuse
