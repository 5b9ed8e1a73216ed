// bzip2 with libbz2, loaded when the first such stream comes: distributions have no libbz2.a that an addon could be
// linked with (it is not position-independent), while the shared one is on every host, since package managers use it.
//
// Ownership: owns its decoder; the library is never unloaded. Threads: one at a time. Errors: as LibraryStream.
#include <bzlib.h>
#include <dlfcn.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "library_stream.h"

namespace peel {
namespace {

constexpr uint8_t kBlockMagic[6] = {0x31, 0x41, 0x59, 0x26, 0x53, 0x59};
constexpr uint8_t kEndMagic[6] = {0x17, 0x72, 0x45, 0x38, 0x50, 0x90};
// Debian's name, and everybody else's.
constexpr const char* kNames[] = {"libbz2.so.1.0", "libbz2.so.1"};

struct Library {
  decltype(&BZ2_bzDecompressInit) init = nullptr;
  decltype(&BZ2_bzDecompress) run = nullptr;
  decltype(&BZ2_bzDecompressEnd) end = nullptr;

  Library() {
    void* handle = nullptr;
    for (const char* name : kNames) {
      if (handle == nullptr) handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    if (handle == nullptr) return;
    init = reinterpret_cast<decltype(init)>(dlsym(handle, "BZ2_bzDecompressInit"));
    run = reinterpret_cast<decltype(run)>(dlsym(handle, "BZ2_bzDecompress"));
    end = reinterpret_cast<decltype(end)>(dlsym(handle, "BZ2_bzDecompressEnd"));
  }
  bool ok() const { return init != nullptr && run != nullptr && end != nullptr; }
};

const Library& TheLibrary() {
  static const Library library;
  return library;
}

class Bzip2Stream final : public LibraryStream {
 public:
  Bzip2Stream() : LibraryStream("bzip2") {}
  ~Bzip2Stream() override { Close(); }

 protected:
  bool Begins(uint8_t byte) const override { return byte == 'B'; }
  bool Pads(uint8_t) const override { return false; }

  Status Open() override {
    if (!TheLibrary().ok()) {
      return Status::Of(Fault::kUnsupported, "bzip2 data, and the library libbz2.so.1 is not installed");
    }
    Close();
    decoder_ = {};
    if (TheLibrary().init(&decoder_, 0, 0) != BZ_OK) return Status::Of(Fault::kMemory, "no memory for bzip2");
    is_open_ = true;
    return Status::Ok();
  }

  Status Decode(Input& in, Output& out, bool& ended) override {
    const unsigned available = static_cast<unsigned>(std::min<size_t>(in.left, UINT_MAX));
    const unsigned room = static_cast<unsigned>(std::min<size_t>(out.left, UINT_MAX));
    // libbz2 does not write its input; its interface is older than const.
    decoder_.next_in = const_cast<char*>(reinterpret_cast<const char*>(in.next));
    decoder_.avail_in = available;
    decoder_.next_out = reinterpret_cast<char*>(out.next);
    decoder_.avail_out = room;
    const int result = TheLibrary().run(&decoder_);
    in.next += available - decoder_.avail_in;
    in.left -= available - decoder_.avail_in;
    out.next += room - decoder_.avail_out;
    out.left -= room - decoder_.avail_out;
    ended = result == BZ_STREAM_END;
    if (result == BZ_OK || ended) return Status::Ok();
    if (result == BZ_MEM_ERROR) return Status::Of(Fault::kMemory, "no memory for bzip2");
    return Status::Invalid("bzip2 data is broken");
  }

 private:
  void Close() {
    if (is_open_) TheLibrary().end(&decoder_);
    is_open_ = false;
  }

  bz_stream decoder_ = {};
  bool is_open_ = false;
};

}  // namespace

bool IsBzip2(const uint8_t* head, size_t length) {
  if (length < kBzip2Magic || memcmp(head, "BZh", 3) != 0 || head[3] < '1' || head[3] > '9') return false;
  return memcmp(head + 4, kBlockMagic, sizeof kBlockMagic) == 0 || memcmp(head + 4, kEndMagic, sizeof kEndMagic) == 0;
}

std::unique_ptr<Stream> OpenBzip2() {
  return std::make_unique<Bzip2Stream>();
}

}  // namespace peel
