#include "fuse_session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

namespace peel::fuse {
namespace {

// Room for a request: far more than a read-only file system is sent, BATCH_FORGET apart, which fills what there is.
constexpr size_t kRequestBuffer = 64 * 1024;
static_assert(kRequestBuffer >= kSmallestReadBuffer);
// Ties another descriptor to the connection of the one whose number is passed: requests are then read in parallel.
const unsigned long kCloneDevice = _IOR(229, 0, uint32_t);  // NOLINT(google-runtime-int): ioctl(2)
// Interrupts that came before their read was parked. Few: that takes a signal in the microseconds between.
constexpr size_t kMostEarlyInterrupts = 1024;
// Uses are hints; these wait for JavaScript at most.
constexpr size_t kMostUsedEvents = 4096;
constexpr uint64_t kWatchStepMs = 500;

uint64_t NowMs() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000 + static_cast<uint64_t>(time.tv_nsec) / 1000000;
}

// One reply is one write. ENOENT: the request has gone meanwhile, which is nobody's fault.
int Write(const Device& device, uint64_t unique, int error, const uint8_t* data, size_t size) {
  ReplyHeader header{static_cast<uint32_t>(sizeof(ReplyHeader) + size), -error, unique};
  const iovec parts[2] = {{&header, sizeof(header)}, {const_cast<uint8_t*>(data), size}};
  for (;;) {
    if (writev(device.fd(), parts, size == 0 ? 1 : 2) >= 0) return 0;
    if (errno == EINTR) continue;
    return errno == ENOENT ? 0 : errno;
  }
}

int WriteError(const Device& device, uint64_t unique, int error) {
  return Write(device, unique, error, nullptr, 0);
}

// The bytes, or an error where the kernel does not take them: a reader must not wait for ever.
int WriteData(const Device& device, uint64_t unique, const uint8_t* data, size_t size) {
  const int failed = Write(device, unique, 0, data, size);
  if (failed != 0) WriteError(device, unique, EIO);
  return failed;
}

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

// Threads of ours take no signal: they are Node's.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

template <typename Run>
bool StartThread(const char* name, Run run) {
  const SignalsBlocked blocked;
  try {
    std::thread thread(std::move(run));
    pthread_setname_np(thread.native_handle(), name);
    thread.detach();
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

// Reads one request; 0 with an errno that ends the service, else the bytes.
size_t NextRequest(const Device& device, uint8_t* buffer, int* error) {
  for (;;) {
    const ssize_t count = read(device.fd(), buffer, kRequestBuffer);
    if (count > 0) return static_cast<size_t>(count);
    if (count == 0) {
      *error = EIO;
      return 0;
    }
    if (errno == EINTR || errno == ENOENT) continue;  // ENOENT: taken back before it was read
    if (errno == EAGAIN) {
      pollfd waiting{device.fd(), POLLIN, 0};
      poll(&waiting, 1, -1);
      continue;
    }
    *error = errno;
    return 0;
  }
}

}  // namespace

Device::~Device() {
  close(fd_);
}

Status Session::Create(const uint8_t* data, size_t size, OpsOptions ops, SessionOptions options,
                       std::function<void()> wake, std::shared_ptr<Session>* out) {
  TreeView tree;
  if (Status status = TreeView::Open(data, size, &tree); !status.ok()) return status;
  out->reset(new Session(tree, std::move(ops), options, std::move(wake)));
  return Status::Ok();
}

Session::Session(const TreeView& tree, OpsOptions ops, SessionOptions options, std::function<void()> wake)
    : options_(options),
      wake_(std::move(wake)),
      tree_(tree),
      span_files_(tree.LayerCount(),
                  [this](uint32_t layer, uint32_t span) {
                    Event event{Event::kUsed};
                    event.ino = layer;
                    event.offset = span;
                    Put(event);
                  }),
      ops_(tree_, span_files_, std::move(ops)),
      threads_(new Thread[std::max(options.threads, 1u)]),
      counts_(new std::atomic<uint64_t>[kOpcodes]) {
  for (uint32_t opcode = 0; opcode < kOpcodes; ++opcode) counts_[opcode].store(0);
}

Session::~Session() {
  if (heartbeat_ >= 0) close(heartbeat_);
}

Status Session::Start(int fd) {
  auto device = std::make_shared<Device>(fd);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (!StartThread("peel-watch", [self = shared_from_this()] { self->WatchLoop(); }) || !Launch(device, true)) {
    return Status::Of(Fault::kMemory, "cannot start a thread");
  }
  return Status::Ok();
}

void Session::Stop() {
  stopping_.store(true);
  for (unsigned index = 0; index < std::max(options_.threads, 1u); ++index) {
    while (threads_[index].busy_since.load() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  { std::lock_guard<std::mutex> wakes(events_mutex_); }
  std::lock_guard<std::mutex> lock(watch_mutex_);
  watch_ends_ = true;
  watch_changed_.notify_all();
}

bool Session::Launch(std::shared_ptr<Device> device, bool is_first) {
  const unsigned index = started_.fetch_add(1);
  running_.fetch_add(1);
  const bool is_started =
      StartThread("peel-fuse", [self = shared_from_this(), device = std::move(device), index, is_first]() mutable {
        self->Serve(std::move(device), index, is_first);
      });
  if (!is_started) running_.fetch_sub(1);
  return is_started;
}

// Requests then wait in one queue for whichever thread is free.
void Session::StartOthers(const Device& device) {
  for (unsigned index = 1; index < options_.threads; ++index) {
    const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) return;  // a mount through fusermount3 whose device users may not open: one thread serves it
    auto clone = std::make_shared<Device>(fd);
    auto source = static_cast<uint32_t>(device.fd());
    if (ioctl(fd, kCloneDevice, &source) != 0 || !Launch(std::move(clone), false)) return;
  }
}

void Session::Serve(std::shared_ptr<Device> device, size_t index, bool is_first) {
  int error = 0;
  try {
    const std::unique_ptr<uint8_t[]> buffer(new uint8_t[kRequestBuffer]);
    Output output;
    if (!is_first || Agree(*device, buffer.get(), &error)) {
      if (is_first) StartOthers(*device);
      while (ServeOne(device, threads_[index], buffer.get(), output, &error)) {
      }
    }
  } catch (const std::exception&) {
    error = ENOMEM;
  }
  threads_[index].busy_since.store(0);
  device.reset();
  Leave(error);
}

bool Session::Agree(const Device& device, uint8_t* buffer, int* error) {
  for (;;) {
    const size_t size = NextRequest(device, buffer, error);
    if (size == 0) return false;
    fuse::Request request;
    if (Decode(buffer, size, &request) != Decoded::kOk || request.opcode != kInit) {
      *error = EPROTO;
      return false;
    }
    counts_[kInit].fetch_add(1, std::memory_order_relaxed);
    InitReply reply;
    Terms agreed;
    const Agreement agreement = Negotiate(request.init, ops_.InitWishes(), &reply, &agreed);
    if (agreement == Agreement::kTooOld) {
      WriteError(device, request.unique, EPROTO);
      *error = EPROTONOSUPPORT;
      return false;
    }
    if (agreement == Agreement::kAgreed) ops_.Agree(agreed);
    *error = WriteData(device, request.unique, reinterpret_cast<const uint8_t*>(&reply), sizeof(reply));
    if (*error != 0) return false;
    if (agreement == Agreement::kAskAgain) continue;
    Event ready{Event::kReady};
    ready.id = agreed.minor;
    ready.ino = agreed.features & 0xffffffff;
    ready.offset = agreed.features >> 32;
    Put(ready);
    return true;
  }
}

bool Session::ServeOne(const std::shared_ptr<Device>& device, Thread& thread, uint8_t* buffer, Output& output,
                       int* error) {
  const size_t size = NextRequest(*device, buffer, error);
  if (size == 0) return false;
  // In this order, so that Stop() either sees the thread busy or the thread sees that it stops.
  thread.busy_since.store(NowMs());
  if (stopping_.load()) return false;
  Dispatch(device, buffer, size, output);
  thread.busy_since.store(0);
  return true;
}

void Session::Dispatch(const std::shared_ptr<Device>& device, const uint8_t* bytes, size_t size, Output& output) {
  fuse::Request request;
  const Decoded decoded = Decode(bytes, size, &request);
  if (decoded == Decoded::kUnanswerable) return;
  if (request.opcode < kOpcodes) counts_[request.opcode].fetch_add(1, std::memory_order_relaxed);
  if (decoded == Decoded::kMalformed) {
    WriteError(*device, request.unique, EIO);
    return;
  }
  if (request.opcode == kInterrupt) {
    Interrupt(request.target);
    return;
  }
  const Answer answer = ops_.Respond(request, output);
  switch (answer.kind) {
    case Answer::kNone:
      return;
    case Answer::kMiss:
      Park(device, request, ops_.InoOf(request.node), answer.size);
      return;
    case Answer::kReply:
      if (answer.error != 0) {
        WriteError(*device, request.unique, answer.error);
      } else {
        WriteData(*device, request.unique, answer.data, answer.size);
      }
      return;
  }
}

void Session::Leave(int error) {
  // The end of a mount; whatever else a thread ends with is told.
  if (error != 0 && error != ENODEV) {
    int none = 0;
    end_error_.compare_exchange_strong(none, error);
  }
  if (running_.fetch_sub(1) != 1) return;
  {
    std::lock_guard<std::mutex> lock(parked_mutex_);
    parked_.clear();
    id_of_unique_.clear();
  }
  {
    std::lock_guard<std::mutex> lock(watch_mutex_);
    watch_ends_ = true;
  }
  watch_changed_.notify_all();
  Event closed{Event::kClosed};
  closed.id = static_cast<uint64_t>(end_error_.load());
  Put(closed);
}

void Session::Park(const std::shared_ptr<Device>& device, const fuse::Request& request, uint32_t ino, size_t length) {
  Event event{Event::kMiss};
  {
    std::lock_guard<std::mutex> lock(parked_mutex_);
    const auto early = std::find(early_interrupts_.begin(), early_interrupts_.end(), request.unique);
    const bool is_interrupted = early != early_interrupts_.end();
    if (is_interrupted) {
      early_interrupts_.erase(early);
      has_interrupted_ = true;
    }
    event.id = next_id_++;
    id_of_unique_[request.unique] = event.id;
    parked_.emplace(event.id, Parked{device, request.unique, length, NowMs(), request.pid, is_interrupted});
  }
  misses_.fetch_add(1, std::memory_order_relaxed);
  event.ino = ino;
  event.offset = request.offset;
  event.length = length;
  Put(event);
}

bool Session::Unpark(uint64_t id, Parked* parked) {
  std::lock_guard<std::mutex> lock(parked_mutex_);
  const auto found = parked_.find(id);
  if (found == parked_.end()) return false;
  *parked = std::move(found->second);
  id_of_unique_.erase(parked->unique);
  parked_.erase(found);
  return true;
}

void Session::Interrupt(uint64_t unique) {
  uint64_t id = 0;
  {
    std::lock_guard<std::mutex> lock(parked_mutex_);
    const auto found = id_of_unique_.find(unique);
    if (found == id_of_unique_.end()) {
      // Answered already, or about to be parked by another thread.
      early_interrupts_.push_back(unique);
      if (early_interrupts_.size() > kMostEarlyInterrupts) early_interrupts_.pop_front();
      return;
    }
    id = found->second;
    Parked& parked = parked_.at(id);
    if (!IsBeingKilled(parked.pid)) {
      parked.is_interrupted = true;
      has_interrupted_ = true;
      return;
    }
  }
  EndInterrupted(id);
}

void Session::EndInterrupted(uint64_t id) {
  Parked parked;
  if (!Unpark(id, &parked)) return;
  WriteError(*parked.device, parked.unique, EINTR);
  Event event{Event::kInterrupted};
  event.id = id;
  Put(event);
}

int Session::Reply(uint64_t id, const uint8_t* data, size_t size) {
  Parked parked;
  if (!Unpark(id, &parked)) return 0;
  return WriteData(*parked.device, parked.unique, data, std::min(size, parked.length));
}

int Session::Fail(uint64_t id, int error) {
  Parked parked;
  if (!Unpark(id, &parked)) return 0;
  return WriteError(*parked.device, parked.unique, error);
}

void Session::Put(Event event) {
  std::lock_guard<std::mutex> lock(events_mutex_);
  if (stopping_.load()) return;
  if (event.kind == Event::kUsed && ++used_events_ > kMostUsedEvents) return;
  events_.push_back(event);
  // One call into JavaScript for all that gathers until it comes round. Under the lock, so that Stop() can wait for it.
  if (events_.size() == 1) wake_();
}

std::vector<Event> Session::TakeEvents() {
  std::lock_guard<std::mutex> lock(events_mutex_);
  used_events_ = 0;
  return std::exchange(events_, {});
}

int Session::Watch(const std::string& program, uint32_t connection, uint64_t limit_ms) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno;
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  std::string words[] = {program, std::to_string(connection), std::to_string(limit_ms)};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  char* environment[] = {nullptr};

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  // A session of its own: what stops the server (a terminal, a group) does not stop it.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, program.c_str(), &actions, &attributes, arguments, environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(ends[0]);
  if (error != 0) {
    close(ends[1]);
    return error;
  }
  {
    std::lock_guard<std::mutex> lock(watch_mutex_);
    heartbeat_ = ends[1];
    watchdog_ = pid;
    watch_limit_ms_ = limit_ms;
  }
  watch_changed_.notify_all();
  return 0;
}

// Signs of life, and an end for reads that JavaScript does not answer.
void Session::WatchLoop() {
  std::unique_lock<std::mutex> lock(watch_mutex_);
  while (!watch_ends_) {
    const uint64_t step = watch_limit_ms_ == 0 ? kWatchStepMs : std::min(kWatchStepMs, watch_limit_ms_ / 4 + 1);
    watch_changed_.wait_for(lock, std::chrono::milliseconds(step));
    if (watch_ends_) break;
    const uint64_t now = NowMs();
    if (heartbeat_ >= 0 && IsAlive(now, watch_limit_ms_) && write(heartbeat_, "", 1) < 0 && errno == EPIPE) {
      close(heartbeat_);
      heartbeat_ = -1;
      int status = 0;
      waitpid(watchdog_, &status, 0);
      watchdog_ = 0;
      Event event{Event::kUnwatched};
      event.id = WIFEXITED(status) ? static_cast<uint64_t>(WEXITSTATUS(status)) : 0;
      Put(event);
    }
    lock.unlock();
    EndKilled();
    FailOverdue(now);
    lock.lock();
  }
  if (heartbeat_ >= 0) close(heartbeat_);
  heartbeat_ = -1;
  if (watchdog_ > 0) {
    // It would end with its pipe, but not while somebody has stopped it.
    kill(watchdog_, SIGKILL);
    waitpid(watchdog_, nullptr, 0);
  }
  watchdog_ = 0;
}

// A thread that has had one request for too long is stuck, and so are its readers.
bool Session::IsAlive(uint64_t now_ms, uint64_t limit_ms) const {
  for (unsigned index = 0; index < std::max(options_.threads, 1u); ++index) {
    const uint64_t since = threads_[index].busy_since.load();
    if (since != 0 && now_ms > since && now_ms - since > limit_ms) return false;
  }
  return true;
}

// Readers that were killed after a signal that did not kill them: the kernel tells of one signal alone.
void Session::EndKilled() {
  std::vector<uint64_t> killed;
  {
    std::lock_guard<std::mutex> lock(parked_mutex_);
    if (!has_interrupted_) return;
    has_interrupted_ = false;
    for (const auto& [id, parked] : parked_) {
      if (!parked.is_interrupted) continue;
      has_interrupted_ = true;
      if (IsBeingKilled(parked.pid)) killed.push_back(id);
    }
  }
  for (const uint64_t id : killed) EndInterrupted(id);
}

void Session::FailOverdue(uint64_t now_ms) {
  if (options_.parked_limit_ms == 0) return;
  std::vector<uint64_t> overdue;
  {
    std::lock_guard<std::mutex> lock(parked_mutex_);
    for (const auto& [id, parked] : parked_) {
      if (now_ms - parked.since_ms > options_.parked_limit_ms) overdue.push_back(id);
    }
  }
  for (const uint64_t id : overdue) Fail(id, EIO);
}

}  // namespace peel::fuse
