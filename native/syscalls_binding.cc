// What Node does not offer: SHA-256 on the pool, holes in files, overlays, unmounting without touching the mount.
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mount.h>

#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "sha256.h"

namespace peel {
namespace {

// Works on a copy: JavaScript may change, transfer or free the bytes meanwhile.
class HashJob final : public Job {
 public:
  HashJob(const uint8_t* data, size_t length) : bytes_(data, data + length) {}

  Status Run() override {
    Sha256 hash;
    hash.Update(bytes_.data(), bytes_.size());
    digest_ = hash.Finish();
    return Status::Ok();
  }
  napi_value Result(napi_env env) override { return BufferOf(env, digest_.data(), digest_.size()); }

 private:
  std::vector<uint8_t> bytes_;
  Digest32 digest_{};
};

// sha256(bytes): Promise<Buffer>
napi_value HashBytes(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  const uint8_t* data = nullptr;
  size_t length = 0;
  if (!Arguments(env, info, arguments) || !GetBytes(env, arguments[0], data, length)) return nullptr;
  try {
    return StartJob(env, "peel sha256", std::make_unique<HashJob>(data, length));
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
}

// punchHole(fd, offset, length): 0, or the errno
napi_value PunchHole(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  double fd = 0;
  double offset = 0;
  double length = 0;
  if (!Arguments(env, info, arguments) || !GetNumber(env, arguments[0], fd) || !GetNumber(env, arguments[1], offset) ||
      !GetNumber(env, arguments[2], length)) {
    return nullptr;
  }
  int result = 0;
  do {
    result = fallocate(static_cast<int>(fd), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                       static_cast<off_t>(length));
  } while (result != 0 && errno == EINTR);
  return NumberOf(env, result == 0 ? 0 : errno);
}

// unmount(pathBytes, lazy): 0, or the errno
napi_value Unmount(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  const uint8_t* data = nullptr;
  size_t length = 0;
  bool lazy = false;
  if (!Arguments(env, info, arguments) || !GetBytes(env, arguments[0], data, length) ||
      !GetBool(env, arguments[1], lazy)) {
    return nullptr;
  }
  const std::string path(reinterpret_cast<const char*>(data), length);
  const int result = umount2(path.c_str(), UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0));
  return NumberOf(env, result == 0 ? 0 : errno);
}

// On the pool: the kernel asks the lower layer before it answers, and that may be one that JavaScript serves.
class OverlayJob final : public Job {
 public:
  OverlayJob(std::string path, std::string options) : path_(std::move(path)), options_(std::move(options)) {}

  Status Run() override {
    if (mount("overlay", path_.c_str(), "overlay", 0, options_.c_str()) != 0) errno_ = errno;
    return Status::Ok();
  }
  napi_value Result(napi_env env) override { return NumberOf(env, errno_); }

 private:
  std::string path_;
  std::string options_;
  int errno_ = 0;
};

// mountOverlay(pathBytes, optionsBytes): a promise of 0, or the errno
napi_value MountOverlay(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  const uint8_t* data[2] = {};
  size_t lengths[2] = {};
  if (!Arguments(env, info, arguments) || !GetBytes(env, arguments[0], data[0], lengths[0]) ||
      !GetBytes(env, arguments[1], data[1], lengths[1])) {
    return nullptr;
  }
  try {
    const auto text = [&](int at) { return std::string(reinterpret_cast<const char*>(data[at]), lengths[at]); };
    return StartJob(env, "peel overlay", std::make_unique<OverlayJob>(text(0), text(1)));
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
}

}  // namespace

bool AddSyscalls(napi_env env, napi_value exports) {
  return SetFunction(env, exports, "sha256", HashBytes) && SetFunction(env, exports, "punchHole", PunchHole) &&
         SetFunction(env, exports, "unmount", Unmount) && SetFunction(env, exports, "mountOverlay", MountOverlay);
}

}  // namespace peel
