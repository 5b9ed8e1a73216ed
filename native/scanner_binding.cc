// Scanner for JavaScript: createScanner, keepTar, writeScanner, hashScanner, closeScanner.
//
// Ownership: the JavaScript object and a running job share the scanner; close() drops the object's part.
// Threads: one job at a time, enforced here.
#include <cmath>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings.h"
#include "scanner.h"

namespace peel {
namespace {

struct ScannerHandle {
  static constexpr napi_type_tag kTag = {0x7065656c2d736361, 0x6e6e65722d303031};
  std::shared_ptr<Scanner> scanner;  // nullptr after close() or the result
  bool busy = false;
  bool failed = false;  // hashes only
  bool keeps_tar = false;
};

// One copy, into memory of JavaScript.
napi_value BytesOf(napi_env env, const TarBytes& tar) {
  napi_value buffer = nullptr;
  void* data = nullptr;
  if (napi_create_buffer(env, tar.length, &data, &buffer) != napi_ok) return nullptr;
  auto* to = static_cast<uint8_t*>(data);
  for (const auto& [slab, piece] : tar.pieces) {
    memcpy(to, piece.next, piece.left);
    to += piece.left;
  }
  return buffer;
}

template <typename List, typename Get>
napi_value ColumnOf(napi_env env, const List& list, Get get) {
  double* numbers = nullptr;
  napi_value column = Float64ArrayOf(env, list.size(), numbers);
  if (column == nullptr) return nullptr;
  for (const auto& item : list) *numbers++ = static_cast<double>(get(item));
  return column;
}

napi_value ResultOf(napi_env env, const ScanResult& scan) {
  napi_value result = nullptr;
  if (napi_create_object(env, &result) != napi_ok) return nullptr;
  const Index& index = scan.index;
  const auto number = [&](const char* name, double value) {
    return SetProperty(env, result, name, NumberOf(env, value));
  };
  const auto bytes = [&](const char* name, const void* data, size_t length) {
    return SetProperty(env, result, name, BufferOf(env, data, length));
  };
  const auto column = [&](const char* name, const auto& list, auto get) {
    return SetProperty(env, result, name, ColumnOf(env, list, get));
  };
  const bool complete =
      number("compression", static_cast<double>(scan.compression)) &&
      bytes("digest", scan.digest.data(), scan.digest.size()) &&
      bytes("diffID", scan.diff_id.data(), scan.diff_id.size()) &&
      number("compressedSize", static_cast<double>(scan.compressed_size)) &&
      number("uncompressedSize", static_cast<double>(scan.uncompressed_size)) &&
      number("trailingGarbage", static_cast<double>(scan.trailing_garbage)) &&
      column("checkpointCompressed", index.checkpoints, [](const Checkpoint& c) { return c.compressed_offset; }) &&
      column("checkpointUncompressed", index.checkpoints, [](const Checkpoint& c) { return c.uncompressed_offset; }) &&
      column("checkpointBits", index.checkpoints, [](const Checkpoint& c) { return c.bits; }) &&
      column("windowOffset", index.windows_of, [](const PackedWindow& w) { return w.offset; }) &&
      column("windowLength", index.windows_of, [](const PackedWindow& w) { return w.length; }) &&
      column("spanStart", index.spans, [](const Span& s) { return s.start; }) &&
      column("spanEnd", index.spans, [](const Span& s) { return s.end; }) &&
      column("spanCheckpoint", index.spans, [](const Span& s) { return s.checkpoint; }) &&
      column("spanCompressedEnd", index.spans, [](const Span& s) { return s.compressed_end; }) &&
      bytes("spanSha256", index.sha256.data(), index.sha256.size()) &&
      bytes("windows", index.windows.data(), index.windows.size());
  return complete ? result : nullptr;
}

class ScanJob final : public Job {
 public:
  ScanJob(std::shared_ptr<ScannerHandle> handle, SlabRef slab, size_t length, bool last)
      : handle_(std::move(handle)),
        scanner_(handle_->scanner),
        slab_(std::move(slab)),
        length_(length),
        last_(last),
        keeps_tar_(handle_->keeps_tar) {
    handle_->busy = true;
  }

