// The answers that hold now: replaced as a whole when more of the image is known, taken anew for each request.
//
// Ownership: whoever took them keeps them alive until it lets go. Threads: Set for one, the rest for any. While the
// image is not whole, taking them counts references; the last ones never go, so that steady work shares no counter.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "fuse_ops.h"

namespace peel::fuse {

class CurrentOps {
 public:
  // Valid for as long as it lives.
  class Taken {
   public:
    explicit Taken(const CurrentOps& current) : ops_(current.whole_.load(std::memory_order_acquire)) {
      if (ops_ != nullptr) return;
      held_ = std::atomic_load(&current.ops_);
      ops_ = held_.get();
    }
    const Ops* operator->() const { return ops_; }
    // Whether others have come since.
    bool IsOutdated(const CurrentOps& current) const { return std::atomic_load(&current.ops_).get() != ops_; }

   private:
    std::shared_ptr<const Ops> held_;
    const Ops* ops_;
  };

  void Set(std::shared_ptr<const Ops> ops) {
    const Ops* whole = ops->IsWhole() ? ops.get() : nullptr;
    std::atomic_store(&ops_, std::move(ops));
    whole_.store(whole, std::memory_order_release);
  }
  Taken Take() const { return Taken(*this); }

 private:
  std::shared_ptr<const Ops> ops_;
  std::atomic<const Ops*> whole_{nullptr};
};

}  // namespace peel::fuse
