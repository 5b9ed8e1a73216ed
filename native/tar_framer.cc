#include "tar_framer.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace peel {
namespace {

// Offsets become JavaScript numbers.
constexpr int64_t kLargestOffset = (int64_t{1} << 53) - 1;
// Old GNU sparse: four regions in the header, 21 in each extension block; then a byte says "one more block".
constexpr size_t kSparseExtendedAt = 482;
constexpr size_t kSparseBlockExtendedAt = 504;
constexpr uint64_t kRegionsPerBlock = 21;
// Longest number in a PAX 1.0 sparse map: 2^63 has 19 digits; a few leading zeros do no harm.
constexpr uint32_t kMapDigits = 24;

uint64_t PaddingOf(uint64_t size) {
  return (kTarBlock - size % kTarBlock) % kTarBlock;
}

// Links, devices, directories and fifos have no payload whatever their size says (E103).
bool IsHeaderOnly(char type) {
  return type >= '1' && type <= '6';
}

bool IsPart(char type) {
  return type == 'x' || type == 'g' || type == 'L' || type == 'K';
}

}  // namespace

Status TarFramer::At(Status status) const {
  status.offset = static_cast<int64_t>(header_offset_);
  return status;
}

Status TarFramer::Feed(const uint8_t* data, size_t length) {
  while (length > 0) {
    size_t taken = 0;
    Status status;
    switch (state_) {
      case State::kEnded:
        taken = length;
        break;
      case State::kSkip: {
        uint64_t& left = skip_payload_ > 0 ? skip_payload_ : skip_padding_;
        taken = static_cast<size_t>(std::min<uint64_t>(left, length));
        left -= taken;
        if (skip_payload_ == 0 && skip_padding_ == 0) state_ = State::kHeader;
        break;
      }
      case State::kPart:
        taken = static_cast<size_t>(std::min<uint64_t>(part_left_, length));
        status = AppendPart(data, taken);
        part_left_ -= taken;
        if (status.ok() && part_left_ == 0) status = EndPart();
        break;
      case State::kHeader:
      case State::kAfterZero:
      case State::kSparseBlock:
      case State::kSparseMap: {
        taken = std::min(kTarBlock - fill_, length);
        const uint8_t* block = data;
        if (taken < kTarBlock) {
          memcpy(block_ + fill_, data, taken);
          fill_ += taken;
          if (fill_ < kTarBlock) break;
          block = block_;
          fill_ = 0;
        }
        if (state_ == State::kSparseBlock) {
          status = ReadSparseBlock(block);
        } else if (state_ == State::kSparseMap) {
          status = ReadSparseMapBlock(block);
        } else {
          header_offset_ = offset_ + taken - kTarBlock;
          status = ReadHeader(block);
        }
        break;
      }
    }
    if (!status.ok()) return status;
    offset_ += taken;
    data += taken;
    length -= taken;
  }
  return Status::Ok();
}

Status TarFramer::ReadHeader(const uint8_t* block) {
  if (IsZeroBlock(block)) {
    if (state_ == State::kHeader) {
      state_ = State::kAfterZero;
    } else {
      CommitLoose();
      state_ = State::kEnded;
    }
    return Status::Ok();
  }
  if (state_ == State::kAfterZero) {
    return At(Status::Invalid("tar: one zero block is followed by data, the end marker is two"));
  }
  if (!HasTarChecksum(block)) return At(Status::Invalid("tar header: wrong checksum"));
  int64_t size = 0;
  if (!TarSizeOf(block, size)) return At(Status::Invalid("tar header: its size is not a number"));
  if (size < 0) return At(Status::Invalid("tar header: negative size " + std::to_string(size)));
  const char type = TarTypeOf(block);
  if (IsPart(type)) {
    if (!HasTarNumbers(block)) {
      return At(Status::Invalid(std::string("tar header: a field of an extension (") + type + ") is not a number"));
    }
    return ReadPartHeader(type, size);
  }

  if (++entries_ > limits_.entries) {
    return At(Status::Limit("tar: more than " + std::to_string(limits_.entries) + " members"));
  }
  memcpy(header_, block, kTarBlock);
  if (pending_.size) size = *pending_.size;
  // Old writers mark a directory only by the slash at the end of its name (E100).
  const bool is_dir = pending_.name_is_dir.value_or(pending_.path_is_dir.value_or(NameEndsInSlash(block)));
  if (IsHeaderOnly(type) || (type == '\0' && is_dir)) size = 0;
  if (size > kLargestOffset - static_cast<int64_t>(offset_) - static_cast<int64_t>(2 * kTarBlock)) {
    return At(Status::Invalid("tar header: size " + std::to_string(size) + " ends beyond 2^53"));
  }
  stored_size_ = static_cast<uint64_t>(size);

  if (type == 'S') {
    if (!HasGnuMagic(block)) return At(Status::Invalid("tar header: sparse file (S) without the GNU magic"));
    sparse_blocks_ = 0;
    if (block[kSparseExtendedAt] != 0) {
      Status status = BeginPart('S');
      if (!status.ok()) return status;
      state_ = State::kSparseBlock;
      return Status::Ok();
    }
  } else if (pending_.has_sparse_map && stored_size_ > 0) {
    Status status = BeginPart('M');
    if (!status.ok()) return status;
    map_counted_ = false;
    map_count_ = 0;
    map_lines_left_ = 0;
    map_digits_ = 0;
    state_ = State::kSparseMap;
    return Status::Ok();
  }
  Commit();
  return Status::Ok();
}

