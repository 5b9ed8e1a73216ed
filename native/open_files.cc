#include "open_files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "own_file.h"

namespace peel::fuse {
namespace {

// How a handle was opened; what is too small to be counted has 0.
constexpr uint64_t kCachedHandle = 1;
constexpr uint64_t kPassedHandle = 2;

struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
static_assert(sizeof(BackingMap) == 16);
const unsigned long kBackingOpen = _IOW(229, 1, BackingMap);  // NOLINT(google-runtime-int): ioctl(2)
const unsigned long kBackingClose = _IOW(229, 2, uint32_t);   // NOLINT(google-runtime-int): ioctl(2)

OpenReply Cached(uint64_t handle) {
  return OpenReply{handle, kKeepCache, 0};
}

OpenReply PassedBy(int32_t id) {
  // Alone: the kernel refuses it beside kKeepCache.
  return OpenReply{kPassedHandle, kPassthroughHandle, id};
}

}  // namespace

OpenFiles::OpenFiles(uint64_t least_size, Listener listener)
    : least_size_(least_size), listener_(std::move(listener)) {}

void OpenFiles::Begin(const std::shared_ptr<Device>& device) {
  std::lock_guard<std::mutex> lock(mutex_);
  device_ = device;
}

bool OpenFiles::AddBacking(uint32_t ino, const std::string& path, int fd) {
  Identity identity;
  if (!Identify(fd, &identity)) return false;
  std::lock_guard<std::mutex> lock(mutex_);
  backings_[ino] = BackingFile{path, identity};
  return true;
}

OpenReply OpenFiles::Open(uint32_t ino, uint64_t size) {
  if (size < least_size_) return Cached(0);
  int refused = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    OpenFile& file = open_[ino];
    // The kernel wants the id of the other handles, even where the file has been removed since.
    if (file.passed == 0 && file.cached == 0) file.id = Register(ino, size, &refused);
    if (file.id != 0) {
      ++file.passed;
      ++passed_;
      return PassedBy(file.id);
    }
    ++file.cached;
    if (is_refused_ && refused == 0) return Cached(kCachedHandle);
  }
  if (refused != 0) {
    listener_.refused(refused);
  } else {
    listener_.wanted(ino);
  }
  return Cached(kCachedHandle);
}

void OpenFiles::Release(uint32_t ino, uint64_t handle) {
  if (handle != kCachedHandle && handle != kPassedHandle) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = open_.find(ino);
    if (found == open_.end()) return;
    OpenFile& file = found->second;
    uint64_t& handles = handle == kPassedHandle ? file.passed : file.cached;
    if (handles == 0 || --handles > 0) return;
    if (file.id != 0) Unregister(file.id);
    const bool is_wanted = file.id == 0 && !is_refused_;
    open_.erase(found);
    if (!is_wanted) return;
  }
  // By now it may have been read to its end.
  listener_.wanted(ino);
}

uint64_t OpenFiles::Passed() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return passed_;
}

bool OpenFiles::Identity::operator==(const Identity& other) const {
  return device == other.device && inode == other.inode && born_sec == other.born_sec && born_nsec == other.born_nsec;
}

bool OpenFiles::Identify(int fd, Identity* identity) {
  struct statx stats {};
  // A file system without a time of birth leaves it 0.
  if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stats) != 0) return false;
  identity->device = uint64_t{stats.stx_dev_major} << 32 | stats.stx_dev_minor;
  identity->inode = stats.stx_ino;
  identity->born_sec = stats.stx_btime.tv_sec;
  identity->born_nsec = stats.stx_btime.tv_nsec;
  return true;
}

// The id of the inode's backing file, 0 where there is none (any more).
int32_t OpenFiles::Register(uint32_t ino, uint64_t size, int* refused) {
  const auto found = backings_.find(ino);
  const std::shared_ptr<Device> device = device_.lock();
  if (is_refused_ || found == backings_.end() || device == nullptr) return 0;
  const BackingFile& backing = found->second;
  struct stat stats;
  const int fd = OpenOwnFile(backing.path, &stats);
  Identity identity;
  // Another file under its name has other bytes until somebody has verified them.
  if (fd < 0 || !Identify(fd, &identity) || !(identity == backing.identity) ||
      static_cast<uint64_t>(stats.st_size) != size) {
    if (fd >= 0) close(fd);
    backings_.erase(found);
    return 0;
  }
  // For eviction: used now. Does not matter where it fails.
  const timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  futimens(fd, times);
  BackingMap map{fd, 0, 0};
  const int id = ioctl(device->fd(), kBackingOpen, &map);
  if (id <= 0) {
    *refused = id == 0 ? EINVAL : errno;
    is_refused_ = true;
  }
  close(fd);
  return id > 0 ? id : 0;
}

void OpenFiles::Unregister(int32_t id) const {
  const std::shared_ptr<Device> device = device_.lock();
  auto number = static_cast<uint32_t>(id);
  if (device != nullptr) ioctl(device->fd(), kBackingClose, &number);
}

}  // namespace peel::fuse
