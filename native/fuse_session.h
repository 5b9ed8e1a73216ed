// A mounted file system being served: threads that read requests from /dev/fuse and answer them, and a table of the
// reads that wait for JavaScript.
//
//   kernel ──► server thread ──► Ops ──► reply                         cached: JavaScript never hears of it
//                                 │ miss
//                                 ▼
//                            parked ── event ──► JavaScript ── Reply/Fail(id) ──► reply
//                                 ├── INTERRUPT, and the reader is being killed ──► EINTR at once, event
//                                 └── nobody answers (event loop stuck) ──► EIO by the watch thread
//
// A session may begin with a tree of the upper layers alone. What that does not say is parked as well, as a request,
// and asked again by the watch thread when SetTree brought another tree, or answered with EIO by FailWaiting.
//
// Ownership: the session owns its descriptors and the table. Threads: the server threads and the watch thread keep the
// session alive; Start, Stop, Add..., Reply, Fail, SetTree and FailWaiting are for one thread at a time (JavaScript's);
// `wake` is called from any. Errors: a Status from Start and SetTree; later ones as events.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fuse_current.h"
#include "fuse_device.h"
#include "fuse_later.h"
#include "fuse_ops.h"
#include "fuse_parked.h"
#include "fuse_uring.h"
#include "fuse_watchdog.h"
#include "open_files.h"
#include "span_files.h"
#include "status.h"