  Status Run() override {
    if (slab_ != nullptr) scanner_->Append(std::move(slab_), length_);
    scanner_->KeepTar(keeps_tar_);
    Status status = scanner_->Run(last_, progress_);
    if (!status.ok()) return status;
    batch_ = scanner_->TakeBatch();
    tar_ = scanner_->TakeTar();
    if (progress_ == Progress::kDone) result_ = scanner_->TakeResult();
    failed_ = false;
    return status;
  }

  void Finally() override {
    handle_->busy = false;
    handle_->failed = failed_;
    if (progress_ == Progress::kDone) handle_->scanner.reset();
  }

  napi_value Result(napi_env env) override {
    if (handle_->scanner == nullptr && progress_ != Progress::kDone) {
      return Throw(env, Status::Of(Fault::kClosed, "the scanner was closed"));
    }
    napi_value value = FramesOf(env, batch_);
    napi_value more = nullptr;
    if (value == nullptr || napi_get_boolean(env, progress_ == Progress::kMore, &more) != napi_ok ||
        !SetProperty(env, value, "more", more)) {
      return nullptr;
    }
    if (keeps_tar_ && (!SetProperty(env, value, "tarStart", NumberOf(env, static_cast<double>(tar_.start))) ||
                       !SetProperty(env, value, "tar", BytesOf(env, tar_)))) {
      return nullptr;
    }
    if (progress_ == Progress::kDone && !SetProperty(env, value, "result", ResultOf(env, result_))) return nullptr;
    return value;
  }

 private:
  std::shared_ptr<ScannerHandle> handle_;
  std::shared_ptr<Scanner> scanner_;
  SlabRef slab_;
  size_t length_;
  bool last_;
  bool keeps_tar_;
  bool failed_ = true;
  Progress progress_ = Progress::kNeedInput;
  FrameBatch batch_;
  TarBytes tar_;
  ScanResult result_;
};

// Bytes of a scan that has failed: hashed only. Resolves with the digest of the whole blob after the last ones.
class HashJob final : public Job {
 public:
  HashJob(std::shared_ptr<ScannerHandle> handle, SlabRef slab, size_t length, bool last)
      : handle_(std::move(handle)), scanner_(handle_->scanner), slab_(std::move(slab)), length_(length), last_(last) {
    handle_->busy = true;
  }

  Status Run() override {
    if (slab_ != nullptr) scanner_->Hash(std::move(slab_), length_);
    return last_ ? scanner_->TakeDigest(digest_) : Status::Ok();
  }

  void Finally() override { handle_->busy = false; }

  napi_value Result(napi_env env) override {
    if (handle_->scanner == nullptr) return Throw(env, Status::Of(Fault::kClosed, "the scanner was closed"));
    return BufferOf(env, digest_.data(), digest_.size());
  }

