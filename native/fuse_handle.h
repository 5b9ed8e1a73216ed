// The JavaScript side of a session: what it keeps alive, and how it hears what happens.
//
// Ownership: of the thread-safe function, and of a reference to the Buffer of a whole tree, until End(). Threads: the
// JavaScript thread alone; a thread of the session only calls `wake`. Errors: none.
#pragma once

#include <memory>

#include "fuse_session.h"
#include "napi_helpers.h"

namespace peel {

struct FuseHandle {
  static constexpr napi_type_tag kTag = {0x7065656c2d667573, 0x652d736573732d31};

  std::shared_ptr<fuse::Session> session;
  napi_env env = nullptr;
  napi_threadsafe_function wake = nullptr;
  // The bytes of a whole tree; those of others are copied.
  napi_ref tree = nullptr;
  bool is_over = false;

  // Idempotent. No thread touches the tree or calls us afterwards.
  void End();
  static void OnCleanup(void* data) { static_cast<FuseHandle*>(data)->End(); }
};

// Hands what has happened to the callback: five numbers an event. After the last event the session is over.
// `context`: a std::shared_ptr<FuseHandle>.
void Deliver(napi_env env, napi_value callback, void* context, void* data);

}  // namespace peel
