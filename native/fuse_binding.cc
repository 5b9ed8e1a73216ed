// The FUSE server for JavaScript: openSession and what a session does. Typed in src/native-fuse.ts.
//
// A session's threads read the Buffer that holds the tree, so the Buffer is referenced until no thread is left; at
// the end of the environment the session is stopped first (a cleanup hook), and the Buffer goes after.
#include <errno.h>

#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "fuse_handle.h"

namespace peel {
namespace {

constexpr double kLargestNumber = 9007199254740991.0;
constexpr double kLargestUint32 = 4294967295.0;
constexpr double kLargestDescriptor = 2147483647.0;
constexpr double kMostLayers = 65535;

// Four numbers a link that is shown with another target: directory, ino, start and end in `bytes`.
bool GetTargets(const double* table, size_t length, const uint8_t* bytes, size_t size, fuse::OpsOptions& options) {
  if (length % 4 != 0) return false;
  for (size_t i = 0; i < length; i += 4) {
    for (size_t j = i; j < i + 4; ++j) {
      if (!(table[j] >= 0 && table[j] <= kLargestUint32)) return false;
    }
    const auto start = static_cast<size_t>(table[i + 2]);
    const auto end = static_cast<size_t>(table[i + 3]);
    if (start > end || end > size) return false;
    options.targets.emplace(fuse::Ops::LinkKey(static_cast<uint32_t>(table[i]), static_cast<uint32_t>(table[i + 1])),
                            std::string(reinterpret_cast<const char*>(bytes) + start, end - start));
  }
  return true;
}

// A tree that is replaced is copied, so that it goes with the last thread that reads it. The whole one is borrowed.
Status OpenTree(const uint8_t* data, size_t size, bool is_whole, fuse::Tree* tree) {
  tree->is_whole = is_whole;
  if (!is_whole) {
    auto copy = std::make_shared<std::vector<uint64_t>>(size / sizeof(uint64_t) + 1);
    memcpy(copy->data(), data, size);
    data = reinterpret_cast<const uint8_t*>(copy->data());
    tree->bytes = std::move(copy);
  }
  return TreeView::Open(data, size, &tree->view);
}

// openFuseSession(treeBytes, isWhole, layers, uid or -1, gid or -1, kernelChecks, containsLinks, targets, targetBytes,
// threads, parkedLimitMs, overUring, passthroughFrom or -1, callback)
napi_value OpenFuseSession(napi_env env, napi_callback_info info) {
  napi_value arguments[14];
  const uint8_t* data = nullptr;
  size_t size = 0;
  bool is_whole = false;
  uint64_t layers = 0;
  double uid = 0;
  double gid = 0;
  bool kernel_checks = false;
  bool contains_links = false;
  bool over_uring = false;
  const double* targets = nullptr;
  size_t target_count = 0;
  const uint8_t* target_bytes = nullptr;
  size_t target_size = 0;
  uint64_t threads = 0;
  uint64_t limit = 0;
  double passthrough_from = 0;
  if (!Arguments(env, info, arguments) || !GetBytes(env, arguments[0], data, size) ||
      !GetBool(env, arguments[1], is_whole) || !GetWhole(env, arguments[2], kMostLayers, layers) ||
      !GetNumber(env, arguments[3], uid) || !GetNumber(env, arguments[4], gid) ||
      !GetBool(env, arguments[5], kernel_checks) || !GetBool(env, arguments[6], contains_links) ||
      !GetFloats(env, arguments[7], targets, target_count) || !GetBytes(env, arguments[8], target_bytes, target_size) ||
      !GetWhole(env, arguments[9], 64, threads) || !GetWhole(env, arguments[10], kLargestNumber, limit) ||
      !GetBool(env, arguments[11], over_uring) || !GetNumber(env, arguments[12], passthrough_from)) {
    return nullptr;
  }
  try {
    fuse::OpsOptions ops;
    ops.has_uid = uid >= 0;
    ops.has_gid = gid >= 0;
    if (ops.has_uid) ops.uid = static_cast<uint32_t>(static_cast<uint64_t>(uid));
    if (ops.has_gid) ops.gid = static_cast<uint32_t>(static_cast<uint64_t>(gid));
    ops.kernel_checks = kernel_checks;
    ops.contains_links = contains_links;
    ops.passthrough = passthrough_from >= 0;
    if (!GetTargets(targets, target_count, target_bytes, target_size, ops)) return ThrowType(env, "targets are odd");
    fuse::SessionOptions options;
    options.threads = threads == 0 ? 1 : static_cast<unsigned>(threads);
    options.parked_limit_ms = limit;
    options.over_uring = over_uring;
    if (passthrough_from > 0) options.passthrough_from = static_cast<uint64_t>(passthrough_from);
    options.layers = static_cast<uint32_t>(layers);
    fuse::Tree tree;
    if (Status status = OpenTree(data, size, is_whole, &tree); !status.ok()) return Throw(env, status);

    auto handle = std::make_shared<FuseHandle>();
    handle->env = env;
    napi_value label = nullptr;
    auto* context = new std::shared_ptr<FuseHandle>(handle);
    if (napi_create_string_utf8(env, "peel fuse", NAPI_AUTO_LENGTH, &label) != napi_ok ||
        napi_create_threadsafe_function(
            env, arguments[13], nullptr, label, 0, 1, context,
            [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<FuseHandle>*>(data); }, context,
            Deliver, &handle->wake) != napi_ok) {
      delete context;
      return ThrowType(env, "the callback is no function");
    }
    handle->session = fuse::Session::Create(std::move(tree), std::move(ops), options, [wake = handle->wake] {
      napi_call_threadsafe_function(wake, nullptr, napi_tsfn_nonblocking);
    });
    if (is_whole && napi_create_reference(env, arguments[0], 1, &handle->tree) != napi_ok) {
      napi_release_threadsafe_function(handle->wake, napi_tsfn_abort);
      return ThrowType(env, "cannot keep the tree");
    }
    napi_add_env_cleanup_hook(env, FuseHandle::OnCleanup, handle.get());
    return Handle<FuseHandle>::Create(env, std::move(handle));
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
}

// The session, which is the first argument of what follows; nullptr with an exception pending.
template <size_t N>
std::shared_ptr<FuseHandle> SessionOf(napi_env env, napi_callback_info info, napi_value (&arguments)[N]) {
  return Arguments(env, info, arguments) ? Handle<FuseHandle>::Get(env, arguments[0]) : nullptr;
}

// startFuseSession(session, fd): takes the descriptor over
napi_value StartFuseSession(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  uint64_t fd = 0;
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr || !GetWhole(env, arguments[1], kLargestDescriptor, fd)) return nullptr;
  if (handle->is_over) return ThrowType(env, "the session is over");
  if (Status status = handle->session->Start(static_cast<int>(fd)); !status.ok()) return Throw(env, status);
  return Undefined(env);
}

// setFuseTree(session, treeBytes, isWhole)
napi_value SetFuseTree(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  const uint8_t* data = nullptr;
  size_t size = 0;
  bool is_whole = false;
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr || !GetBytes(env, arguments[1], data, size) || !GetBool(env, arguments[2], is_whole)) {
    return nullptr;
  }
  if (handle->is_over) return ThrowType(env, "the session is over");
  if (handle->tree != nullptr) return ThrowType(env, "the session has a whole tree");
  try {
    fuse::Tree tree;
    if (Status status = OpenTree(data, size, is_whole, &tree); !status.ok()) return Throw(env, status);
    if (is_whole && napi_create_reference(env, arguments[1], 1, &handle->tree) != napi_ok) {
      return ThrowType(env, "cannot keep the tree");
    }
    handle->session->SetTree(std::move(tree));
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
  return Undefined(env);
}

// failFuseWaiting(session, errno)
napi_value FailFuseWaiting(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  uint64_t error = 0;
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr || !GetWhole(env, arguments[1], 511, error)) return nullptr;
  handle->session->FailWaiting(error == 0 ? EIO : static_cast<int>(error));
  return Undefined(env);
}

// failFuseAll(session, errno)
napi_value FailFuseAll(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  uint64_t error = 0;
  if (!Arguments(env, info, arguments)) return nullptr;
  auto handle = Handle<FuseHandle>::Get(env, arguments[0]);
  if (handle == nullptr || !GetWhole(env, arguments[1], 511, error)) return nullptr;
  handle->session->FailAll(error == 0 ? EIO : static_cast<int>(error));
  return Undefined(env);
}

// noteFuseProgress(session)
napi_value NoteFuseProgress(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr) return nullptr;
  handle->session->NoteProgress();
  return Undefined(env);
}

