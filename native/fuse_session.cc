#include "fuse_session.h"

#include <errno.h>

#include <algorithm>
#include <chrono>
#include <exception>
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

void Session::FailAll(int error) {
  fails_with_.store(error);
  FailWaiting(error);
  // On a thread of its own: it waits for reads, and those may wait for JavaScript.
  StartThread("peel-forget", [self = shared_from_this()] { self->ForgetInodes(); });
}

void Session::ForgetInodes() {
  const uint32_t count = current_.Take()->InodeCount();
  for (uint32_t ino = 1; ino <= count; ++ino) {
    const std::shared_ptr<Device> device = device_.lock();
    if (device == nullptr || stopping_.load()) return;
    device->Forget(ino);
  }
}

unsigned Session::MostThreads() const {
  return 2 * std::max(options_.threads, 1u) + kMostChannels;
}

uint64_t Session::OverUring() const {
  uint64_t sum = 0;
  for (unsigned index = 0; index < MostThreads(); ++index) {
    sum += threads_[index].over_uring.load(std::memory_order_relaxed);
  }
  return sum;
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
    later_.End();
  }
  // Descriptors are closed before the end is told.
  begin = nullptr;
  channel.reset();
  Leave(error);
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
  Respond(channel, incoming, request, !channel->is_alone() || readers_ == 0, channel->output());
}

void Session::RespondAgain(const std::shared_ptr<Channel>& channel, const Place& place,
                           const std::vector<uint8_t>& asked, bool may_wait, Output& output) {
  fuse::Request request;
  const Incoming incoming{asked.data(), asked.size(), place.entry};
  // It was whole when it came.
  if (Decode(asked.data(), asked.size(), &request) == Decoded::kOk) {
    Respond(channel, incoming, request, may_wait, output);
  }
}

void Session::ServeLater(size_t index) {
  Thread& thread = threads_[index];
  int error = 0;
  try {
    Output output;
    LaterRead read;
    while (later_.Take(&read)) {
      thread.busy_since.store(MonotonicMs());
      if (stopping_.load()) break;
      output.Use(read.channel->RoomFor(read.place));
      RespondAgain(read.channel, read.place, read.asked, true, output);
      read = LaterRead();
      thread.busy_since.store(0);
    }
  } catch (const std::exception&) {
    error = ENOMEM;
    is_broken_.store(true);
  }
  thread.busy_since.store(0);
  Leave(error);
}

void Session::Respond(const std::shared_ptr<Channel>& channel, const Incoming& incoming, const fuse::Request& request,
                      bool may_wait, Output& output) {
  const Place place{request.unique, incoming.entry};
  // Until the answer is out: it may lie in the tree.
  const CurrentOps::Taken ops = current_.Take();
  const Answer answer = ops->Respond(request, terms_, may_wait, output);
  if (const int error = fails_with_.load(std::memory_order_relaxed); error != 0 && answer.kind != Answer::kNone) {
    channel->AnswerError(place, error);
    return;
  }
  switch (answer.kind) {
    case Answer::kNone:
      return;
    case Answer::kMiss:
      Park(channel, place, request, ops->InoOf(request.node), answer.size);
      return;
    case Answer::kLater:
      later_.Put(LaterRead{channel, place, {incoming.bytes, incoming.bytes + incoming.size}});
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
    RespondAgain(parked.channel, parked.place, parked.asked, readers_ == 0, watch_output_);
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
