#include "fuse_uring.h"

#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace peel::fuse {
namespace {

constexpr uint32_t kSubmissions = 128;
constexpr uint32_t kCompletions = 1024;
// A read(2) of the eventfd; all else is about an entry.
constexpr uint64_t kWake = 0;
// Of a queue. Only reads that wait for JavaScript make it grow, and the kernel sends no more than that many ahead.
constexpr uint32_t kMostEntries = 1024;
// Room for a request in one piece. What is longer belongs to a request that writes, and is refused whatever it says.
constexpr size_t kRequestRoom = 16 * 1024;
// Answers of so many bytes are not kept back for those of the requests behind them.
constexpr size_t kMostUncommitted = 64 * 1024;

// The end of a mount.
bool IsEnd(int error) {
  return error == ENOTCONN || error == ECONNABORTED || error == ECANCELED || error == ENODEV;
}

size_t PagesOf(size_t size) {
  return (size + kPageSize - 1) / kPageSize * kPageSize;
}

}  // namespace

UringChannel::UringChannel(std::shared_ptr<Device> device)
    : device_(std::move(device)), request_(new uint8_t[kRequestRoom]) {}

UringChannel::~UringChannel() {
  ring_.reset();
  for (const Slab& slab : slabs_) munmap(slab.memory, slab.size);
  if (wake_ >= 0) close(wake_);
}

int UringChannel::Create(std::shared_ptr<Device> device, const std::vector<UringQueue>& queues, uint32_t depth,
                         size_t most_resident, std::shared_ptr<UringChannel>* out) {
  std::shared_ptr<UringChannel> channel(new UringChannel(std::move(device)));
  channel->depth_ = depth;
  channel->most_resident_ = most_resident;
  channel->wake_ = eventfd(0, EFD_CLOEXEC);
  if (channel->wake_ < 0) return errno;
  if (const int error = Uring::Create(kSubmissions, kCompletions, &channel->ring_); error != 0) return error;
  for (const UringQueue& queue : queues) {
    channel->queues_.push_back(Queue{queue.number, 0, 0, true});
    const auto index = static_cast<uint32_t>(channel->queues_.size() - 1);
    if (const int error = channel->MakeEntries(index, queue.is_online ? depth : 1); error != 0) return error;
  }
  *out = std::move(channel);
  return 0;
}

int UringChannel::MakeEntries(uint32_t queue, uint32_t count) {
  const size_t headers = PagesOf(count * sizeof(EntryHeader));
  const size_t size = headers + count * kMaxAnswer;
  // Pages come as they are touched.
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return errno;
  // One page at a time: a huge one for every entry that was ever used would be half the machine.
  madvise(memory, size, MADV_NOHUGEPAGE);
  slabs_.push_back(Slab{memory, size});
  auto* bytes = static_cast<uint8_t*>(memory);
  for (uint32_t i = 0; i < count; ++i) {
    Entry& entry = entries_.emplace_back();
    entry.header = reinterpret_cast<EntryHeader*>(bytes) + i;
    entry.payload = bytes + headers + i * kMaxAnswer;
    entry.parts[0] = {entry.header, sizeof(EntryHeader)};
    entry.parts[1] = {entry.payload, kMaxAnswer};
    entry.queue = queue;
  }
  queues_[queue].entries += count;
  const std::lock_guard<std::mutex> lock(mutex_);
  handed_over_.reserve(entries_.size());
  return 0;
}

int UringChannel::Register() {
  owner_ = std::this_thread::get_id();
  StayNear();
  if (const int error = ring_->Enable(); error != 0) return error;
  if (!WaitForWake() || !RegisterNew()) return EBUSY;
  if (const int error = ring_->Enter(false); error != 0) return error;
  // An entry that is taken completes with its first request, one that is not completes now.
  for (uint32_t i = 0; const Completion* completion = ring_->Peek(i); ++i) {
    if (completion->result < 0) return -completion->result;
  }
  return 0;
}

