#include "fuse_handle.h"

#include <vector>

namespace peel {
namespace {

constexpr size_t kNumbersPerEvent = 5;

}  // namespace

void FuseHandle::End() {
  if (is_over) return;
  is_over = true;
  session->Stop();
  napi_release_threadsafe_function(wake, napi_tsfn_abort);
  if (tree != nullptr) napi_delete_reference(env, tree);
  napi_remove_env_cleanup_hook(env, OnCleanup, this);
}

void Deliver(napi_env env, napi_value callback, void* context, void*) {
  if (env == nullptr || callback == nullptr) return;
  const auto handle = *static_cast<std::shared_ptr<FuseHandle>*>(context);
  if (handle->is_over) return;
  const std::vector<fuse::Event> events = handle->session->TakeEvents();
  double* numbers = nullptr;
  napi_value array = Float64ArrayOf(env, events.size() * kNumbersPerEvent, numbers);
  napi_value global = nullptr;
  if (array == nullptr || napi_get_global(env, &global) != napi_ok) return;
  bool is_closed = false;
  for (const fuse::Event& event : events) {
    *numbers++ = event.kind;
    *numbers++ = static_cast<double>(event.id);
    *numbers++ = static_cast<double>(event.ino);
    *numbers++ = static_cast<double>(event.offset);
    *numbers++ = static_cast<double>(event.length);
    if (event.kind == fuse::Event::kClosed) is_closed = true;
  }
  if (is_closed) handle->End();
  napi_value argument[] = {array};
  napi_value result = nullptr;
  // An exception of the callback is a mistake of ours: it ends the process as any uncaught one.
  napi_call_function(env, global, callback, 1, argument, &result);
}

}  // namespace peel
