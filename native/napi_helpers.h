// The few Node-API idioms of the glue, each once. Only files named *_binding.cc, addon.cc and fuse_handle see Node
// headers.
//
// Ownership: a Job is owned by its async work until it is settled; a handle object owns its C++ value
// through a finalizer. Threads: Job::Run on a pool thread, everything else on the JavaScript thread.
// Errors: no C++ exception leaves a callback; a Status becomes an Error with code, offset, compressedOffset.
#pragma once

#define NAPI_VERSION 8
#include <node_api.h>

#include <cstdint>
#include <memory>
#include <string>

#include "status.h"

namespace peel {

// Work for the pool that settles a promise. Run() may throw std::bad_alloc; it touches no napi value.
class Job {
 public:
  virtual ~Job() = default;
  virtual Status Run() = 0;
  // On the JavaScript thread after Run, also after a failed one: the place to give back what was borrowed.
  virtual void Finally() {}
  // The value to resolve with; nullptr leaves a pending exception, which rejects.
  virtual napi_value Result(napi_env env) = 0;
};

// Starts the job; returns its promise, or nullptr with an exception pending.
napi_value StartJob(napi_env env, const char* name, std::unique_ptr<Job> job);

napi_value ErrorOf(napi_env env, const Status& status);
// Throws and returns nullptr, to be returned.
napi_value Throw(napi_env env, const Status& status);
napi_value ThrowType(napi_env env, const char* message);

// Arguments, checked. False with an exception pending.
template <size_t N>
bool Arguments(napi_env env, napi_callback_info info, napi_value (&values)[N]) {
  size_t count = N;
  if (napi_get_cb_info(env, info, &count, values, nullptr, nullptr) == napi_ok && count >= N) return true;
  ThrowType(env, "native call with too few arguments");
  return false;
}
bool GetNumber(napi_env env, napi_value value, double& number);
// From 0 to `most`, which is at most 2^53 - 1.
bool GetWhole(napi_env env, napi_value value, double most, uint64_t& number);
bool GetBool(napi_env env, napi_value value, bool& flag);
bool GetBytes(napi_env env, napi_value value, const uint8_t*& data, size_t& length);
// The bytes of a path or an option: without a NUL.
bool GetText(napi_env env, napi_value value, std::string& text);
bool GetFloats(napi_env env, napi_value value, const double*& data, size_t& length);

napi_value NumberOf(napi_env env, double number);
napi_value BoolOf(napi_env env, bool flag);
napi_value Undefined(napi_env env);
// Copies.
napi_value BufferOf(napi_env env, const void* data, size_t length);
bool SetProperty(napi_env env, napi_value object, const char* name, napi_value value);
// A Float64Array and room to fill it.
napi_value Float64ArrayOf(napi_env env, size_t length, double*& data);
bool SetFunction(napi_env env, napi_value exports, const char* name, napi_callback callback);

// A JavaScript object that owns a shared C++ value of one class, told apart by the class's type tag.
template <typename T>
class Handle {
 public:
  static napi_value Create(napi_env env, std::shared_ptr<T> value) {
    napi_value object = nullptr;
    auto* holder = new std::shared_ptr<T>(std::move(value));
    if (napi_create_object(env, &object) != napi_ok ||
        napi_wrap(
            env, object, holder, [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<T>*>(data); },
            nullptr, nullptr) != napi_ok) {
      delete holder;
      return ThrowType(env, "cannot make a native object");
    }
    if (napi_type_tag_object(env, object, &T::kTag) != napi_ok) return ThrowType(env, "cannot tag a native object");
    return object;
  }
  // nullptr with an exception pending where `object` is something else.
  static std::shared_ptr<T> Get(napi_env env, napi_value object) {
    bool matches = false;
    void* data = nullptr;
    if (napi_check_object_type_tag(env, object, &T::kTag, &matches) != napi_ok || !matches ||
        napi_unwrap(env, object, &data) != napi_ok) {
      ThrowType(env, "not the native object that was expected");
      return nullptr;
    }
    return *static_cast<std::shared_ptr<T>*>(data);
  }
};

}  // namespace peel
