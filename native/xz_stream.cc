// xz with liblzma: streams, with zeros between them.
//
// Ownership: owns its decoder. Threads: one at a time. Errors: as LibraryStream. The dictionary is of the author's
// choice: what needs more than 128 MiB is refused, twice what `xz -9` asks for.
#include <lzma.h>

#include <cstring>

#include "library_stream.h"

namespace peel {
namespace {

// The dictionary, and what liblzma itself takes.
constexpr uint64_t kMemoryLimit = (128 + 8) << 20;
constexpr uint8_t kMagic[kXzMagic] = {0xfd, '7', 'z', 'X', 'Z', 0};

class XzStream final : public LibraryStream {
 public:
  XzStream() : LibraryStream("xz") {}
  ~XzStream() override { lzma_end(&decoder_); }

 protected:
  bool Begins(uint8_t byte) const override { return byte == kMagic[0]; }
  bool Pads(uint8_t byte) const override { return byte == 0; }

  Status Open() override {
    if (lzma_stream_decoder(&decoder_, kMemoryLimit, 0) == LZMA_OK) return Status::Ok();
    return Status::Of(Fault::kMemory, "no memory for xz");
  }

  Status Decode(Input& in, Output& out, bool& ended) override {
    decoder_.next_in = in.next;
    decoder_.avail_in = in.left;
    decoder_.next_out = out.next;
    decoder_.avail_out = out.left;
    const lzma_ret result = lzma_code(&decoder_, LZMA_RUN);
    in.next += in.left - decoder_.avail_in;
    in.left = decoder_.avail_in;
    out.next += out.left - decoder_.avail_out;
    out.left = decoder_.avail_out;
    ended = result == LZMA_STREAM_END;
    switch (result) {
      case LZMA_OK:
      case LZMA_STREAM_END:
      case LZMA_BUF_ERROR:  // neither input nor room
        return Status::Ok();
      case LZMA_MEM_ERROR:
        return Status::Of(Fault::kMemory, "no memory for xz");
      case LZMA_MEMLIMIT_ERROR:
        return Status::Of(Fault::kUnsupported, "xz data that needs more than 128 MiB of memory");
      case LZMA_OPTIONS_ERROR:
        return Status::Of(Fault::kUnsupported, "xz data with options that are not known");
      default:
        return Status::Invalid("xz data is broken");
    }
  }

 private:
  lzma_stream decoder_ = LZMA_STREAM_INIT;
};

}  // namespace

bool IsXz(const uint8_t* head, size_t length) {
  return length >= kXzMagic && memcmp(head, kMagic, kXzMagic) == 0;
}

std::unique_ptr<Stream> OpenXz() {
  return std::make_unique<XzStream>();
}

}  // namespace peel
