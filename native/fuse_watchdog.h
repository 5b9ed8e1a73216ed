// The watchdog of a session, as a process of its own (native/watchdog.cc): it aborts the connection when no sign of
// life has come for a while.
//
// Threads: Start for one, the rest for the watch thread, both guarded by whoever owns it. Errors: an errno.
#pragma once

#include <cstdint>
#include <string>

namespace peel::fuse {

class Watchdog {
 public:
  Watchdog() = default;
  ~Watchdog() { End(); }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // Runs `program` for connection number `connection`. Once. An errno, or 0. `releases`: aborting is not enough to free
  // readers, see there.
  int Start(const std::string& program, uint32_t connection, uint64_t limit_ms, bool releases);
  bool is_running() const { return heartbeat_ >= 0; }
  // 0 before Start.
  uint64_t limit_ms() const { return limit_ms_; }

  // A sign of life. False where the watchdog has ended by itself; `*status` is then its exit status, 0 if it had none.
  bool Tell(int* status);
  // Idempotent.
  void End();

 private:
  int heartbeat_ = -1;
  int pid_ = 0;
  uint64_t limit_ms_ = 0;
};

}  // namespace peel::fuse
