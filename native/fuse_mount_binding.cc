// Mounting for JavaScript: by mount(2) or through fusermount3. Typed in src/native-fuse.ts.
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "bindings.h"
#include "fuse_mount.h"

namespace peel {
namespace {

// mountFuse(path, source, flags, options): a descriptor, or a negated errno
napi_value MountFuse(napi_env env, napi_callback_info info) {
  napi_value arguments[4];
  std::string path;
  std::string source;
  std::string options;
  uint64_t flags = 0;
  if (!Arguments(env, info, arguments) || !GetText(env, arguments[0], path) || !GetText(env, arguments[1], source) ||
      !GetWhole(env, arguments[2], 4294967295.0, flags) || !GetText(env, arguments[3], options)) {
    return nullptr;
  }
  const fuse::Mounted mounted = fuse::MountDirectly(path, source, static_cast<unsigned long>(flags), options);
  return NumberOf(env, mounted.fd >= 0 ? mounted.fd : -mounted.error);
}

class HelperJob final : public Job {
 public:
  HelperJob(std::string program, std::string path, std::string options, int limit_ms)
      : program_(std::move(program)), path_(std::move(path)), options_(std::move(options)), limit_ms_(limit_ms) {}
  ~HelperJob() override {
    if (mounted_.fd >= 0) close(mounted_.fd);
  }

  Status Run() override {
    mounted_ = fuse::MountThroughHelper(program_, path_, options_, limit_ms_);
    return Status::Ok();
  }
  napi_value Result(napi_env env) override {
    napi_value object = nullptr;
    if (napi_create_object(env, &object) != napi_ok ||
        !SetProperty(env, object, "result", NumberOf(env, mounted_.fd >= 0 ? mounted_.fd : -mounted_.error)) ||
        !SetProperty(env, object, "message", BufferOf(env, mounted_.message.data(), mounted_.message.size()))) {
      return nullptr;
    }
    mounted_.fd = -1;  // theirs now
    return object;
  }

 private:
  std::string program_;
  std::string path_;
  std::string options_;
  int limit_ms_;
  fuse::Mounted mounted_;
};

// mountFuseWithHelper(program, path, options, limitMs): Promise<{result, message}>
napi_value MountFuseWithHelper(napi_env env, napi_callback_info info) {
  napi_value arguments[4];
  std::string program;
  std::string path;
  std::string options;
  uint64_t limit = 0;
  if (!Arguments(env, info, arguments) || !GetText(env, arguments[0], program) || !GetText(env, arguments[1], path) ||
      !GetText(env, arguments[2], options) || !GetWhole(env, arguments[3], 1e6, limit)) {
    return nullptr;
  }
  return StartJob(
      env, "peel fusermount",
      std::make_unique<HelperJob>(std::move(program), std::move(path), std::move(options), static_cast<int>(limit)));
}

}  // namespace

bool AddFuseMount(napi_env env, napi_value exports) {
  return SetFunction(env, exports, "mountFuse", MountFuse) &&
         SetFunction(env, exports, "mountFuseWithHelper", MountFuseWithHelper);
}

}  // namespace peel
