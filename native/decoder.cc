#include "decoder.h"

#include <cstddef>
#include <utility>

#include "gzip_stream.h"
#include "window.h"

namespace peel {

Status Decoder::Open() {
  switch (options_.compression) {
    case Compression::kNone:
      stream_ = OpenPlain();
      break;
    case Compression::kZstd:
      stream_ = OpenZstd();
      break;
    case Compression::kXz:
      stream_ = OpenXz();
      break;
    case Compression::kBzip2:
      stream_ = OpenBzip2();
      break;
    case Compression::kGzip: {
      if (options_.at_header) {
        stream_ = OpenGzip();
        break;
      }
      std::vector<uint8_t> window;
      Status status = UnpackWindow(options_.packed_window.data(), options_.packed_window.size(), window);
      if (!status.ok()) return status;
      stream_ = std::make_unique<GzipStream>(options_.bits, std::move(window));
      break;
    }
  }
  return Status::Ok();
}

Status Decoder::Run(Output& output) {
  if (stream_ == nullptr) {
    Status status = Open();
    if (!status.ok()) return status;
  }
  Input in{input_.data(), input_.size()};
  while (output.left > 0) {
    const Event event = stream_->Step(in, output, false);
    if (event == Event::kFailed) return stream_->status();
    // A stream that ends a member says kNeedInput with input left: the next step goes on with it.
    if (event == Event::kNeedInput && in.left == 0) break;
  }
  input_.erase(input_.begin(), input_.end() - static_cast<ptrdiff_t>(in.left));
  return Status::Ok();
}

}  // namespace peel
