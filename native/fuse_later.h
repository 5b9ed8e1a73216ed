// Reads whose bytes are on the disk and not in memory: a thread that has requests of others behind them, as one over
// io_uring has, leaves them to threads that may wait.
//
// Ownership: a read that is here is answered by whoever takes it. Threads: any. Errors: none.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "fuse_channel.h"

namespace peel::fuse {

struct LaterRead {
  std::shared_ptr<Channel> channel;
  Place place;
  std::vector<uint8_t> asked;  // the bytes of the request
};

class LaterReads {
 public:
  void Put(LaterRead read);
  // Waits for one; false after End().
  bool Take(LaterRead* read);
  // What is there still is dropped: nobody waits for it any more.
  void End();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<LaterRead> reads_;
  bool is_ended_ = false;
};

}  // namespace peel::fuse
