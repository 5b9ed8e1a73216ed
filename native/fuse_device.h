// A descriptor of /dev/fuse: requests are read from it, answers written to it.
//
// Ownership: closes its descriptor, so it is shared by those who owe an answer. Threads: any number; requests go to
// whoever reads first. Errors: an errno.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace peel::fuse {

// Room for a request: far more than a read-only file system is sent, BATCH_FORGET apart, which fills what there is.
constexpr size_t kRequestBuffer = 64 * 1024;

class Device {
 public:
  explicit Device(int fd) : fd_(fd) {}
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  int fd() const { return fd_; }

  // Another descriptor of the same connection, so that requests are read in parallel. Null where this process may not
  // open /dev/fuse, as in a mount through fusermount3.
  std::shared_ptr<Device> Clone() const;

  // Waits for a request and reads it into `buffer`, of kRequestBuffer bytes; 0 with an errno that ends the service.
  size_t Take(uint8_t* buffer, int* error) const;

  // 0 also where the request has gone meanwhile, which is nobody's fault.
  int AnswerError(uint64_t unique, int error) const;
  // The bytes, or an error where the kernel does not take them: a reader must not wait for ever.
  int AnswerData(uint64_t unique, const uint8_t* data, size_t size) const;

 private:
  int Write(uint64_t unique, int error, const uint8_t* data, size_t size) const;

  const int fd_;
};

}  // namespace peel::fuse
