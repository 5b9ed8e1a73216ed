// How a session begins: INIT, and the threads that serve what was agreed on.
#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <future>
#include <memory>
#include <utility>

#include "fuse_session.h"
#include "fuse_thread.h"
#include "fuse_uring_setup.h"

namespace peel::fuse {

Status Session::Start(int fd) {
  auto device = std::make_shared<Device>(fd);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  open_files_.Begin(device);
  device_ = device;
  Begin agree = [this, device](int* error) { return Agree(device, error); };
  if (!StartThread("peel-watch", [self = shared_from_this()] { self->WatchLoop(); }) ||
      !Launch(device, std::move(agree))) {
    return Status::Of(Fault::kMemory, "cannot start a thread");
  }
  return Status::Ok();
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

// For the reads that a thread over io_uring must not wait with.
void Session::StartReaders() {
  for (unsigned count = 0; count < std::max(options_.threads, 1u); ++count) {
    const unsigned index = started_.fetch_add(1);
    running_.fetch_add(1);
    if (!StartThread("peel-disk", [self = shared_from_this(), index] { self->ServeLater(index); })) {
      running_.fetch_sub(1);
      return;
    }
    readers_ += 1;
  }
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
      StartReaders();
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

}  // namespace peel::fuse
