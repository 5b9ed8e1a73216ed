// Framer for JavaScript, for whoever skips the bodies of a tar: createFramer, feedFramer, skipFramer. And the members
// of a batch, as the scanner gives them, too.
//
// Ownership: the JavaScript object owns its framer. Threads: JavaScript's; what comes at once is a few MiB at most.
#include <exception>
#include <memory>
#include <utility>

#include "bindings.h"
#include "tar_framer.h"

namespace peel {

napi_value FramesOf(napi_env env, const FrameBatch& batch) {
  // Per frame: header offset, data offset, stored size, number of parts, then kind and length of each part.
  double* numbers = nullptr;
  napi_value table = Float64ArrayOf(env, batch.frames.size() * 4 + batch.parts.size() * 2, numbers);
  napi_value bytes = BufferOf(env, batch.bytes.data(), batch.bytes.size());
  napi_value result = nullptr;
  if (table == nullptr || bytes == nullptr || napi_create_object(env, &result) != napi_ok) return nullptr;
  size_t part = 0;
  for (const Frame& frame : batch.frames) {
    *numbers++ = static_cast<double>(frame.header_offset);
    *numbers++ = static_cast<double>(frame.data_offset);
    *numbers++ = static_cast<double>(frame.stored_size);
    *numbers++ = frame.part_count;
    for (uint32_t i = 0; i < frame.part_count; i++, part++) {
      *numbers++ = batch.parts[part].kind;
      *numbers++ = batch.parts[part].length;
    }
  }
  if (!SetProperty(env, result, "table", table) || !SetProperty(env, result, "bytes", bytes)) return nullptr;
  return result;
}

namespace {

struct FramerHandle {
  static constexpr napi_type_tag kTag = {0x7065656c2d667261, 0x6d65722d30303031};
  TarFramer framer{FramerLimits{}};
};

napi_value CreateFramer(napi_env env, napi_callback_info) {
  try {
    return Handle<FramerHandle>::Create(env, std::make_shared<FramerHandle>());
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
}

// feedFramer(framer, bytes, last): {table, bytes, skippable, ended}. After a failure the framer is of no use.
napi_value FeedFramer(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  const uint8_t* data = nullptr;
  size_t length = 0;
  bool last = false;
  if (!Arguments(env, info, arguments)) return nullptr;
  const std::shared_ptr<FramerHandle> handle = Handle<FramerHandle>::Get(env, arguments[0]);
  if (handle == nullptr || !GetBytes(env, arguments[1], data, length)) return nullptr;
  if (napi_get_value_bool(env, arguments[2], &last) != napi_ok) return ThrowType(env, "not a boolean");
  try {
    TarFramer& framer = handle->framer;
    Status status = framer.Feed(data, length);
    if (status.ok() && last) status = framer.Finish();
    if (!status.ok()) return Throw(env, status);
    napi_value value = FramesOf(env, framer.TakeBatch());
    napi_value ended = nullptr;
    const bool complete = value != nullptr && napi_get_boolean(env, framer.has_ended(), &ended) == napi_ok &&
                          SetProperty(env, value, "ended", ended) &&
                          SetProperty(env, value, "skippable", NumberOf(env, static_cast<double>(framer.Skippable())));
    return complete ? value : nullptr;
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
}

// skipFramer(framer): all that may be skipped is taken as fed
napi_value SkipFramer(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  if (!Arguments(env, info, arguments)) return nullptr;
  const std::shared_ptr<FramerHandle> handle = Handle<FramerHandle>::Get(env, arguments[0]);
  if (handle == nullptr) return nullptr;
  handle->framer.Skip();
  return nullptr;
}

}  // namespace

bool AddFramer(napi_env env, napi_value exports) {
  return SetFunction(env, exports, "createFramer", CreateFramer) &&
         SetFunction(env, exports, "feedFramer", FeedFramer) && SetFunction(env, exports, "skipFramer", SkipFramer);
}

}  // namespace peel
