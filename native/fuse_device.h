// A descriptor of /dev/fuse as a channel: requests are read from it, answers written to it.
//
// Ownership: closes its descriptor, so it is shared by those who owe an answer. Threads: the descriptors of one
// connection share its queue; a request goes to whoever reads first. Errors: an errno.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "fuse_channel.h"

namespace peel::fuse {

class Device final : public Channel {
 public:
  explicit Device(int fd);
  ~Device() override;
  int fd() const { return fd_; }

  // Another descriptor of the same connection. Null where this process may not open /dev/fuse, as in a mount through
  // fusermount3.
  std::shared_ptr<Device> Clone() const;

  bool Take(Incoming* incoming, int* error) override;
  Output& output() override { return output_; }
  int AnswerError(const Place& place, int error) override;
  int AnswerData(const Place& place, const uint8_t* data, size_t size) override;
  // The kernel lets go of what it keeps of an inode: attributes and pages. Waits for reads of these that are under way.
  void Forget(uint64_t node) const;

 private:
  int Write(uint64_t unique, int error, const uint8_t* data, size_t size) const;

  const int fd_;
  const std::unique_ptr<uint8_t[]> buffer_;
  Output output_;
};

}  // namespace peel::fuse
