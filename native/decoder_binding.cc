// Decoder for JavaScript: createDecoder, runDecoder, closeDecoder. Ownership and threads as scanner_binding.cc.
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "bindings.h"
#include "decoder.h"

namespace peel {
namespace {

struct DecoderHandle {
  static constexpr napi_type_tag kTag = {0x7065656c2d646563, 0x6f6465722d303031};
  std::shared_ptr<Decoder> decoder;  // nullptr after close() or a failure
  bool busy = false;
};

struct FreeMemory {
  void operator()(uint8_t* memory) const { free(memory); }
};

class DecodeJob final : public Job {
 public:
  DecodeJob(std::shared_ptr<DecoderHandle> handle, const uint8_t* data, size_t length, size_t most)
      : handle_(std::move(handle)), decoder_(handle_->decoder), input_(data, data + length), most_(most) {
    handle_->busy = true;
  }

  Status Run() override {
    // Not touched before it is filled, so that a large `most` costs only address space.
    memory_.reset(static_cast<uint8_t*>(malloc(most_)));
    if (memory_ == nullptr) throw std::bad_alloc();
    decoder_->Append(input_.data(), input_.size());
    Output output{memory_.get(), most_};
    Status status = decoder_->Run(output);
    length_ = most_ - output.left;
    failed_ = !status.ok();
    return status;
  }

  void Finally() override {
    handle_->busy = false;
    if (failed_) handle_->decoder.reset();
  }

  napi_value Result(napi_env env) override {
    if (handle_->decoder == nullptr) return Throw(env, Status::Of(Fault::kClosed, "the decoder was closed"));
    return BufferOf(env, memory_.get(), length_);
  }

 private:
  std::shared_ptr<DecoderHandle> handle_;
  std::shared_ptr<Decoder> decoder_;
  std::vector<uint8_t> input_;
  size_t most_;
  std::unique_ptr<uint8_t, FreeMemory> memory_;
  size_t length_ = 0;
  bool failed_ = true;
};

// createDecoder(compression, atHeader, bits, packedWindow)
napi_value CreateDecoder(napi_env env, napi_callback_info info) {
  napi_value arguments[4];
  double compression = 0;
  double at_header = 0;
  double bits = 0;
  const uint8_t* window = nullptr;
  size_t window_length = 0;
  if (!Arguments(env, info, arguments) || !GetNumber(env, arguments[0], compression) ||
      !GetNumber(env, arguments[1], at_header) || !GetNumber(env, arguments[2], bits) ||
      !GetBytes(env, arguments[3], window, window_length)) {
    return nullptr;
  }
  if (!(compression >= 0 && compression <= 4 && bits >= 0 && bits <= 7)) {
    return ThrowType(env, "decoder option out of range");
  }
  try {
    DecoderOptions options;
    options.compression = static_cast<Compression>(static_cast<int>(compression));
    options.at_header = at_header != 0;
    options.bits = static_cast<unsigned>(bits);
    options.packed_window.assign(window, window + window_length);
    auto handle = std::make_shared<DecoderHandle>();
    handle->decoder = std::make_shared<Decoder>(std::move(options));
    return Handle<DecoderHandle>::Create(env, std::move(handle));
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
}

// runDecoder(decoder, bytes, maxOutput): Buffer
napi_value RunDecoder(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  const uint8_t* data = nullptr;
  size_t length = 0;
  double most = 0;
  if (!Arguments(env, info, arguments)) return nullptr;
  std::shared_ptr<DecoderHandle> handle = Handle<DecoderHandle>::Get(env, arguments[0]);
  if (handle == nullptr || !GetBytes(env, arguments[1], data, length) || !GetNumber(env, arguments[2], most)) {
    return nullptr;
  }
  if (!(most >= 1 && most <= 4294967295.0)) return ThrowType(env, "maxOutput out of range");
  if (handle->busy) return ThrowType(env, "a write is still under way");
  if (handle->decoder == nullptr) return Throw(env, Status::Of(Fault::kClosed, "the decoder is closed"));
  try {
    return StartJob(env, "peel decode",
                    std::make_unique<DecodeJob>(std::move(handle), data, length, static_cast<size_t>(most)));
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
}

napi_value CloseDecoder(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  if (!Arguments(env, info, arguments)) return nullptr;
  std::shared_ptr<DecoderHandle> handle = Handle<DecoderHandle>::Get(env, arguments[0]);
  if (handle != nullptr) handle->decoder.reset();
  return nullptr;
}

}  // namespace

bool AddDecoder(napi_env env, napi_value exports) {
  return SetFunction(env, exports, "createDecoder", CreateDecoder) &&
         SetFunction(env, exports, "runDecoder", RunDecoder) && SetFunction(env, exports, "closeDecoder", CloseDecoder);
}

}  // namespace peel
