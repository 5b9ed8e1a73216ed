// The addon as Node loads it. The typed, validating face of these functions is src/native/; nothing else
// may call them. No state is shared between threads of JavaScript that load it, but for the list of lanes.
#include "bindings.h"

NAPI_MODULE_INIT() {
  if (!peel::AddScanner(env, exports) || !peel::AddFramer(env, exports) || !peel::AddDecoder(env, exports) ||
      !peel::AddSyscalls(env, exports) || !peel::AddTree(env, exports) || !peel::AddFuseMount(env, exports) ||
      !peel::AddFuse(env, exports)) {
    napi_throw_error(env, nullptr, "cannot set up the native part");
    return nullptr;
  }
  return exports;
}
