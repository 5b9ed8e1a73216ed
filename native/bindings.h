// What each *_binding.cc adds to the exports; addon.cc calls them in turn.
#pragma once

#include "napi_helpers.h"
#include "tar_framer.h"

namespace peel {

// {table, bytes}: src/native.ts has their form.
napi_value FramesOf(napi_env env, const FrameBatch& batch);

bool AddScanner(napi_env env, napi_value exports);
bool AddFramer(napi_env env, napi_value exports);
bool AddDecoder(napi_env env, napi_value exports);
bool AddSyscalls(napi_env env, napi_value exports);
bool AddTree(napi_env env, napi_value exports);
bool AddFuseMount(napi_env env, napi_value exports);
bool AddFuse(napi_env env, napi_value exports);

}  // namespace peel