namespace peel::fuse {

struct Event {
  enum Kind : uint8_t {
    kMiss = 0,         // id, ino, offset, length: answer it
    kInterrupted = 1,  // id: whoever asked has gone
    kUsed = 2,         // layer, span: read from the cache without asking
    // minor, features (low and high half): INIT is done; length: 0 over io_uring, else the errno that keeps it away
    kReady = 3,
    kClosed = 4,     // error: 0 unmounted, else the errno; the last event
    kUnwatched = 5,  // error: the watchdog has ended
    kWaiting = 6,    // a request waits for a layer; told of the first one
    kWanted = 7,     // ino: a backing file would make it faster
    kRefused = 8,    // error: the kernel takes no backing files
  } kind;
  uint64_t id = 0;
  uint64_t ino = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct SessionOptions {
  // Server threads, at least 1.
  unsigned threads = 1;
  // What is parked and not answered for so long fails with EIO; 0: never.
  uint64_t parked_limit_ms = 0;
  // Requests over io_uring, where the kernel has it.
  bool over_uring = false;
  // Of the image; no tree has more.
  uint32_t layers = 0;
  // With passthrough: files of as many bytes or more.
  uint64_t passthrough_from = 0;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  // `tree`: bytes that are not its own outlive the session's threads: Stop() before they go.
  static std::shared_ptr<Session> Create(Tree tree, OpsOptions ops, SessionOptions options, std::function<void()> wake);

  // From now on answers come from `tree`, which knows more than the one before. Not after a whole one.
  void SetTree(Tree tree);
  // Ends what waits for a layer. What asks from now on waits again.
  void FailWaiting(int error);
  // From now on everything ends with `error`, also what the kernel remembers, but for files that it reads by itself.
  // What is parked is for JavaScript to end.
  void FailAll(int error);
  // Layers are being read: what waits for them may wait on.
  void NoteProgress() { parked_.NoteProgress(); }

  // Serves a mounted descriptor, which it owns from now on. Once.
  Status Start(int fd);
  // After it no thread touches the tree, and no event comes. What is asked afterwards is never answered: for the
  // end of the process. Waits for requests under way.
  void Stop();

  SpanFiles& span_files() { return span_files_; }
  OpenFiles& open_files() { return open_files_; }
  std::string PathOf(uint32_t ino) const { return current_.Take()->PathOf(ino); }

  // What has happened since the last call, oldest first.
  std::vector<Event> TakeEvents();

  // Answers a parked read; nothing happens where it is not parked any more. The errno of the write, or 0.
  int Reply(uint64_t id, const uint8_t* data, size_t size);
  int Fail(uint64_t id, int error);

  // Runs `program` (native/watchdog.cc), which aborts connection number `connection` when no thread of this process
  // has had a sign of life for `limit_ms`. An errno, or 0.
  int Watch(const std::string& program, uint32_t connection, uint64_t limit_ms);

  // Requests so far by opcode; reads answered by JavaScript; and requests that waited for a layer.
  uint64_t Count(uint32_t opcode) const { return counts_[opcode].load(std::memory_order_relaxed); }
  uint64_t Misses() const { return misses_.load(std::memory_order_relaxed); }
  // Requests that came over io_uring.
  uint64_t OverUring() const;
  uint64_t Waits() const { return waits_.load(std::memory_order_relaxed); }

 private:
  struct Thread {
    // When its request came, milliseconds of the monotonic clock; 0 while it waits for one.
    std::atomic<uint64_t> busy_since{0};
    std::atomic<uint64_t> over_uring{0};  // requests
  };

  struct UringStart;

  unsigned MostThreads() const;
  Session(Tree tree, OpsOptions ops, SessionOptions options, std::function<void()> wake);

  // What a server thread does before it serves; false where it is not to, with an errno if that ends the service.
  using Begin = std::function<bool(int* error)>;
  bool Launch(std::shared_ptr<Channel> channel, Begin begin);
  void Serve(std::shared_ptr<Channel> channel, Begin begin, size_t index);
  bool ServeOne(const std::shared_ptr<Channel>& channel, Thread& thread, int* error);
  void Dispatch(const std::shared_ptr<Channel>& channel, const Incoming& incoming);
  void Leave(int error);
  // INIT, before anything else, on the first thread.
  bool Agree(const std::shared_ptr<Device>& device, int* error);
  void StartOthers(const Device& device);
  int StartUring(const std::shared_ptr<Device>& device, UringStart* start);
  void StartReaders();
  void ServeLater(size_t index);

  // Answers it, parks it, or puts it off.
  void Respond(const std::shared_ptr<Channel>& channel, const Incoming& incoming, const Request& request, bool may_wait,
               Output& output);
  // The same for one that was kept, as its bytes.
  void RespondAgain(const std::shared_ptr<Channel>& channel, const Place& place, const std::vector<uint8_t>& asked,
                    bool may_wait, Output& output);
  void Park(const std::shared_ptr<Channel>& channel, const Place& place, const Request& request, uint32_t ino,
            size_t length);
  void AskAgainSoon();
  void ForgetInodes();
  void AskAgain();
  void EndInterrupted(uint64_t id);
  void Put(Event event);

  void WatchLoop();
  bool IsAlive(uint64_t now_ms, uint64_t limit_ms) const;

  const SessionOptions options_;
  const std::function<void()> wake_;
  const std::shared_ptr<const OpsOptions> ops_options_;
  SpanFiles span_files_;
  OpenFiles open_files_;
  CurrentOps current_;
  Terms terms_;

  std::unique_ptr<Thread[]> threads_;
  std::atomic<unsigned> started_{0};
  std::atomic<unsigned> running_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<int> fails_with_{0};  // 0: it does not
  std::weak_ptr<Device> device_;    // of the first thread
  std::atomic<int> end_error_{0};
  std::atomic<bool> is_over_uring_{false};
  std::atomic<bool> is_broken_{false};                 // some requests will not be answered any more
  std::vector<std::shared_ptr<UringChannel>> urings_;  // of the first thread

  ParkedRequests parked_;
  LaterReads later_;
  unsigned readers_ = 0;     // threads that serve those
  std::mutex asking_again_;  // held while the watch thread answers

  std::mutex events_mutex_;
  std::vector<Event> events_;
  size_t hints_ = 0;

  std::mutex watch_mutex_;
  std::condition_variable watch_changed_;
  bool watch_ends_ = false;
  bool has_news_ = false;  // a tree, or a watchdog
  Output watch_output_;
  Watchdog watchdog_;

  std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<uint64_t> misses_{0};
  std::atomic<uint64_t> waits_{0};
};

}  // namespace peel::fuse
