// What waits for an answer, and who of those who asked is being killed: reads that wait for JavaScript, each a place to
// answer to and no bytes; and requests that wait for a layer to become known, each with its bytes, to be asked again.
// Nothing is answered here: whoever takes an entry out owes the answer, and nobody else can take it.
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

struct Parked {
  std::shared_ptr<Channel> channel;
  Place place;
  size_t length = 0;           // of its answer, at most
  std::vector<uint8_t> asked;  // a request that waits for a layer; empty for a read
  uint64_t since_ms = 0;
  uint32_t pid = 0;
  bool is_interrupted = false;  // by a signal that did not kill; the kernel says no more when another does
};

class ParkedRequests {
 public:
  // A read. Its id, never 0.
  uint64_t AddRead(const std::shared_ptr<Channel>& channel, const Place& place, uint32_t pid, size_t length);
  // A request that waits for a layer. Whether it is the only one.
  bool AddWaiting(const std::shared_ptr<Channel>& channel, const Incoming& incoming, const Place& place, uint32_t pid);
  // False where it is not there any more: somebody else answers.
  bool Take(uint64_t id, Parked* parked);
  // All requests that wait for a layer.
  std::vector<Parked> TakeWaiting();
  // What waits for layers has not waited in vain up to now.
  void NoteProgress();

  // INTERRUPT for a request. Its id, if it is to end now; 0 otherwise.
  uint64_t Interrupt(uint64_t unique);
  // Interrupted ones for whom those who asked were killed since.
  std::vector<uint64_t> Killed();
  // Those that wait for longer than `limit_ms`: for a layer, counted from the last progress.
  std::vector<uint64_t> Overdue(uint64_t now_ms, uint64_t limit_ms);

  void Clear();

 private:
  // With the lock.
  uint64_t Add(Parked parked);

  std::mutex mutex_;
  std::unordered_map<uint64_t, Parked> parked_;          // by id
  std::unordered_map<uint64_t, uint64_t> id_of_unique_;  // of those
  std::deque<uint64_t> early_interrupts_;                // for what is not parked yet
  bool has_interrupted_ = false;                         // some parked one is
  size_t waiting_ = 0;                                   // for a layer
  uint64_t progress_ms_ = 0;
  uint64_t next_id_ = 1;
};

}  // namespace peel::fuse
