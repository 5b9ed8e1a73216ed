// What each *_binding.cc adds to the exports; addon.cc calls them in turn.
#pragma once

#include "napi_helpers.h"

namespace peel {

bool AddScanner(napi_env env, napi_value exports);
bool AddDecoder(napi_env env, napi_value exports);
bool AddSyscalls(napi_env env, napi_value exports);
bool AddTree(napi_env env, napi_value exports);
bool AddFuseMount(napi_env env, napi_value exports);
bool AddFuse(napi_env env, napi_value exports);

}  // namespace peel
