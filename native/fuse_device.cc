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

// Room for a request: far more than a read-only file system is sent, BATCH_FORGET apart, which fills what there is.
constexpr size_t kRequestBuffer = 64 * 1024;
static_assert(kRequestBuffer >= kSmallestReadBuffer);
// Ties another descriptor to the connection of the one whose number is passed.
const unsigned long kCloneDevice = _IOR(229, 0, uint32_t);  // NOLINT(google-runtime-int): ioctl(2)

}  // namespace

Device::Device(int fd) : fd_(fd), buffer_(new uint8_t[kRequestBuffer]) {}

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

bool Device::Take(Incoming* incoming, int* error) {
  for (;;) {
    const ssize_t count = read(fd_, buffer_.get(), kRequestBuffer);
    if (count > 0) {
      *incoming = Incoming{buffer_.get(), static_cast<size_t>(count), 0};
      return true;
    }
    if (count == 0) {
      *error = EIO;
      return false;
    }
    if (errno == EINTR || errno == ENOENT) continue;  // ENOENT: taken back before it was read
    if (errno == EAGAIN) {
      pollfd waiting{fd_, POLLIN, 0};
      poll(&waiting, 1, -1);
      continue;
    }
    *error = errno;
    return false;
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

int Device::AnswerError(const Place& place, int error) {
  return Write(place.unique, error, nullptr, 0);
}

int Device::AnswerData(const Place& place, const uint8_t* data, size_t size) {
  const int failed = Write(place.unique, 0, data, size);
  if (failed != 0) AnswerError(place, EIO);
  return failed;
}

void Device::Forget(uint64_t node) const {
  const InvalidateInode all{node, 0, 0};
  Write(0, -kNotifyInvalidateInode, reinterpret_cast<const uint8_t*>(&all), sizeof(all));
}

}  // namespace peel::fuse
