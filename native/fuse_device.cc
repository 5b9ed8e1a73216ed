#include "fuse_device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fuse_protocol.h"

namespace peel::fuse {
namespace {

static_assert(kRequestBuffer >= kSmallestReadBuffer);
// Ties another descriptor to the connection of the one whose number is passed.
const unsigned long kCloneDevice = _IOR(229, 0, uint32_t);  // NOLINT(google-runtime-int): ioctl(2)

}  // namespace

Device::~Device() {
  close(fd_);
}

std::shared_ptr<Device> Device::Clone() const {
  const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  auto clone = std::make_shared<Device>(fd);
  auto source = static_cast<uint32_t>(fd_);
  return ioctl(fd, kCloneDevice, &source) == 0 ? clone : nullptr;
}

size_t Device::Take(uint8_t* buffer, int* error) const {
  for (;;) {
    const ssize_t count = read(fd_, buffer, kRequestBuffer);
    if (count > 0) return static_cast<size_t>(count);
    if (count == 0) {
      *error = EIO;
      return 0;
    }
    if (errno == EINTR || errno == ENOENT) continue;  // ENOENT: taken back before it was read
    if (errno == EAGAIN) {
      pollfd waiting{fd_, POLLIN, 0};
      poll(&waiting, 1, -1);
      continue;
    }
    *error = errno;
    return 0;
  }
}

// One reply is one write.
int Device::Write(uint64_t unique, int error, const uint8_t* data, size_t size) const {
  ReplyHeader header{static_cast<uint32_t>(sizeof(ReplyHeader) + size), -error, unique};
  const iovec parts[2] = {{&header, sizeof(header)}, {const_cast<uint8_t*>(data), size}};
  for (;;) {
    if (writev(fd_, parts, size == 0 ? 1 : 2) >= 0) return 0;
    if (errno == EINTR) continue;
    return errno == ENOENT ? 0 : errno;
  }
}

int Device::AnswerError(uint64_t unique, int error) const {
  return Write(unique, error, nullptr, 0);
}

int Device::AnswerData(uint64_t unique, const uint8_t* data, size_t size) const {
  const int failed = Write(unique, 0, data, size);
  if (failed != 0) AnswerError(unique, EIO);
  return failed;
}

}  // namespace peel::fuse