Status TarFramer::ReadPartHeader(char type, int64_t size) {
  if (static_cast<uint64_t>(size) > limits_.part_size) {
    return At(Status::Limit(std::string("tar header: ") + type + " member of " + std::to_string(size) +
                            " bytes, at most " + std::to_string(limits_.part_size) + " are read"));
  }
  Status status = BeginPart(type);
  if (!status.ok()) return status;
  pending_.header_offset = header_offset_;
  part_left_ = static_cast<uint64_t>(size);
  state_ = State::kPart;
  return part_left_ == 0 ? EndPart() : Status::Ok();
}

Status TarFramer::BeginPart(char kind) {
  // Each part counts its header too, so that endless empty parts end as well.
  if (pending_.bytes.size() + (pending_.parts.size() + 1) * kTarBlock > limits_.parts_size) {
    return At(Status::Limit("tar: more than " + std::to_string(limits_.parts_size) +
                            " bytes of extended headers before one member"));
  }
  pending_.parts.push_back({kind, 0});
  part_begin_ = pending_.bytes.size();
  return Status::Ok();
}

Status TarFramer::AppendPart(const uint8_t* data, size_t length) {
  if (pending_.bytes.size() + length > limits_.parts_size) {
    return At(Status::Limit("tar: more than " + std::to_string(limits_.parts_size) +
                            " bytes of extended headers before one member"));
  }
  pending_.bytes.insert(pending_.bytes.end(), data, data + length);
  pending_.parts.back().length += static_cast<uint32_t>(length);
  return Status::Ok();
}

Status TarFramer::EndPart() {
  const Part& part = pending_.parts.back();
  const std::string_view payload(reinterpret_cast<const char*>(pending_.bytes.data()) + part_begin_, part.length);
  if (part.kind == 'x') {
    Status status = ReadRecords(payload);
    if (!status.ok()) return status;
  } else if (part.kind == 'L') {
    const std::string_view name = payload.substr(0, payload.find('\0'));
    pending_.name_is_dir.reset();
    if (!name.empty()) pending_.name_is_dir = name.back() == '/';
  }
  skip_payload_ = 0;
  skip_padding_ = PaddingOf(part.length);
  state_ = skip_padding_ > 0 ? State::kSkip : State::kHeader;
  return Status::Ok();
}

// A later x replaces an earlier one completely (E78); an empty value leaves the header's own (E82).
Status TarFramer::ReadRecords(std::string_view records) {
  std::string_view size;
  std::string_view path;
  std::string_view major;
  std::string_view minor;
  const bool well_formed = ForEachPaxRecord(records, [&](std::string_view key, std::string_view value) {
    if (key == "size") size = value;
    if (key == "path") path = value;
    if (key == "GNU.sparse.major") major = value;
    if (key == "GNU.sparse.minor") minor = value;
  });
  if (!well_formed) return At(Status::Invalid("tar: malformed PAX record"));
  pending_.size.reset();
  pending_.path_is_dir.reset();
  if (!size.empty()) {
    int64_t value = 0;
    if (!ParseDecimal(size, value)) return At(Status::Invalid("tar: PAX size is not a number, or out of range"));
    pending_.size = value;
  }
  if (!path.empty()) pending_.path_is_dir = path.back() == '/';
  pending_.has_sparse_map = major == "1" && minor == "0";
  return Status::Ok();
}