// stopFuseSession(session)
napi_value StopFuseSession(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr) return nullptr;
  handle->End();
  return Undefined(env);
}

// addFuseLayer(session, layer, spansPath, mapPath, ends): whether it was new
napi_value AddFuseLayer(napi_env env, napi_callback_info info) {
  napi_value arguments[5];
  uint64_t layer = 0;
  SpanFilesOfLayer files;
  const double* ends = nullptr;
  size_t count = 0;
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr || !GetWhole(env, arguments[1], kMostLayers, layer) ||
      !GetText(env, arguments[2], files.spans_path) || !GetText(env, arguments[3], files.map_path) ||
      !GetFloats(env, arguments[4], ends, count)) {
    return nullptr;
  }
  bool is_new = false;
  try {
    files.ends.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      const double least = i == 0 ? 1 : ends[i - 1] + 1;
      if (!(ends[i] >= least && ends[i] <= kLargestNumber)) return ThrowType(env, "span ends do not rise");
      files.ends.push_back(static_cast<uint64_t>(ends[i]));
    }
    is_new = handle->session->span_files().Add(static_cast<uint32_t>(layer), std::move(files));
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
  return BoolOf(env, is_new);
}

// markFuseSpan(session, layer, span)
napi_value MarkFuseSpan(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  uint64_t layer = 0;
  uint64_t span = 0;
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr || !GetWhole(env, arguments[1], kMostLayers, layer) ||
      !GetWhole(env, arguments[2], kLargestUint32, span)) {
    return nullptr;
  }
  handle->session->span_files().MarkReady(static_cast<uint32_t>(layer), static_cast<uint32_t>(span));
  return Undefined(env);
}

