// An io_uring: submissions go to the kernel and completions come back, many of either for one system call. Without
// liburing, which hosts lack.
//
// Ownership: its descriptor and mappings. Threads: any may create one; from Enable() on it belongs to that thread.
// Errors: an errno.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "uring_protocol.h"

namespace peel {

class Uring {
 public:
  // Room for so many of each, powers of two. Completions for which there is no room are kept by the kernel.
  static int Create(uint32_t submissions, uint32_t completions, std::unique_ptr<Uring>* out);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  // Ties it to the calling thread. Once.
  int Enable();

  // A zeroed submission to be filled in before the next call. Null where the kernel takes no more of them now.
  Submission* Next();
  // Hands over all that was filled in; with `wait` it returns when there is a completion. EBUSY: not all of it, first
  // completions have to be taken.
  int Enter(bool wait);
  // False where there is none.
  bool Pop(Completion* completion);
  // The one that many Pops later; null where there is none.
  const Completion* Peek(uint32_t later) const;
  bool IsEmpty() const { return Peek(0) == nullptr; }

 private:
  Uring() = default;
  int Map(const UringParameters& parameters);

  int fd_ = -1;
  void* rings_ = nullptr;
  size_t rings_size_ = 0;
  Submission* submissions_ = nullptr;
  size_t submissions_size_ = 0;
  uint32_t entries_ = 0;

  // Shared with the kernel.
  uint32_t* submission_head_ = nullptr;
  uint32_t* submission_tail_ = nullptr;
  uint32_t* completion_head_ = nullptr;
  uint32_t* completion_tail_ = nullptr;
  const Completion* completions_ = nullptr;
  uint32_t completion_mask_ = 0;
};

}  // namespace peel