// On the processors of its queues, where whoever asks has just gone to sleep. Where it may not, it does without.
void UringChannel::StayNear() {
  // Sets of processors come in words of the kernel.
  std::vector<unsigned long> words;  // NOLINT(google-runtime-int): sched_setaffinity(2)
  constexpr size_t kBits = 8 * sizeof(words[0]);
  for (const Queue& queue : queues_) {
    if (words.size() <= queue.number / kBits) words.resize(queue.number / kBits + 1);
    words[queue.number / kBits] |= 1ul << queue.number % kBits;
  }
  sched_setaffinity(0, words.size() * sizeof(words[0]), reinterpret_cast<const cpu_set_t*>(words.data()));
}

bool UringChannel::RegisterNew() {
  for (; registered_ < entries_.size(); ++registered_) {
    if (!Submit(entries_[registered_], kRegister)) return false;
  }
  return true;
}

bool UringChannel::Submit(const Entry& entry, UringCommand command) {
  Submission* submission = ring_->Next();
  if (submission == nullptr) return false;
  submission->opcode = kUringCommand;
  submission->fd = device_->fd();
  submission->offset = command;
  submission->user_data = reinterpret_cast<uint64_t>(&entry);
  if (command == kRegister) {
    submission->address = reinterpret_cast<uint64_t>(entry.parts);
    submission->length = kEntryParts;
  }
  const UringArguments arguments{0, entry.commit_id, queues_[entry.queue].number, {}};
  memcpy(submission->command, &arguments, sizeof(arguments));
  return true;
}

bool UringChannel::WaitForWake() {
  Submission* submission = ring_->Next();
  if (submission == nullptr) return false;
  submission->opcode = kUringRead;
  submission->fd = wake_;
  submission->address = reinterpret_cast<uint64_t>(&woken_);
  submission->length = sizeof(woken_);
  submission->user_data = kWake;
  return true;
}

bool UringChannel::Take(Incoming* incoming, int* error) {
  if (Next(incoming, error)) return true;
  // Requests that are still on their way to this thread end as all others of the connection, rather than with it.
  Completion dropped;
  for (ring_->Enter(false); !ring_->IsEmpty(); ring_->Enter(false)) {
    while (ring_->Pop(&dropped)) {
    }
  }
  return false;
}

bool UringChannel::Next(Incoming* incoming, int* error) {
  for (;;) {
    Completion completion;
    if (is_ended_.load()) {
      *error = ENODEV;
      return false;
    }
    if (!ring_->Pop(&completion)) {
      *error = Wait();
      if (*error != 0) return false;
      continue;
    }
    if (completion.user_data == kWake) {
      CommitHandedOver();
      if (WaitForWake()) continue;
      *error = EBUSY;
      return false;
    }
    Entry& entry = *reinterpret_cast<Entry*>(completion.user_data);
    if (completion.result == 0) {
      Receive(entry, incoming);
      return true;
    }
    if (!entry.was_used && !IsEnd(-completion.result)) {
      // The kernel has no memory for it.
      queues_[entry.queue].entries -= 1;
      queues_[entry.queue].may_grow = false;
      continue;
    }
    *error = IsEnd(-completion.result) ? ENODEV : -completion.result;
    return false;
  }
}

// Everything that was answered goes to the kernel, and there is nothing else to do.
int UringChannel::Wait() {
  CommitHandedOver();
  if (resident_ > most_resident_) DropResident();
  uncommitted_ = 0;
  const int error = ring_->Enter(true);
  return error == EBUSY ? 0 : error;
}

