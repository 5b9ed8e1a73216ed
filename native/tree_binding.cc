// Stored trees for JavaScript: a file mapped into a Buffer, and the one validator.
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <exception>
#include <memory>

#include "bindings.h"
#include "tree_seal.h"
#include "tree_view.h"

namespace peel {
namespace {

constexpr double kLargestMapping = 4294967295.0;

void Unmap(napi_env, void* data, void* hint) {
  munmap(data, reinterpret_cast<size_t>(hint));
}

// mapFile(fd, length): a Buffer over the file, or the errno as a number. The descriptor may be closed afterwards.
// Writing to the Buffer ends the process; nothing that gets one does.
napi_value MapFile(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  double fd = 0;
  double length = 0;
  if (!Arguments(env, info, arguments) || !GetNumber(env, arguments[0], fd) || !GetNumber(env, arguments[1], length)) {
    return nullptr;
  }
  if (!(length >= 1 && length <= kLargestMapping)) return ThrowType(env, "not a length that can be mapped");
  struct stat stats;
  if (fstat(static_cast<int>(fd), &stats) != 0) return NumberOf(env, errno);
  // Pages behind the end would be SIGBUS.
  if (!S_ISREG(stats.st_mode) || stats.st_size < static_cast<off_t>(length)) return NumberOf(env, EINVAL);
  const auto size = static_cast<size_t>(length);
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, static_cast<int>(fd), 0);
  if (data == MAP_FAILED) return NumberOf(env, errno);
  napi_value buffer = nullptr;
  if (napi_create_external_buffer(env, size, data, Unmap, reinterpret_cast<void*>(size), &buffer) != napi_ok) {
    munmap(data, size);
    return ThrowType(env, "cannot make a Buffer of a mapping");
  }
  return buffer;
}

// Works on the bytes where they lie, hence the reference: they stay until it has run.
class ValidateJob final : public Job {
 public:
  ValidateJob(const uint8_t* data, size_t length) : data_(data), length_(length) {}

  bool Keep(napi_env env, napi_value bytes) {
    env_ = env;
    return napi_create_reference(env, bytes, 1, &reference_) == napi_ok;
  }
  Status Run() override {
    if (Status status = CheckTreeSeal(data_, length_); !status.ok()) return status;
    TreeView view;
    return TreeView::Open(data_, length_, &view);
  }
  void Finally() override {
    if (reference_ != nullptr) napi_delete_reference(env_, reference_);
    reference_ = nullptr;
  }
  napi_value Result(napi_env env) override {
    napi_value nothing = nullptr;
    return napi_get_undefined(env, &nothing) == napi_ok ? nothing : nullptr;
  }

 private:
  const uint8_t* data_;
  size_t length_;
  napi_env env_ = nullptr;
  napi_ref reference_ = nullptr;
};

// validateTree(bytes): Promise<undefined>
napi_value ValidateTree(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  const uint8_t* data = nullptr;
  size_t length = 0;
  if (!Arguments(env, info, arguments) || !GetBytes(env, arguments[0], data, length)) return nullptr;
  try {
    auto job = std::make_unique<ValidateJob>(data, length);
    if (!job->Keep(env, arguments[0])) return ThrowType(env, "cannot keep the bytes of a tree");
    return StartJob(env, "peel validate tree", std::move(job));
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
}

}  // namespace

bool AddTree(napi_env env, napi_value exports) {
  return SetFunction(env, exports, "mapFile", MapFile) && SetFunction(env, exports, "validateTree", ValidateTree);
}

}  // namespace peel
