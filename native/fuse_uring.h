// Requests over io_uring as a channel: one thread and its ring for the queues of some processors. Where read(2) and
// write(2) cost a system call each, here one call hands over the answers of all requests so far and waits for more.
//
//   kernel ──► entry: header, payload ──► Take ──► the answer is made in the payload ──► committed with the next wait
//                                           └── parked ── AnswerData of another thread ── eventfd ──► committed
//
// An entry whose read waits for JavaScript is out of use so long, and when all are, no request of that processor
// comes in any more: more entries are made as soon as few are left. INTERRUPT and FORGET still come by /dev/fuse.
//
// Ownership: its ring and the memory of its entries; shares the device. Threads: Create, End and
// answers for any; Register and Take for the one that serves. Errors: an errno.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "fuse_channel.h"
#include "fuse_device.h"
#include "fuse_protocol.h"
#include "uring.h"

namespace peel::fuse {

// The queue of a processor.
struct UringQueue {
  uint16_t number = 0;
  bool is_online = true;  // others get by with one entry until they are used
};

class UringChannel final : public Channel {
 public:
  // `depth`: entries of a queue that are not out of use; `most_resident`: bytes of answers that may stay in memory.
  static int Create(std::shared_ptr<Device> device, const std::vector<UringQueue>& queues, uint32_t depth,
                    size_t most_resident, std::shared_ptr<UringChannel>* out);
  ~UringChannel() override;

  // Gives the kernel the entries, once INIT is done; on the thread that serves from then on. An errno where it refuses
  // one: it then goes back to /dev/fuse by itself, but what comes in here has to be served all the same.
  int Register();
  // Take returns false from now on.
  void End();

  bool Take(Incoming* incoming, int* error) override;
  Output& output() override { return output_; }
  uint8_t* RoomFor(const Place& place) override;
  bool is_alone() const override { return true; }
  int AnswerError(const Place& place, int error) override;
  int AnswerData(const Place& place, const uint8_t* data, size_t size) override;

 private:
  struct Queue {
    uint16_t number = 0;
    uint32_t entries = 0;
    uint32_t taken = 0;  // and not committed yet
    bool may_grow = true;
  };
  struct Entry {
    EntryHeader* header = nullptr;
    uint8_t* payload = nullptr;
    iovec parts[kEntryParts] = {};
    uint32_t queue = 0;
    uint64_t commit_id = 0;
    std::atomic<uint64_t> unique{0};  // of the request that is to be answered; 0: there is none
    bool is_taken = false;            // by us, from its request to its commit
    bool was_used = false;
    size_t resident = 0;  // bytes of the payload behind the first page that answers have touched
  };
  struct Slab {  // memory of some entries
    void* memory;
    size_t size;
  };

  explicit UringChannel(std::shared_ptr<Device> device);
  void StayNear();
  int MakeEntries(uint32_t queue, uint32_t count);
  bool RegisterNew();
  bool Next(Incoming* incoming, int* error);
  bool Submit(const Entry& entry, UringCommand command);
  bool WaitForWake();
  void Receive(Entry& entry, Incoming* incoming);
  void Grow(Queue& queue);
  void Commit(Entry& entry);
  void CommitHandedOver();
  void DropResident();
  int Wait();

  int Answer(const Place& place, int error, const uint8_t* data, size_t size);

  const std::shared_ptr<Device> device_;
  std::unique_ptr<Uring> ring_;
  std::thread::id owner_;
  uint32_t depth_ = 0;
  size_t most_resident_ = 0;
  std::vector<Queue> queues_;
  std::deque<Entry> entries_;  // which stay where they are
  size_t registered_ = 0;      // of those
  std::vector<Slab> slabs_;
  Output output_;
  std::unique_ptr<uint8_t[]> request_;  // what was taken last, in one piece
  size_t uncommitted_ = 0;              // bytes of answers that wait for the next system call
  size_t resident_ = 0;
  uint64_t woken_ = 0;

  int wake_ = -1;  // an eventfd
  std::atomic<bool> is_ended_{false};
  std::mutex mutex_;
  std::vector<Entry*> handed_over_;  // answered by other threads
};

}  // namespace peel::fuse