Status TarFramer::ReadSparseBlock(const uint8_t* block) {
  if (++sparse_blocks_ * kRegionsPerBlock > limits_.sparse_regions) {
    return At(Status::Limit("tar: sparse file of more than " + std::to_string(limits_.sparse_regions) + " pieces"));
  }
  Status status = AppendPart(block, kTarBlock);
  if (!status.ok()) return status;
  if (block[kSparseBlockExtendedAt] == 0) Commit();
  return Status::Ok();
}

// "count\n" then two lines a region, in whole blocks; what follows in the last block is padding.
Status TarFramer::ReadSparseMapBlock(const uint8_t* block) {
  if (stored_size_ < kTarBlock) return At(Status::Invalid("tar: sparse map is longer than its file"));
  stored_size_ -= kTarBlock;
  Status status = AppendPart(block, kTarBlock);
  if (!status.ok()) return status;
  for (size_t i = 0; i < kTarBlock && (!map_counted_ || map_lines_left_ > 0); i++) {
    const uint8_t byte = block[i];
    if (byte == '\n' && map_digits_ > 0) {
      if (!map_counted_) {
        map_counted_ = true;
        map_lines_left_ = 2 * map_count_;
      } else {
        map_lines_left_--;
      }
      map_digits_ = 0;
      continue;
    }
    if (byte < '0' || byte > '9' || ++map_digits_ > kMapDigits) {
      return At(Status::Invalid("tar: malformed sparse map"));
    }
    if (!map_counted_) {
      map_count_ = map_count_ * 10 + (byte - '0');
      if (map_count_ > limits_.sparse_regions) {
        return At(Status::Limit("tar: sparse file of more than " + std::to_string(limits_.sparse_regions) + " pieces"));
      }
    }
  }
  if (map_counted_ && map_lines_left_ == 0) Commit();
  return Status::Ok();
}

void TarFramer::Commit() {
  uint64_t data_offset = header_offset_ + kTarBlock;
  for (const Part& part : pending_.parts) {
    if (part.kind == 'S' || part.kind == 'M') data_offset += part.length;
  }
  batch_.frames.push_back({header_offset_, data_offset, stored_size_, static_cast<uint32_t>(pending_.parts.size())});
  batch_.parts.insert(batch_.parts.end(), pending_.parts.begin(), pending_.parts.end());
  batch_.bytes.insert(batch_.bytes.end(), header_, header_ + kTarBlock);
  batch_.bytes.insert(batch_.bytes.end(), pending_.bytes.begin(), pending_.bytes.end());
  pending_ = {};
  skip_payload_ = stored_size_;
  skip_padding_ = PaddingOf(stored_size_);
  state_ = stored_size_ > 0 ? State::kSkip : State::kHeader;
}

// Go reads an extended header when it comes, whether or not a member follows, and refuses a malformed one.
void TarFramer::CommitLoose() {
  if (pending_.parts.empty()) return;
  header_offset_ = pending_.header_offset;
  memset(header_, 0, kTarBlock);
  stored_size_ = 0;
  Commit();
}

Status TarFramer::Finish() {
  const char* inside = nullptr;
  switch (state_) {
    case State::kHeader:
    case State::kAfterZero:
      if (fill_ > 0) {
        Status status = Status::Invalid("tar ends inside a header");
        status.offset = static_cast<int64_t>(offset_ - fill_);
        return status;
      }
      break;
    case State::kPart:
      inside = "an extended header";
      break;
    case State::kSparseBlock:
    case State::kSparseMap:
      inside = "a sparse map";
      break;
    case State::kSkip:
      if (skip_payload_ > 0) inside = "the data of a member";
      break;
    case State::kEnded:
      break;
  }
  if (inside != nullptr) return At(Status::Invalid(std::string("tar ends inside ") + inside));
  if (state_ != State::kEnded) CommitLoose();
  return Status::Ok();
}

void TarFramer::Skip() {
  if (state_ != State::kSkip) return;
  offset_ += Skippable();
  skip_payload_ = 0;
  skip_padding_ = 0;
  state_ = State::kHeader;
}

FrameBatch TarFramer::TakeBatch() {
  return std::exchange(batch_, FrameBatch{});
}

}  // namespace peel
