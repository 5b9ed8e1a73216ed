// The reads that wait for JavaScript, and who of their readers is being killed. An entry is a place to answer to, no
// bytes. Nothing is answered here: whoever takes an entry out owes the answer, and nobody else can take it.
//
// Threads: any. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "fuse_channel.h"

namespace peel::fuse {

struct ParkedRead {
  std::shared_ptr<Channel> channel;
  Place place;
  size_t length = 0;  // of its answer, at most
  uint64_t since_ms = 0;
  uint32_t pid = 0;
  bool is_interrupted = false;  // by a signal that did not kill; the kernel says no more when another does
};

class ParkedReads {
 public:
  // Its id, never 0.
  uint64_t Add(const std::shared_ptr<Channel>& channel, const Place& place, uint32_t pid, size_t length);
  // False where it is not there any more: somebody else answers.
  bool Take(uint64_t id, ParkedRead* parked);

  // INTERRUPT for a request. The id of its read, if that is to end now; 0 otherwise.
  uint64_t Interrupt(uint64_t unique);
  // Interrupted reads whose readers were killed since.
  std::vector<uint64_t> Killed();
  // Those that wait for longer than `limit_ms`.
  std::vector<uint64_t> Overdue(uint64_t now_ms, uint64_t limit_ms);

  void Clear();

 private:
  std::mutex mutex_;
  std::unordered_map<uint64_t, ParkedRead> parked_;      // by id
  std::unordered_map<uint64_t, uint64_t> id_of_unique_;  // of those
  std::deque<uint64_t> early_interrupts_;                // for reads that are not parked yet
  bool has_interrupted_ = false;                         // some parked read is
  uint64_t next_id_ = 1;
};

}  // namespace peel::fuse
