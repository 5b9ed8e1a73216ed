// Where the members of a tar begin and end, found while its bytes stream by.
//
//   [x hdr][records] [L hdr][long name] [hdr][payload......][pad]  [hdr] ... [zero][zero] anything
//    ╰──── parts ──────────────────────╯ ╰─ one frame ─╯                      end marker, ignored after
//
// Types, PAX and GNU rules as Go's archive/tar, which every container engine inherits (design: E73-E112).
// Memory: at most `Limits` of parts for the member being read, plus the frames not yet taken.
//
// Ownership: owns what it captured. Threads: one at a time. Errors: Status with the uncompressed offset of
// the header at fault.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "status.h"
#include "tar_header.h"

namespace peel {

struct FramerLimits {
  uint64_t part_size = 1 << 20;   // payload of one x, g, L or K member
  uint64_t parts_size = 4 << 20;  // all parts of one member together
  uint64_t sparse_regions = 65536;
  uint64_t entries = 5'000'000;
};

struct Part {
  char kind;  // x g L K S M, as in src/native.ts
  uint32_t length;
};

struct Frame {
  uint64_t header_offset;
  uint64_t data_offset;
  uint64_t stored_size;
  uint32_t part_count;
};

// Frames in tar order; parts and bytes run along: per frame 512 bytes of header, then its parts. A last frame may have
// a header of zeros: the parts that no member follows.
struct FrameBatch {
  std::vector<Frame> frames;
  std::vector<Part> parts;
  std::vector<uint8_t> bytes;

  size_t Weight() const { return bytes.size() + frames.size() * sizeof(Frame) + parts.size() * sizeof(Part); }
};

class TarFramer {
 public:
  explicit TarFramer(const FramerLimits& limits) : limits_(limits) {}

  // The next bytes of the tar.
  Status Feed(const uint8_t* data, size_t length);
  // The tar ends here: fine at a block boundary or in padding, an error inside a header or payload (E111).
  Status Finish();

  // How many bytes come next that nobody looks at: what is left of a payload, and its padding.
  uint64_t Skippable() const { return state_ == State::kSkip ? skip_payload_ + skip_padding_ : 0; }
  // As if they had been fed.
  void Skip();
  // The end marker was there: what follows is ignored.
  bool has_ended() const { return state_ == State::kEnded; }

  const FrameBatch& batch() const { return batch_; }
  FrameBatch TakeBatch();

 private:
  enum class State : uint8_t {
    kHeader,       // collecting a block
    kPart,         // payload of x, g, L, K
    kSparseBlock,  // extension block of an old GNU sparse file
    kSparseMap,    // block of a PAX 1.0 sparse map
    kSkip,         // payload, then padding
    kAfterZero,    // one zero block was seen; collecting the second
    kEnded,
  };

  // What the parts before a member say about it, so far as framing needs it.
  struct Pending {
    std::vector<Part> parts;
    std::vector<uint8_t> bytes;
    uint64_t header_offset = 0;       // of the last part
    std::optional<int64_t> size;      // of the last x
    std::optional<bool> path_is_dir;  // path of the last x ends in a slash
    std::optional<bool> name_is_dir;  // last L ends in a slash
    bool has_sparse_map = false;      // GNU.sparse 1.0
  };

  Status ReadHeader(const uint8_t* block);
  Status ReadPartHeader(char type, int64_t size);
  Status EndPart();
  Status ReadRecords(std::string_view records);
  Status ReadSparseBlock(const uint8_t* block);
  Status ReadSparseMapBlock(const uint8_t* block);
  Status AppendPart(const uint8_t* data, size_t length);
  Status BeginPart(char kind);
  void Commit();
  void CommitLoose();
  Status At(Status status) const;

  FramerLimits limits_;
  State state_ = State::kHeader;
  uint64_t offset_ = 0;  // of the next byte to be fed
  uint8_t block_[kTarBlock] = {};
  size_t fill_ = 0;

  uint64_t header_offset_ = 0;
  uint8_t header_[kTarBlock] = {};
  Pending pending_;
  uint64_t part_left_ = 0;
  size_t part_begin_ = 0;  // in pending_.bytes
  uint64_t skip_payload_ = 0;
  uint64_t skip_padding_ = 0;

  uint64_t stored_size_ = 0;
  uint64_t sparse_blocks_ = 0;
  uint64_t map_lines_left_ = 0;  // 0 before the count is known
  bool map_counted_ = false;
  uint64_t map_count_ = 0;
  uint32_t map_digits_ = 0;

  uint64_t entries_ = 0;
  FrameBatch batch_;
};

}  // namespace peel
