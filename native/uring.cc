#include "uring.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace peel {
namespace {

uint32_t Load(const uint32_t* shared) {
  return __atomic_load_n(shared, __ATOMIC_ACQUIRE);
}

void Store(uint32_t* shared, uint32_t value) {
  __atomic_store_n(shared, value, __ATOMIC_RELEASE);
}

}  // namespace

int Uring::Create(uint32_t submissions, uint32_t completions, std::unique_ptr<Uring>* out) {
  UringParameters parameters{};
  parameters.flags = kSetCompletions | kDisabled | kLargeSubmissions | kSingleIssuer | kDeferTaskRun | kNoArray;
  parameters.completions = completions;
  std::unique_ptr<Uring> ring(new Uring());
  ring->fd_ = static_cast<int>(syscall(kUringSetup, submissions, &parameters));
  if (ring->fd_ < 0) return errno;
  if ((parameters.features & kSingleMapping) == 0 || (parameters.features & kNoDrop) == 0) return ENOTSUP;
  if (const int error = ring->Map(parameters); error != 0) return error;
  *out = std::move(ring);
  return 0;
}

int Uring::Map(const UringParameters& parameters) {
  const SubmissionOffsets& submission = parameters.submission;
  const CompletionOffsets& completion = parameters.completion;
  const size_t rings_size = completion.completions + parameters.completions * sizeof(Completion);
  const int protection = PROT_READ | PROT_WRITE;
  void* rings = mmap(nullptr, rings_size, protection, MAP_SHARED | MAP_POPULATE, fd_, kRingOffset);
  if (rings == MAP_FAILED) return errno;
  rings_ = rings;
  rings_size_ = rings_size;
  const size_t submissions_size = parameters.submissions * sizeof(Submission);
  void* entries = mmap(nullptr, submissions_size, protection, MAP_SHARED | MAP_POPULATE, fd_, kSubmissionsOffset);
  if (entries == MAP_FAILED) return errno;
  submissions_ = static_cast<Submission*>(entries);
  submissions_size_ = submissions_size;
  entries_ = parameters.submissions;

  auto* base = static_cast<uint8_t*>(rings);
  const auto number = [base](uint32_t offset) { return reinterpret_cast<uint32_t*>(base + offset); };
  submission_head_ = number(submission.head);
  submission_tail_ = number(submission.tail);
  completion_head_ = number(completion.head);
  completion_tail_ = number(completion.tail);
  completions_ = reinterpret_cast<const Completion*>(base + completion.completions);
  completion_mask_ = parameters.completions - 1;
  return 0;
}

Uring::~Uring() {
  if (submissions_ != nullptr) munmap(submissions_, submissions_size_);
  if (rings_ != nullptr) munmap(rings_, rings_size_);
  if (fd_ >= 0) close(fd_);
}

int Uring::Enable() {
  return syscall(kUringRegister, fd_, kEnableRings, nullptr, 0) == 0 ? 0 : errno;
}

Submission* Uring::Next() {
  const uint32_t tail = *submission_tail_;
  if (tail - Load(submission_head_) == entries_ && (Enter(false) != 0 || tail - Load(submission_head_) == entries_)) {
    return nullptr;
  }
  Submission* submission = &submissions_[tail & (entries_ - 1)];
  memset(submission, 0, sizeof(Submission));
  Store(submission_tail_, tail + 1);
  return submission;
}

int Uring::Enter(bool wait) {
  for (;;) {
    const uint32_t waiting = *submission_tail_ - Load(submission_head_);
    const unsigned least = wait && IsEmpty() ? 1 : 0;
    // With kGetEvents it also does what it has to do in this thread, such as copying requests in.
    if (syscall(kUringEnter, fd_, waiting, least, kGetEvents, nullptr, 0) >= 0) {
      if (*submission_tail_ == Load(submission_head_)) return 0;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EBUSY && errno != EAGAIN) return errno;
    if (!IsEmpty()) return EBUSY;
    usleep(1000);  // short of memory, for a moment
  }
}

const Completion* Uring::Peek(uint32_t later) const {
  const uint32_t head = *completion_head_;
  return Load(completion_tail_) - head <= later ? nullptr : &completions_[(head + later) & completion_mask_];
}

bool Uring::Pop(Completion* completion) {
  const Completion* next = Peek(0);
  if (next == nullptr) return false;
  *completion = *next;
  Store(completion_head_, *completion_head_ + 1);
  return true;
}

}  // namespace peel