// addFuseBacking(session, ino, path, fd): whether it is known from now on
napi_value AddFuseBacking(napi_env env, napi_callback_info info) {
  napi_value arguments[4];
  uint64_t ino = 0;
  std::string path;
  uint64_t fd = 0;
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr || !GetWhole(env, arguments[1], kLargestUint32, ino) || !GetText(env, arguments[2], path) ||
      !GetWhole(env, arguments[3], kLargestDescriptor, fd)) {
    return nullptr;
  }
  bool is_known = false;
  try {
    is_known = handle->session->open_files().AddBacking(static_cast<uint32_t>(ino), path, static_cast<int>(fd));
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
  return BoolOf(env, is_known);
}

// replyFuse(session, id, bytes): 0, or the errno that the kernel refused them with
napi_value ReplyFuse(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  uint64_t id = 0;
  const uint8_t* data = nullptr;
  size_t size = 0;
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr || !GetWhole(env, arguments[1], kLargestNumber, id) ||
      !GetBytes(env, arguments[2], data, size)) {
    return nullptr;
  }
  return NumberOf(env, handle->session->Reply(id, data, size));
}

// failFuse(session, id, errno): as replyFuse
napi_value FailFuse(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  uint64_t id = 0;
  uint64_t error = 0;
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr || !GetWhole(env, arguments[1], kLargestNumber, id) ||
      !GetWhole(env, arguments[2], 511, error)) {
    return nullptr;
  }
  return NumberOf(env, handle->session->Fail(id, error == 0 ? EIO : static_cast<int>(error)));
}

// watchFuse(session, program, connection, limitMs): 0, or an errno
napi_value WatchFuse(napi_env env, napi_callback_info info) {
  napi_value arguments[4];
  std::string program;
  uint64_t connection = 0;
  uint64_t limit = 0;
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr || !GetText(env, arguments[1], program) ||
      !GetWhole(env, arguments[2], kLargestUint32, connection) || !GetWhole(env, arguments[3], 86400000.0, limit)) {
    return nullptr;
  }
  return NumberOf(env, handle->session->Watch(program, static_cast<uint32_t>(connection), limit));
}

// fusePathOf(session, ino): Buffer
napi_value FusePathOf(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  uint64_t ino = 0;
  const auto handle = SessionOf(env, info, arguments);
  if (handle == nullptr || !GetWhole(env, arguments[1], kLargestUint32, ino)) return nullptr;
  const std::string path = handle->is_over ? "" : handle->session->PathOf(static_cast<uint32_t>(ino));
  return BufferOf(env, path.data(), path.size());
}

// fuseStatistics(session): an object of counts, those above 0
napi_value FuseStatistics(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  const auto handle = SessionOf(env, info, arguments);
  napi_value object = nullptr;
  if (handle == nullptr || napi_create_object(env, &object) != napi_ok) return nullptr;
  bool is_set = true;
  const auto set = [&](const char* name, uint64_t count) {
    if (count > 0) is_set = is_set && SetProperty(env, object, name, NumberOf(env, static_cast<double>(count)));
  };
  uint64_t others = 0;
  for (uint32_t opcode = 0; opcode < fuse::kOpcodes; ++opcode) {
    const uint64_t count = handle->session->Count(opcode);
    const char* name = fuse::NameOf(opcode);
    if (name == nullptr) {
      others += count;
    } else {
      set(name, count);
    }
  }
  set("refused", others);
  set("missed", handle->session->Misses());
  set("io_uring", handle->session->OverUring());
  set("waited", handle->session->Waits());
  set("passthrough", handle->session->open_files().Passed());
  return is_set ? object : nullptr;
}

}  // namespace

bool AddFuse(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {
      {"openFuseSession", OpenFuseSession},
      {"startFuseSession", StartFuseSession},
      {"setFuseTree", SetFuseTree},
      {"failFuseWaiting", FailFuseWaiting},
      {"failFuseAll", FailFuseAll},
      {"noteFuseProgress", NoteFuseProgress},
      {"stopFuseSession", StopFuseSession},
      {"addFuseLayer", AddFuseLayer},
      {"markFuseSpan", MarkFuseSpan},
      {"addFuseBacking", AddFuseBacking},
      {"replyFuse", ReplyFuse},
      {"failFuse", FailFuse},
      {"watchFuse", WatchFuse},
      {"fusePathOf", FusePathOf},
      {"fuseStatistics", FuseStatistics},
  };
  for (const auto& [name, function] : functions) {
    if (!SetFunction(env, exports, name, function)) return false;
  }
  return true;
}

}  // namespace peel