// Puts the parts of the request together as they would have been read.
void UringChannel::Receive(Entry& entry, Incoming* incoming) {
  entry.was_used = true;
  const EntryHeader& header = *entry.header;
  RequestHeader request;
  memcpy(&request, header.message, sizeof(request));
  const size_t payload = header.info.payload_size;
  const size_t arguments = size_t{request.length} - sizeof(request);
  uint8_t* at = request_.get() + sizeof(request);
  // A length that does not fit is left as it is: the decoder refuses it.
  if (request.length >= sizeof(request) && payload <= arguments && arguments - payload <= sizeof(header.argument)) {
    const size_t first = arguments - payload;
    const size_t others = std::min(payload, kRequestRoom - sizeof(request) - first);
    memcpy(at, header.argument, first);
    memcpy(at + first, entry.payload, others);
    at += first + others;
    request.length = static_cast<uint32_t>(at - request_.get());
  } else {
    request.length = 0;
  }
  memcpy(request_.get(), &request, sizeof(request));

  entry.commit_id = header.info.commit_id;
  entry.unique.store(request.unique);
  output_.Use(entry.payload);
  *incoming = Incoming{request_.get(), static_cast<size_t>(at - request_.get()), reinterpret_cast<uint64_t>(&entry)};

  Queue& queue = queues_[entry.queue];
  entry.is_taken = true;
  queue.taken += 1;
  if (queue.entries < queue.taken + depth_ / 2) Grow(queue);
  if (uncommitted_ >= kMostUncommitted) {
    uncommitted_ = 0;
    ring_->Enter(false);
  }
}

void UringChannel::Grow(Queue& queue) {
  if (!queue.may_grow || queue.entries >= kMostEntries) return;
  if (MakeEntries(static_cast<uint32_t>(&queue - queues_.data()), depth_) != 0 || !RegisterNew()) {
    queue.may_grow = false;
    return;
  }
  // At once: a request that finds no entry waits for the next commit of its queue.
  ring_->Enter(false);
}

uint8_t* UringChannel::RoomFor(const Place& place) {
  return reinterpret_cast<Entry*>(place.entry)->payload;
}

int UringChannel::AnswerError(const Place& place, int error) {
  return Answer(place, error, nullptr, 0);
}

int UringChannel::AnswerData(const Place& place, const uint8_t* data, size_t size) {
  if (size <= kMaxAnswer) return Answer(place, 0, data, size);
  AnswerError(place, EIO);
  return EIO;
}

int UringChannel::Answer(const Place& place, int error, const uint8_t* data, size_t size) {
  Entry& entry = *reinterpret_cast<Entry*>(place.entry);
  uint64_t unique = place.unique;
  if (!entry.unique.compare_exchange_strong(unique, 0)) return 0;
  const ReplyHeader header{static_cast<uint32_t>(sizeof(ReplyHeader) + size), -error, place.unique};
  memcpy(entry.header->message, &header, sizeof(header));
  entry.header->info.payload_size = static_cast<uint32_t>(size);
  if (size != 0 && data != entry.payload) memcpy(entry.payload, data, size);
  if (std::this_thread::get_id() == owner_) {
    Commit(entry);
    return 0;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  handed_over_.push_back(&entry);
  constexpr uint64_t kOne = 1;
  if (handed_over_.size() == 1 && write(wake_, &kOne, sizeof(kOne)) < 0) return errno;
  return 0;
}

void UringChannel::CommitHandedOver() {
  std::vector<Entry*> answered;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (handed_over_.empty()) return;
    answered.reserve(entries_.size());
    answered.swap(handed_over_);
  }
  for (Entry* entry : answered) Commit(*entry);
}

void UringChannel::Commit(Entry& entry) {
  const size_t size = entry.header->info.payload_size;
  if (!Submit(entry, kCommitAndFetch)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    handed_over_.push_back(&entry);
    return;
  }
  entry.is_taken = false;
  queues_[entry.queue].taken -= 1;
  uncommitted_ += size;
  if (size <= kPageSize + entry.resident) return;
  resident_ += size - kPageSize - entry.resident;
  entry.resident = size - kPageSize;
}

// Gives back what large answers have left in memory. The first page stays: the next request may be in it already.
void UringChannel::DropResident() {
  if (ring_->Enter(false) != 0) return;  // the kernel has not taken all answers yet
  for (Entry& entry : entries_) {
    if (entry.resident == 0 || entry.is_taken) continue;
    madvise(entry.payload + kPageSize, PagesOf(entry.resident), MADV_DONTNEED);
    resident_ -= entry.resident;
    entry.resident = 0;
  }
}

void UringChannel::End() {
  is_ended_.store(true);
  constexpr uint64_t kOne = 1;
  if (write(wake_, &kOne, sizeof(kOne)) < 0) return;  // cannot be: it is full only after 2^64 wakes
}

}  // namespace peel::fuse
