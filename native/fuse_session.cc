#include "fuse_session.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "fuse_thread.h"
#include "fuse_uring_setup.h"
#include "monotonic.h"

namespace peel::fuse {
namespace {

// Events that are hints; these wait for JavaScript at most.
constexpr size_t kMostHints = 4096;
constexpr uint64_t kWatchStepMs = 500;

}  // namespace

std::shared_ptr<Session> Session::Create(Tree tree, OpsOptions ops, SessionOptions options,
                                         std::function<void()> wake) {
  return std::shared_ptr<Session>(new Session(std::move(tree), std::move(ops), options, std::move(wake)));
}

Session::Session(Tree tree, OpsOptions ops, SessionOptions options, std::function<void()> wake)
    : options_(options),
      wake_(std::move(wake)),
      ops_options_(std::make_shared<const OpsOptions>(std::move(ops))),
      span_files_(std::max(options.layers, tree.view.LayerCount()),
                  [this](uint32_t layer, uint32_t span) {
                    Event event{Event::kUsed};
                    event.ino = layer;
                    event.offset = span;
                    Put(event);
                  }),
      open_files_(options.passthrough_from, {[this](uint32_t ino) {
                                               Event event{Event::kWanted};
                                               event.ino = ino;
                                               Put(event);
                                             },
                                             [this](int error) {
                                               Event event{Event::kRefused};
                                               event.id = static_cast<uint64_t>(error);
                                               Put(event);
                                             }}),
      threads_(new Thread[MostThreads()]),
      counts_(new std::atomic<uint64_t>[kOpcodes]) {
  for (uint32_t opcode = 0; opcode < kOpcodes; ++opcode) counts_[opcode].store(0);
  SetTree(std::move(tree));
}

void Session::SetTree(Tree tree) {
  current_.Set(std::make_shared<const Ops>(std::move(tree), span_files_, open_files_, ops_options_));
  parked_.NoteProgress();
  AskAgainSoon();
}

void Session::FailWaiting(int error) {
  for (const Parked& parked : parked_.TakeWaiting()) parked.channel->AnswerError(parked.place, error);
}

unsigned Session::MostThreads() const {
  return std::max(options_.threads, 1u) + kMostChannels;
}

uint64_t Session::OverUring() const {
  uint64_t sum = 0;
  for (unsigned index = 0; index < MostThreads(); ++index) {
    sum += threads_[index].over_uring.load(std::memory_order_relaxed);
  }
  return sum;
}

Status Session::Start(int fd) {
  auto device = std::make_shared<Device>(fd);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  open_files_.Begin(device);
  Begin agree = [this, device](int* error) { return Agree(device, error); };
  if (!StartThread("peel-watch", [self = shared_from_this()] { self->WatchLoop(); }) ||
      !Launch(device, std::move(agree))) {
    return Status::Of(Fault::kMemory, "cannot start a thread");
  }
  return Status::Ok();
}

void Session::Stop() {
  stopping_.store(true);
  for (unsigned index = 0; index < MostThreads(); ++index) {
    while (threads_[index].busy_since.load() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  { std::lock_guard<std::mutex> wakes(events_mutex_); }
  { std::lock_guard<std::mutex> answers(asking_again_); }
  std::lock_guard<std::mutex> lock(watch_mutex_);
  watch_ends_ = true;
  watch_changed_.notify_all();
}

bool Session::Launch(std::shared_ptr<Channel> channel, Begin begin) {
  const unsigned index = started_.fetch_add(1);
  running_.fetch_add(1);
  const bool is_started =
      StartThread("peel-fuse", [self = shared_from_this(), channel = std::move(channel), begin = std::move(begin),
                                index]() mutable { self->Serve(std::move(channel), std::move(begin), index); });
  if (!is_started) running_.fetch_sub(1);
  return is_started;
}

// Requests then wait in one queue for whichever thread is free.
void Session::StartOthers(const Device& device) {
  for (unsigned index = 1; index < options_.threads; ++index) {
    std::shared_ptr<Device> clone = device.Clone();
    if (clone == nullptr || !Launch(std::move(clone), [](int*) { return true; })) return;
  }
}

// Threads with a channel over io_uring each, which are there before INIT promises them and wait for its outcome.
struct Session::UringStart {
  ~UringStart() { Tell(false); }

  void Tell(bool is_agreed) {
    if (!is_told) outcome.set_value(is_agreed);
    is_told = true;
  }

  std::promise<bool> outcome;
  std::shared_future<bool> is_agreed = outcome.get_future().share();
  std::vector<std::future<int>> registered;
  bool is_told = false;
};

int Session::StartUring(const std::shared_ptr<Device>& device, UringStart* start) {
  std::vector<std::shared_ptr<UringChannel>> channels;
  if (const int error = PrepareUring(device, &channels); error != 0) return error;
  for (const std::shared_ptr<UringChannel>& channel : channels) {
    auto registered = std::make_shared<std::promise<int>>();
    start->registered.push_back(registered->get_future());
    Begin begin = [channel, registered, is_agreed = start->is_agreed](int*) {
      if (!is_agreed.get()) return false;
      registered->set_value(channel->Register());
      return true;
    };
    if (!Launch(channel, std::move(begin))) return EAGAIN;
  }
  urings_ = std::move(channels);
  return 0;
}

void Session::Serve(std::shared_ptr<Channel> channel, Begin begin, size_t index) {
  int error = 0;
  try {
    if (begin(&error)) {
      begin = nullptr;
      while (ServeOne(channel, threads_[index], &error)) {
      }
    }
  } catch (const std::exception&) {
    error = ENOMEM;
  }
  threads_[index].busy_since.store(0);
  if (error != 0 && error != ENODEV && error != ECONNABORTED) is_broken_.store(true);
  // An io_uring does not hear of the end of the mount while all that it has is parked.
  if (index == 0) {
    for (const std::shared_ptr<UringChannel>& uring : urings_) uring->End();
    urings_.clear();
  }
  // Descriptors are closed before the end is told.
  begin = nullptr;
  channel.reset();
  Leave(error);
}

bool Session::Agree(const std::shared_ptr<Device>& device, int* error) {
  for (;;) {
    Incoming incoming;
    if (!device->Take(&incoming, error)) return false;
    fuse::Request request;
    if (Decode(incoming.bytes, incoming.size, &request) != Decoded::kOk || request.opcode != kInit) {
      *error = EPROTO;
      return false;
    }
    const Place place{request.unique, incoming.entry};
    counts_[kInit].fetch_add(1, std::memory_order_relaxed);
    Wishes wishes = current_.Take()->InitWishes();
    UringStart uring;
    int uring_error = ENOTSUP;
    if (options_.over_uring && request.init.major == kMajor && (Offered(request.init) & kOverUring) != 0) {
      uring_error = StartUring(device, &uring);
    }
    wishes.over_uring = uring_error == 0;
    InitReply reply;
    Terms agreed;
    const Agreement agreement = Negotiate(request.init, wishes, &reply, &agreed);
    if (agreement == Agreement::kTooOld) {
      device->AnswerError(place, EPROTO);
      *error = EPROTONOSUPPORT;
      return false;
    }
    if (agreement == Agreement::kAgreed) terms_ = agreed;
    *error = device->AnswerData(place, reinterpret_cast<const uint8_t*>(&reply), sizeof(reply));
    if (*error != 0) return false;
    if (agreement == Agreement::kAskAgain) continue;
    if (uring_error == 0) {
      is_over_uring_.store(true);
      uring.Tell(true);
      for (std::future<int>& registered : uring.registered) {
        if (const int refused = registered.get(); refused != 0) uring_error = refused;
      }
    }
    if (uring_error != 0) StartOthers(*device);
    Event ready{Event::kReady};
    ready.id = agreed.minor;
    ready.ino = agreed.features & 0xffffffff;
    ready.offset = agreed.features >> 32;
    ready.length = static_cast<uint64_t>(uring_error);
    Put(ready);
    return true;
  }
}

// False when it is to end; `*error` then says why.
bool Session::ServeOne(const std::shared_ptr<Channel>& channel, Thread& thread, int* error) {
  Incoming incoming;
  if (!channel->Take(&incoming, error)) return false;
  // In this order, so that Stop() either sees the thread busy or the thread sees that it stops.
  thread.busy_since.store(MonotonicMs());
  if (stopping_.load()) return false;
  if (incoming.entry != 0) thread.over_uring.fetch_add(1, std::memory_order_relaxed);
  Dispatch(channel, incoming);
  thread.busy_since.store(0);
  return true;
}

void Session::Dispatch(const std::shared_ptr<Channel>& channel, const Incoming& incoming) {
  fuse::Request request;
  const Decoded decoded = Decode(incoming.bytes, incoming.size, &request);
  if (decoded == Decoded::kUnanswerable) return;
  const Place place{request.unique, incoming.entry};
  if (request.opcode < kOpcodes) counts_[request.opcode].fetch_add(1, std::memory_order_relaxed);
  if (decoded == Decoded::kMalformed) {
    channel->AnswerError(place, EIO);
    return;
  }
  if (request.opcode == kInterrupt) {
    if (const uint64_t id = parked_.Interrupt(request.target); id != 0) EndInterrupted(id);
    return;
  }
  Respond(channel, incoming, request, channel->output());
}

void Session::Respond(const std::shared_ptr<Channel>& channel, const Incoming& incoming, const fuse::Request& request,
                      Output& output) {
  const Place place{request.unique, incoming.entry};
  // Until the answer is out: it may lie in the tree.
  const CurrentOps::Taken ops = current_.Take();
  const Answer answer = ops->Respond(request, terms_, output);
  switch (answer.kind) {
    case Answer::kNone:
      return;
    case Answer::kMiss:
      Park(channel, place, request, ops->InoOf(request.node), answer.size);
      return;
    case Answer::kUnknown:
      waits_.fetch_add(1, std::memory_order_relaxed);
      if (parked_.AddWaiting(channel, incoming, place, request.pid)) Put(Event{Event::kWaiting});
      if (ops.IsOutdated(current_)) AskAgainSoon();
      return;
    case Answer::kReply:
      if (answer.error != 0) {
        channel->AnswerError(place, answer.error);
      } else {
        channel->AnswerData(place, answer.data, answer.size);
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
  parked_.Clear();
  {
    std::lock_guard<std::mutex> lock(watch_mutex_);
    watch_ends_ = true;
  }
  watch_changed_.notify_all();
  Event closed{Event::kClosed};
  closed.id = static_cast<uint64_t>(end_error_.load());
  Put(closed);
}

void Session::Park(const std::shared_ptr<Channel>& channel, const Place& place, const fuse::Request& request,
                   uint32_t ino, size_t length) {
  Event event{Event::kMiss};
  event.id = parked_.AddRead(channel, place, request.pid, length);
  event.ino = ino;
  event.offset = request.offset;
  event.length = length;
  misses_.fetch_add(1, std::memory_order_relaxed);
  Put(event);
}

void Session::AskAgainSoon() {
  {
    std::lock_guard<std::mutex> lock(watch_mutex_);
    has_news_ = true;
  }
  watch_changed_.notify_all();
}

// What is not known even now is parked anew.
void Session::AskAgain() {
  std::lock_guard<std::mutex> asking(asking_again_);
  if (stopping_.load()) return;
  for (const Parked& parked : parked_.TakeWaiting()) {
    fuse::Request request;
    const Incoming incoming{parked.asked.data(), parked.asked.size(), parked.place.entry};
    // It was whole when it came.
    if (Decode(incoming.bytes, incoming.size, &request) == Decoded::kOk) {
      Respond(parked.channel, incoming, request, watch_output_);
    }
  }
}

void Session::EndInterrupted(uint64_t id) {
  Parked parked;
  if (!parked_.Take(id, &parked)) return;
  parked.channel->AnswerError(parked.place, EINTR);
  Event event{Event::kInterrupted};
  event.id = id;
  Put(event);
}

int Session::Reply(uint64_t id, const uint8_t* data, size_t size) {
  Parked parked;
  if (!parked_.Take(id, &parked)) return 0;
  return parked.channel->AnswerData(parked.place, data, std::min(size, parked.length));
}

int Session::Fail(uint64_t id, int error) {
  Parked parked;
  if (!parked_.Take(id, &parked)) return 0;
  return parked.channel->AnswerError(parked.place, error);
}

void Session::Put(Event event) {
  std::lock_guard<std::mutex> lock(events_mutex_);
  if (stopping_.load()) return;
  const bool is_hint = event.kind == Event::kUsed || event.kind == Event::kWanted;
  if (is_hint && ++hints_ > kMostHints) return;
  events_.push_back(event);
  // One call into JavaScript for all that gathers until it comes round. Under the lock, so that Stop() can wait for it.
  if (events_.size() == 1) wake_();
}

std::vector<Event> Session::TakeEvents() {
  std::lock_guard<std::mutex> lock(events_mutex_);
  hints_ = 0;
  return std::exchange(events_, {});
}

int Session::Watch(const std::string& program, uint32_t connection, uint64_t limit_ms) {
  {
    std::lock_guard<std::mutex> lock(watch_mutex_);
    if (const int error = watchdog_.Start(program, connection, limit_ms, is_over_uring_.load()); error != 0)
      return error;
    has_news_ = true;
  }
  watch_changed_.notify_all();
  return 0;
}

// Signs of life, answers for what waited for a layer, and an end for what JavaScript does not answer.
void Session::WatchLoop() {
  std::unique_lock<std::mutex> lock(watch_mutex_);
  while (!watch_ends_) {
    const uint64_t limit_ms = watchdog_.limit_ms();
    const uint64_t step = limit_ms == 0 ? kWatchStepMs : std::min(kWatchStepMs, limit_ms / 4 + 1);
    watch_changed_.wait_for(lock, std::chrono::milliseconds(step), [this] { return watch_ends_ || has_news_; });
    if (watch_ends_) break;
    const bool has_news = std::exchange(has_news_, false);
    const uint64_t now = MonotonicMs();
    int status = 0;
    if (watchdog_.is_running() && IsAlive(now, watchdog_.limit_ms()) && !watchdog_.Tell(&status)) {
      Event event{Event::kUnwatched};
      event.id = static_cast<uint64_t>(status);
      Put(event);
    }
    lock.unlock();
    if (has_news) AskAgain();
    for (const uint64_t id : parked_.Killed()) EndInterrupted(id);
    if (options_.parked_limit_ms != 0) {
      for (const uint64_t id : parked_.Overdue(now, options_.parked_limit_ms)) Fail(id, EIO);
    }
    lock.lock();
  }
  watchdog_.End();
}

// A thread that has had one request for too long is stuck, and so are its readers.
bool Session::IsAlive(uint64_t now_ms, uint64_t limit_ms) const {
  if (is_broken_.load()) return false;
  for (unsigned index = 0; index < MostThreads(); ++index) {
    const uint64_t since = threads_[index].busy_since.load();
    if (since != 0 && now_ms > since && now_ms - since > limit_ms) return false;
  }
  return true;
}

}  // namespace peel::fuse
