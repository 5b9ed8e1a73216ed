#include "napi_helpers.h"

#include <cmath>
#include <exception>
#include <utility>

namespace peel {
namespace {

const char* CodeOf(Fault fault) {
  switch (fault) {
    case Fault::kNone:
    case Fault::kInvalid:
      return "invalid";
    case Fault::kLimit:
      return "limit";
    case Fault::kUnsupported:
      return "unsupported";
    case Fault::kWindow:
      return "window";
    case Fault::kClosed:
      return "closed";
    case Fault::kMemory:
      return "memory";
  }
  return "invalid";
}

struct Running {
  std::unique_ptr<Job> job;
  Status status;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
};

void Execute(napi_env, void* data) {
  auto* running = static_cast<Running*>(data);
  try {
    running->status = running->job->Run();
  } catch (const std::exception&) {
    running->status = Status::Of(Fault::kMemory, "out of memory");
  }
}

void Complete(napi_env env, napi_status work_status, void* data) {
  std::unique_ptr<Running> running(static_cast<Running*>(data));
  if (work_status == napi_cancelled) running->status = Status::Of(Fault::kClosed, "cancelled");
  running->job->Finally();
  napi_value value = nullptr;
  if (running->status.ok()) value = running->job->Result(env);
  if (value != nullptr) {
    napi_resolve_deferred(env, running->deferred, value);
  } else {
    napi_value error = nullptr;
    bool pending = false;
    napi_is_exception_pending(env, &pending);
    if (pending) {
      napi_get_and_clear_last_exception(env, &error);
    } else {
      if (running->status.ok()) running->status = Status::Of(Fault::kMemory, "cannot make the result");
      error = ErrorOf(env, running->status);
    }
    if (error != nullptr) napi_reject_deferred(env, running->deferred, error);
  }
  napi_delete_async_work(env, running->work);
}

}  // namespace

napi_value StartJob(napi_env env, const char* name, std::unique_ptr<Job> job) {
  auto running = std::make_unique<Running>();
  running->job = std::move(job);
  napi_value promise = nullptr;
  napi_value label = nullptr;
  if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &label) != napi_ok ||
      napi_create_async_work(env, nullptr, label, Execute, Complete, running.get(), &running->work) != napi_ok) {
    running->job->Finally();
    return ThrowType(env, "cannot start native work");
  }
  if (napi_create_promise(env, &running->deferred, &promise) != napi_ok ||
      napi_queue_async_work(env, running->work) != napi_ok) {
    napi_delete_async_work(env, running->work);
    running->job->Finally();
    return ThrowType(env, "cannot start native work");
  }
  running.release();  // Complete() owns it now
  return promise;
}

napi_value ErrorOf(napi_env env, const Status& status) {
  napi_value code = nullptr;
  napi_value message = nullptr;
  napi_value error = nullptr;
  if (napi_create_string_utf8(env, CodeOf(status.fault), NAPI_AUTO_LENGTH, &code) != napi_ok ||
      napi_create_string_utf8(env, status.message.data(), status.message.size(), &message) != napi_ok ||
      napi_create_error(env, code, message, &error) != napi_ok) {
    return nullptr;
  }
  if (status.offset >= 0) SetProperty(env, error, "offset", NumberOf(env, static_cast<double>(status.offset)));
  if (status.compressed_offset >= 0) {
    SetProperty(env, error, "compressedOffset", NumberOf(env, static_cast<double>(status.compressed_offset)));
  }
  return error;
}

napi_value Throw(napi_env env, const Status& status) {
  napi_value error = ErrorOf(env, status);
  if (error != nullptr) napi_throw(env, error);
  return nullptr;
}

napi_value ThrowType(napi_env env, const char* message) {
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && !pending) napi_throw_type_error(env, nullptr, message);
  return nullptr;
}

bool GetNumber(napi_env env, napi_value value, double& number) {
  if (napi_get_value_double(env, value, &number) == napi_ok) return true;
  ThrowType(env, "not a number");
  return false;
}

bool GetWhole(napi_env env, napi_value value, double most, uint64_t& number) {
  double given = 0;
  if (!GetNumber(env, value, given)) return false;
  if (!(given >= 0 && given <= most) || given != std::floor(given)) {
    ThrowType(env, "number out of range");
    return false;
  }
  number = static_cast<uint64_t>(given);
  return true;
}

bool GetBool(napi_env env, napi_value value, bool& flag) {
  if (napi_get_value_bool(env, value, &flag) == napi_ok) return true;
  ThrowType(env, "not a boolean");
  return false;
}

bool GetBytes(napi_env env, napi_value value, const uint8_t*& data, size_t& length) {
  bool is_typed_array = false;
  napi_typedarray_type type;
  void* memory = nullptr;
  if (napi_is_typedarray(env, value, &is_typed_array) == napi_ok && is_typed_array &&
      napi_get_typedarray_info(env, value, &type, &length, &memory, nullptr, nullptr) == napi_ok &&
      type == napi_uint8_array) {
    data = static_cast<const uint8_t*>(memory);
    return true;
  }
  ThrowType(env, "not a Uint8Array");
  return false;
}

bool GetText(napi_env env, napi_value value, std::string& text) {
  const uint8_t* data = nullptr;
  size_t length = 0;
  if (!GetBytes(env, value, data, length)) return false;
  text.assign(reinterpret_cast<const char*>(data), length);
  if (text.find('\0') == std::string::npos) return true;
  ThrowType(env, "a NUL byte in a path or an option");
  return false;
}

bool GetFloats(napi_env env, napi_value value, const double*& data, size_t& length) {
  bool is_typed_array = false;
  napi_typedarray_type type;
  void* memory = nullptr;
  if (napi_is_typedarray(env, value, &is_typed_array) == napi_ok && is_typed_array &&
      napi_get_typedarray_info(env, value, &type, &length, &memory, nullptr, nullptr) == napi_ok &&
      type == napi_float64_array) {
    data = static_cast<const double*>(memory);
    return true;
  }
  ThrowType(env, "not a Float64Array");
  return false;
}

napi_value NumberOf(napi_env env, double number) {
  napi_value value = nullptr;
  return napi_create_double(env, number, &value) == napi_ok ? value : nullptr;
}

napi_value BoolOf(napi_env env, bool flag) {
  napi_value value = nullptr;
  return napi_get_boolean(env, flag, &value) == napi_ok ? value : nullptr;
}

napi_value Undefined(napi_env env) {
  napi_value value = nullptr;
  return napi_get_undefined(env, &value) == napi_ok ? value : nullptr;
}

napi_value BufferOf(napi_env env, const void* data, size_t length) {
  napi_value value = nullptr;
  return napi_create_buffer_copy(env, length, data, nullptr, &value) == napi_ok ? value : nullptr;
}

bool SetProperty(napi_env env, napi_value object, const char* name, napi_value value) {
  return value != nullptr && napi_set_named_property(env, object, name, value) == napi_ok;
}

napi_value Float64ArrayOf(napi_env env, size_t length, double*& data) {
  napi_value memory = nullptr;
  napi_value array = nullptr;
  void* bytes = nullptr;
  if (napi_create_arraybuffer(env, length * sizeof(double), &bytes, &memory) != napi_ok ||
      napi_create_typedarray(env, napi_float64_array, length, memory, 0, &array) != napi_ok) {
    return nullptr;
  }
  data = static_cast<double*>(bytes);
  return array;
}

bool SetFunction(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function = nullptr;
  return napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) == napi_ok &&
         SetProperty(env, exports, name, function);
}

}  // namespace peel
