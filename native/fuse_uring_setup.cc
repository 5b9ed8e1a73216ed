#include "fuse_uring_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

namespace peel::fuse {
namespace {

// Entries that a queue has beyond those out of use. Each costs the kernel half a kilobyte, so many processors have
// fewer: readers of a burst are spread over them.
constexpr size_t kEntriesOnline = 256;
constexpr size_t kMostDepth = 64;
constexpr size_t kLeastDepth = 8;
// What large answers may leave in memory, all channels together.
constexpr size_t kMostResident = 16 * 1024 * 1024;
// Queue numbers are 16 bits wide.
constexpr size_t kMostProcessors = 65535;

// Numbers as "0-3,8"; empty where that cannot be read.
std::vector<uint16_t> ReadProcessors(const char* path) {
  std::vector<uint16_t> numbers;
  char text[4096];
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return numbers;
  const ssize_t length = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (length <= 0) return numbers;
  text[length] = '\0';
  for (char* at = text; *at >= '0' && *at <= '9';) {
    const size_t first = strtoul(at, &at, 10);
    const size_t last = *at == '-' ? strtoul(at + 1, &at, 10) : first;
    if (last < first || last >= kMostProcessors) return {};
    for (size_t number = first; number <= last; ++number) numbers.push_back(static_cast<uint16_t>(number));
    if (*at == ',') ++at;
  }
  return numbers;
}

// Sends a command all the way to FUSE, past whatever may forbid it (a filter of system calls, a sysctl, a security
// module). Before INIT it is told to try again; anything else is a no.
int Probe(const Device& device) {
  std::unique_ptr<Uring> ring;
  if (const int error = Uring::Create(1, 2, &ring); error != 0) return error;
  if (const int error = ring->Enable(); error != 0) return error;
  Submission* submission = ring->Next();
  submission->opcode = kUringCommand;
  submission->fd = device.fd();
  submission->offset = kRegister;
  if (const int error = ring->Enter(true); error != 0) return error;
  Completion completion;
  if (!ring->Pop(&completion)) return EIO;
  if (completion.result == -EAGAIN) return 0;
  return completion.result < 0 ? -completion.result : EIO;
}

}  // namespace

int PrepareUring(const std::shared_ptr<Device>& device, std::vector<std::shared_ptr<UringChannel>>* channels) {
  if (const int error = Probe(*device); error != 0) return error;
  // One for every processor that this machine may ever have.
  const size_t possible = ReadProcessors("/sys/devices/system/cpu/possible").size();
  const std::vector<uint16_t> online = ReadProcessors("/sys/devices/system/cpu/online");
  if (possible == 0 || online.empty()) return ENOTSUP;

  const size_t count = std::min<size_t>(online.size(), kMostChannels);
  const size_t depth = std::clamp(kEntriesOnline / online.size(), kLeastDepth, kMostDepth);
  std::vector<std::vector<UringQueue>> queues(count);
  for (size_t number = 0; number < possible; ++number) {
    const auto processor = static_cast<uint16_t>(number);
    const bool is_online = std::find(online.begin(), online.end(), processor) != online.end();
    queues[number % count].push_back(UringQueue{processor, is_online});
  }
  for (const std::vector<UringQueue>& each : queues) {
    std::shared_ptr<UringChannel> channel;
    const int error = UringChannel::Create(device, each, static_cast<uint32_t>(depth), kMostResident / count, &channel);
    if (error != 0) {
      channels->clear();
      return error;
    }
    channels->push_back(std::move(channel));
  }
  return 0;
}

}  // namespace peel::fuse
