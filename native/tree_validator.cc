// TreeView::Open: everything that the accessors rely on, checked once (docs/TREE-FORMAT.md, "What a reader checks").
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "tree_view.h"

namespace peel {
namespace {

constexpr uint64_t kLargestNumber = (uint64_t{1} << 53) - 1;  // JavaScript reads the same records
constexpr uint64_t kLargestTable = 0xffffffff;                // indexes are 32 bits
constexpr uint32_t kNobody = 0xffffffff;                      // (uid_t)-1
constexpr uint32_t kNanoseconds = 1'000'000'000;
constexpr size_t kLongestName = 255;     // NAME_MAX
constexpr size_t kLongestTarget = 4095;  // PATH_MAX less its NUL
constexpr uint64_t kBlockSize = 4096;
constexpr uint32_t kPermissions = 07777;

constexpr size_t kSectionTable = 64;  // in the header: offset and length of each
enum Section : uint8_t {
  kInodes,
  kNumbers,
  kDirents,
  kSparsePieces,
  kXattrSets,
  kXattrPairs,
  kStrings,
  kWarnings,
  kSections
};
static_assert(kSectionTable + 16 * kSections == kTreeBodySum, "the header has no gap");

template <typename Number>
Number Load(const uint8_t* at) {
  Number number;
  memcpy(&number, at, sizeof(number));
  return number;
}

bool IsZero(const uint8_t* bytes, size_t length) {
  for (size_t i = 0; i < length; ++i) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

bool HasNul(std::string_view text) {
  return !text.empty() && memchr(text.data(), 0, text.size()) != nullptr;
}

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName && name != "." && name != ".." && !HasNul(name) &&
         memchr(name.data(), '/', name.size()) == nullptr;
}

}  // namespace

class TreeValidator {
 public:
  TreeValidator(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  Status Run(TreeView* out) {
    if (Status status = ReadHeader(); !status.ok()) return status;
    if (Status status = CheckNumbers(); !status.ok()) return status;
    if (Status status = CheckXattrs(); !status.ok()) return status;
    if (Status status = CheckInodes(); !status.ok()) return status;
    if (Status status = CheckLinks(); !status.ok()) return status;
    if (Status status = CheckWarnings(); !status.ok()) return status;
    *out = view_;
    return Status::Ok();
  }

 private:
  Status ReadHeader();
  Status ReadSections();
  Status CheckNumbers() const;
  Status CheckXattrs();
  Status CheckInodes();
  Status CheckLinks();
  Status CheckWarnings() const;
  // Each nullptr, or what is wrong with the record.
  const char* CheckCommon(const InodeRecord& inode) const;
  const char* CheckByType(const InodeRecord& inode);
  const char* CheckFile(const InodeRecord& inode);
  const char* CheckDirectory(const InodeRecord& inode);
  const char* CheckSymlink(const InodeRecord& inode) const;

  template <typename Record>
  Status Table(Section section, Records<Record>& records) const {
    const uint64_t length = length_[section];
    if (length % sizeof(Record) != 0 || length / sizeof(Record) > kLargestTable) {
      return Broken("a table of " + std::to_string(length) + " bytes", offset_[section]);
    }
    records = {reinterpret_cast<const Record*>(data_ + offset_[section]), length / sizeof(Record)};
    return Status::Ok();
  }
  bool HasString(uint64_t offset, uint64_t length) const { return offset + length <= view_.strings_.size(); }
  size_t IndexOf(const InodeRecord& inode) const { return static_cast<size_t>(&inode - view_.inodes_.begin()); }
  uint64_t OffsetOf(const void* record) const {
    return static_cast<uint64_t>(static_cast<const uint8_t*>(record) - data_);
  }
  static Status Broken(std::string what, uint64_t offset) {
    return Status::Invalid("stored tree: " + std::move(what), static_cast<int64_t>(offset));
  }

  const uint8_t* data_;
  size_t size_;
  TreeView view_;
  uint64_t offset_[kSections] = {};
  uint64_t length_[kSections] = {};
  // How far the tables are accounted for: each record belongs to exactly one inode, in their order.
  uint64_t next_dirent_ = 0;
  uint64_t next_sparse_ = 0;
  // Names that lead to each inode, in the order of the records.
  std::vector<uint32_t> names_;
};

Status TreeValidator::ReadHeader() {
  if (reinterpret_cast<uintptr_t>(data_) % alignof(InodeRecord) != 0) return Broken("not aligned in memory", 0);
  if (size_ < kTreeHeaderSize) return Broken(std::to_string(size_) + " bytes, less than its header", 0);
  if (memcmp(data_, "PEELTREE", 8) != 0) return Broken("its magic is another", 0);
  if (Load<uint32_t>(data_ + 8) != kTreeVersion) {
    return Broken("version " + std::to_string(Load<uint32_t>(data_ + 8)) + ", want " + std::to_string(kTreeVersion), 8);
  }
  if (Load<uint32_t>(data_ + 12) != kTreeHeaderSize) return Broken("a header of another size", 12);
  if (Load<uint64_t>(data_ + 16) != size_) {
    return Broken("says " + std::to_string(Load<uint64_t>(data_ + 16)) + " bytes and has " + std::to_string(size_), 16);
  }
  view_.layer_count_ = Load<uint32_t>(data_ + 24);
  if (view_.layer_count_ > 0x10000) return Broken("too many layers", 24);
  if (!IsZero(data_ + 28, 4)) {
    return Broken("its header has more than it should", 28);
  }
  view_.key_ = data_ + 32;
  return ReadSections();
}

// Sections follow each other at the next multiple of 8, so that none overlaps another or leaves a gap.
Status TreeValidator::ReadSections() {
  uint64_t end = kTreeHeaderSize;
  for (size_t section = 0; section < kSections; ++section) {
    const size_t place = kSectionTable + 16 * section;
    offset_[section] = Load<uint64_t>(data_ + place);
    length_[section] = Load<uint64_t>(data_ + place + 8);
    const uint64_t aligned = (end + 7) / 8 * 8;
    if (offset_[section] != aligned || aligned > size_ || length_[section] > size_ - aligned) {
      return Broken("section " + std::to_string(section) + " is out of place", place);
    }
    if (!IsZero(data_ + end, aligned - end)) return Broken("bytes between two sections", end);
    end = aligned + length_[section];
  }
  if (end != size_) return Broken(std::to_string(size_ - end) + " bytes left over", end);
  if (Status status = Table(kInodes, view_.inodes_); !status.ok()) return status;
  if (Status status = Table(kNumbers, view_.places_); !status.ok()) return status;
  if (Status status = Table(kDirents, view_.dirents_); !status.ok()) return status;
  if (Status status = Table(kSparsePieces, view_.sparse_); !status.ok()) return status;
  if (Status status = Table(kXattrSets, view_.xattr_sets_); !status.ok()) return status;
  if (Status status = Table(kXattrPairs, view_.xattr_pairs_); !status.ok()) return status;
  if (length_[kStrings] > kLargestTable) return Broken("too many strings", offset_[kStrings]);
  view_.strings_ = {reinterpret_cast<const char*>(data_ + offset_[kStrings]), length_[kStrings]};
  return Status::Ok();
}

// Each inode is found under its number and no other. The root is the first of both.
Status TreeValidator::CheckNumbers() const {
  if (view_.inodes_.empty() || view_.inodes_[0].ino != kRootIno || !view_.inodes_[0].is_directory()) {
    return Broken("its root is no directory", offset_[kInodes]);
  }
  for (const uint32_t& place : view_.places_) {
    const auto ino = static_cast<uint64_t>(&place - view_.places_.begin()) + 1;
    if (place > view_.inodes_.size() || (place != 0 && view_.inodes_[place - 1].ino != ino)) {
      return Broken("number " + std::to_string(ino) + " leads to another inode", OffsetOf(&place));
    }
  }
  for (const InodeRecord& inode : view_.inodes_) {
    if (!view_.Has(inode.ino) || &view_.Inode(inode.ino) != &inode) {
      return Broken("inode " + std::to_string(inode.ino) + " is not found under its number", OffsetOf(&inode));
    }
  }
  if (view_.places_[view_.places_.size() - 1] == 0) return Broken("numbers of no inode", offset_[kNumbers]);
  return Status::Ok();
}

Status TreeValidator::CheckXattrs() {
  uint64_t next = 0;
  for (const XattrSet& set : view_.xattr_sets_) {
    if (set.first != next || set.count == 0 || set.count > view_.xattr_pairs_.size() - next) {
      return Broken("a set of attributes is out of place", OffsetOf(&set));
    }
    next += set.count;
    std::string_view before;
    for (uint64_t index = set.first; index < next; ++index) {
      const XattrPair& pair = view_.xattr_pairs_[index];
      if (pair.zero != 0 || pair.name_length == 0 || pair.name_length > kLongestName ||
          !HasString(pair.name, pair.name_length) || !HasString(pair.value, pair.value_length)) {
        return Broken("an attribute is out of bounds", OffsetOf(&pair));
      }
      const std::string_view name = view_.XattrName(pair);
      if (HasNul(name) || before >= name) return Broken("the names of attributes do not rise", OffsetOf(&pair));
      before = name;
    }
  }
  if (next != view_.xattr_pairs_.size()) return Broken("attributes of no set", offset_[kXattrPairs]);
  return Status::Ok();
}

Status TreeValidator::CheckInodes() {
  names_.resize(view_.inodes_.size());
  for (const InodeRecord& inode : view_.inodes_) {
    const char* problem = CheckCommon(inode);
    if (problem == nullptr) problem = CheckByType(inode);
    if (problem != nullptr) return Broken("inode " + std::to_string(inode.ino) + ": " + problem, OffsetOf(&inode));
  }
  if (next_dirent_ != view_.dirents_.size()) return Broken("entries of no directory", offset_[kDirents]);
  if (next_sparse_ != view_.sparse_.size()) return Broken("sparse pieces of no file", offset_[kSparsePieces]);
  return Status::Ok();
}

const char* TreeValidator::CheckCommon(const InodeRecord& inode) const {
  if ((inode.mode & ~(kTypeMask | kPermissions)) != 0) return "a mode of more than type and permissions";
  if (inode.uid == kNobody || inode.gid == kNobody) return "an owner that nobody can be";
  if (inode.size > kLargestNumber) return "a size out of range";
  const int64_t largest_time = static_cast<int64_t>(kLargestNumber);
  if (inode.mtime_sec > largest_time || inode.mtime_sec < -largest_time || inode.mtime_nsec >= kNanoseconds) {
    return "a time out of range";
  }
  if (inode.layer >= view_.layer_count_) return "a layer that the image does not have";
  if ((inode.flags & ~(kImplied | kSparse)) != 0) return "unknown flags";
  if ((inode.flags & kImplied) != 0 && !inode.is_directory()) return "implied, but no directory";
  if ((inode.flags & kSparse) != 0 && !inode.is_file()) return "sparse, but no file";
  if (inode.size != 0 && !inode.is_file() && !inode.is_symlink()) return "a size where there can be none";
  if (inode.xattrs > view_.xattr_sets_.size()) return "attributes that are not there";
  return nullptr;
}

const char* TreeValidator::CheckByType(const InodeRecord& inode) {
  switch (inode.type()) {
    case kFile:
      return CheckFile(inode);
    case kDirectory:
      return CheckDirectory(inode);
    case kSymlink:
      return CheckSymlink(inode);
    case kCharDevice:
    case kBlockDevice:
      return inode.device.zero == 0 ? nullptr : "a record with more than it should have";
    case kFifo:
      return inode.device.zero == 0 && inode.device.major == 0 && inode.device.minor == 0
                 ? nullptr
                 : "a record with more than it should have";
    default:
      return "of unknown type";
  }
}

const char* TreeValidator::CheckFile(const InodeRecord& inode) {
  const FileContent& file = inode.file;
  uint64_t stored = inode.size;
  if ((inode.flags & kSparse) == 0) {
    if (file.sparse_first != 0 || file.sparse_count != 0) return "sparse pieces, but not sparse";
  } else {
    if (file.sparse_first != next_sparse_ || file.sparse_count > view_.sparse_.size() - next_sparse_) {
      return "its sparse pieces are out of place";
    }
    stored = 0;
    uint64_t end = 0;
    for (uint32_t i = 0; i < file.sparse_count; ++i) {
      const SparsePiece& piece = view_.sparse_[next_sparse_ + i];
      if (piece.offset < end || piece.offset > inode.size || piece.length == 0 ||
          piece.length > inode.size - piece.offset || piece.stored != stored) {
        return "its sparse pieces do not rise inside it";
      }
      end = piece.offset + piece.length;
      stored += piece.length;
    }
    next_sparse_ += file.sparse_count;
  }
  // `stored` is at most the size: pieces do not overlap.
  if (file.data_offset > kLargestNumber - stored) return "its bytes lie out of range";
  const uint64_t blocks = inode.size / kBlockSize + (inode.size % kBlockSize == 0 ? 0 : 1);
  view_.blocks_ = view_.blocks_ > kLargestNumber - blocks ? kLargestNumber : view_.blocks_ + blocks;
  return nullptr;
}

// The records of parents come before those of their children, so the way up ends at the root, and every directory is
// the child of exactly one: no circle, no second way.
const char* TreeValidator::CheckDirectory(const InodeRecord& inode) {
  const DirectoryContent& directory = inode.directory;
  if (directory.zero != 0) return "a record with more than it should have";
  if (!view_.Has(directory.parent)) return "a parent that is not there";
  const InodeRecord& parent = view_.Inode(directory.parent);
  if (inode.ino == kRootIno ? directory.parent != kRootIno : &parent >= &inode) {
    return "its parent does not come before it";
  }
  if (directory.first != next_dirent_ || directory.count > view_.dirents_.size() - next_dirent_) {
    return "its entries are out of place";
  }
  uint64_t links = 2;
  std::string_view before;
  for (const Dirent& dirent : view_.DirentsOf(inode.ino)) {
    if (dirent.zero != 0 || !HasString(dirent.name, dirent.name_length)) return "a name out of bounds";
    const std::string_view name = view_.Name(dirent);
    if (!IsName(name)) return "something that is no name";
    if (before >= name) return "names that do not rise";
    before = name;
    if (!view_.Has(dirent.ino)) return "a name for an inode that is not there";
    const InodeRecord& child = view_.Inode(dirent.ino);
    if (dirent.type != child.type() >> 12) return "a name of another type than its inode";
    if (child.is_directory()) {
      if (child.directory.parent != inode.ino || dirent.ino == kRootIno) return "a child whose parent is another";
      links += 1;
    }
    names_[IndexOf(child)] += 1;
  }
  next_dirent_ += directory.count;
  return inode.nlink == links ? nullptr : "a link count that its entries do not give";
}

const char* TreeValidator::CheckSymlink(const InodeRecord& inode) const {
  const SymlinkContent& link = inode.symlink;
  if (link.zero != 0) return "a record with more than it should have";
  if (link.length > kLongestTarget || inode.size != link.length) return "a target of another length";
  if (!HasString(link.target, link.length)) return "a target out of bounds";
  if (HasNul({view_.strings_.data() + link.target, link.length})) return "a NUL in its target";
  return nullptr;
}

Status TreeValidator::CheckLinks() {
  for (const InodeRecord& inode : view_.inodes_) {
    const uint32_t names = names_[IndexOf(inode)];
    const uint32_t wanted = inode.ino == kRootIno ? 0 : inode.is_directory() ? 1 : inode.nlink;
    if (names != wanted || (wanted == 0 && inode.ino != kRootIno)) {
      return Broken("inode " + std::to_string(inode.ino) + ": " + std::to_string(names) + " names lead to it",
                    OffsetOf(&inode));
    }
  }
  return Status::Ok();
}

// Each: length in 32 bits, then the bytes.
Status TreeValidator::CheckWarnings() const {
  uint64_t at = offset_[kWarnings];
  while (at < size_) {
    if (size_ - at < 4) return Broken("a warning cut short", at);
    const uint32_t length = Load<uint32_t>(data_ + at);
    if (length > size_ - at - 4) return Broken("a warning cut short", at);
    at += 4 + uint64_t{length};
  }
  return Status::Ok();
}

Status TreeView::Open(const uint8_t* data, size_t size, TreeView* out) {
  try {
    return TreeValidator(data, size).Run(out);
  } catch (const std::bad_alloc&) {
    return Status::Of(Fault::kMemory, "stored tree: out of memory");
  }
}

}  // namespace peel