 private:
  std::shared_ptr<ScannerHandle> handle_;
  std::shared_ptr<Scanner> scanner_;
  SlabRef slab_;
  size_t length_;
  bool last_;
  std::vector<uint8_t> digest_;
};

// createScanner(spanSize, partSize, sparseRegions, entries, digestAlgorithm)
napi_value CreateScanner(napi_env env, napi_callback_info info) {
  napi_value arguments[5];
  double numbers[4];
  double algorithm = 0;
  if (!Arguments(env, info, arguments) || !GetNumber(env, arguments[4], algorithm)) return nullptr;
  for (size_t i = 0; i < 4; i++) {
    if (!GetNumber(env, arguments[i], numbers[i])) return nullptr;
    if (!(numbers[i] >= 1 && numbers[i] <= 4294967295.0)) return ThrowType(env, "scanner option out of range");
  }
  ScanOptions options;
  options.span_size = static_cast<uint64_t>(numbers[0]);
  if (options.span_size < kSmallestSpan) return ThrowType(env, "span size out of range");
  options.digest_algorithm = algorithm == 1 ? DigestAlgorithm::kSha512 : DigestAlgorithm::kSha256;
  options.framer.part_size = static_cast<uint64_t>(numbers[1]);
  options.framer.parts_size = 4 * options.framer.part_size;
  options.framer.sparse_regions = static_cast<uint64_t>(numbers[2]);
  options.framer.entries = static_cast<uint64_t>(numbers[3]);
  try {
    auto handle = std::make_shared<ScannerHandle>();
    handle->scanner = std::make_shared<Scanner>(options);
    return Handle<ScannerHandle>::Create(env, std::move(handle));
  } catch (const std::exception&) {  // no memory, or no thread
    return Throw(env, Status::Of(Fault::kMemory, "cannot start the scanner's threads"));
  }
}

template <typename Work>
napi_value StartOn(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  const uint8_t* data = nullptr;
  size_t length = 0;
  bool last = false;
  if (!Arguments(env, info, arguments)) return nullptr;
  std::shared_ptr<ScannerHandle> handle = Handle<ScannerHandle>::Get(env, arguments[0]);
  if (handle == nullptr || !GetBytes(env, arguments[1], data, length) || !GetBool(env, arguments[2], last)) {
    return nullptr;
  }
  if (handle->busy) return ThrowType(env, "a write is still under way");
  if (handle->scanner == nullptr) return Throw(env, Status::Of(Fault::kClosed, "the scanner is closed"));
  if (handle->failed && std::is_same_v<Work, ScanJob>) {
    return Throw(env, Status::Of(Fault::kClosed, "the scan has failed"));
  }
  try {
    SlabRef slab;
    if (length > 0) {
      slab = std::make_shared<Slab>(length);
      memcpy(slab->bytes.get(), data, length);
    }
    return StartJob(env, "peel scan", std::make_unique<Work>(std::move(handle), std::move(slab), length, last));
  } catch (const std::exception&) {
    return Throw(env, Status::Of(Fault::kMemory, "out of memory"));
  }
}

// keepTar(scanner, keep): whether the writes from now on give the bytes of the tar that they make
napi_value KeepTar(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  if (!Arguments(env, info, arguments)) return nullptr;
  std::shared_ptr<ScannerHandle> handle = Handle<ScannerHandle>::Get(env, arguments[0]);
  if (handle != nullptr) GetBool(env, arguments[1], handle->keeps_tar);
  return nullptr;
}

// writeScanner(scanner, bytes, last): {table, bytes, more, tarStart?, tar?, result?}
napi_value WriteScanner(napi_env env, napi_callback_info info) {
  return StartOn<ScanJob>(env, info);
}

// hashScanner(scanner, bytes, last): the digest after the last bytes, else nothing in a Buffer
napi_value HashScanner(napi_env env, napi_callback_info info) {
  return StartOn<HashJob>(env, info);
}

napi_value CloseScanner(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  if (!Arguments(env, info, arguments)) return nullptr;
  std::shared_ptr<ScannerHandle> handle = Handle<ScannerHandle>::Get(env, arguments[0]);
  if (handle == nullptr) return nullptr;
  if (handle->scanner != nullptr) handle->scanner->Cancel();
  handle->scanner.reset();  // a running job holds its own reference
  return nullptr;
}

}  // namespace

bool AddScanner(napi_env env, napi_value exports) {
  return SetFunction(env, exports, "createScanner", CreateScanner) && SetFunction(env, exports, "keepTar", KeepTar) &&
         SetFunction(env, exports, "writeScanner", WriteScanner) &&
         SetFunction(env, exports, "hashScanner", HashScanner) &&
         SetFunction(env, exports, "closeScanner", CloseScanner);
}

}  // namespace peel
