// The merged tree of an image as it lies in a file (docs/TREE-FORMAT.md), read where it lies: no parsing, no copy.
//
//   header │ inodes (64 bytes each) │ numbers (from ino to inode) │ directory entries │ sparse pieces │ xattr sets │
//          │ xattr pairs │ strings │ warnings
//
// Open() looks at every record once and believes none, so that afterwards no accessor can leave the memory, no
// walk up or down the tree can run in circles, and no lookup can miss a name that is there. It does not look at the
// seal: native/tree_seal.h does, which tells damage apart from a tree that was written so.
//
// Ownership: borrows `data`, which must outlive the view and must not change. Threads: immutable after Open; any
// number may read. Errors: Open returns a Status whose offset is the place in the file; accessors have none, their
// preconditions stand beside them. Cost: Open is linear and allocates 4 bytes an inode while it runs, after the
// number of inodes was held against the bytes that are there; Lookup is O(log entries), all else O(1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "status.h"

namespace peel {

constexpr uint32_t kRootIno = 1;

// The S_IFMT part of `mode`. d_type of a directory entry is the same shifted right by 12, as in <dirent.h>.
constexpr uint32_t kTypeMask = 0170000;
constexpr uint32_t kFifo = 0010000;
constexpr uint32_t kCharDevice = 0020000;
constexpr uint32_t kDirectory = 0040000;
constexpr uint32_t kBlockDevice = 0060000;
constexpr uint32_t kFile = 0100000;
constexpr uint32_t kSymlink = 0120000;

// Bits of `flags`.
constexpr uint16_t kImplied = 1;  // no layer has an entry for it
constexpr uint16_t kSparse = 2;   // a file whose pieces are in the table: not all of it is stored

struct FileContent {
  uint64_t data_offset;   // uncompressed, in the tar of the record's layer
  uint32_t sparse_first;  // into the table of pieces, where kSparse is set
  uint32_t sparse_count;
};
struct DirectoryContent {
  uint32_t first;   // into the table of directory entries
  uint32_t count;   // without . and ..
  uint32_t parent;  // ino; the root is its own
  uint32_t zero;
};
struct SymlinkContent {
  uint32_t target;  // into the strings
  uint32_t length;  // equals `size`
  uint64_t zero;
};
struct DeviceNumber {
  uint32_t major;
  uint32_t minor;
  uint64_t zero;
};

// As stored: little-endian.
struct InodeRecord {
  uint32_t mode;  // type and permission bits
  uint32_t uid;
  uint32_t gid;
  uint32_t nlink;
  uint64_t size;  // at most 2^53 - 1
  int64_t mtime_sec;
  uint32_t mtime_nsec;
  uint16_t layer;  // 0 = lowest
  uint16_t flags;
  union {
    FileContent file;
    DirectoryContent directory;
    SymlinkContent symlink;
    DeviceNumber device;  // character and block devices; zero for fifos
  };
  uint32_t xattrs;  // 0, or 1 + the index of a set
  uint32_t ino;     // what it is found by: not its place in the table

  uint32_t type() const { return mode & kTypeMask; }
  bool is_directory() const { return type() == kDirectory; }
  bool is_file() const { return type() == kFile; }
  bool is_symlink() const { return type() == kSymlink; }
};
static_assert(sizeof(InodeRecord) == 64 && alignof(InodeRecord) == 8, "as stored");

// One name in a directory. Names rise in byte order, which makes an index a stable readdir offset.
struct Dirent {
  uint32_t name;  // into the strings
  uint32_t ino;
  uint16_t name_length;  // 1 to 255
  uint8_t type;          // d_type
  uint8_t zero;
};
static_assert(sizeof(Dirent) == 12 && alignof(Dirent) == 4, "as stored");

// A stored piece of a sparse file; what lies between pieces reads as zeros. Pieces rise and do not touch the end.
struct SparsePiece {
  uint64_t offset;  // in the file
  uint64_t length;  // > 0
  uint64_t stored;  // where its bytes lie, counted from data_offset: the sum of the lengths before
};
static_assert(sizeof(SparsePiece) == 24, "as stored");

struct XattrSet {
  uint32_t first;  // into the pairs
  uint32_t count;  // > 0
};
static_assert(sizeof(XattrSet) == 8, "as stored");

// Sorted by name inside its set.
struct XattrPair {
  uint32_t name;  // into the strings
  uint32_t value;
  uint32_t value_length;
  uint16_t name_length;  // 1 to 255
  uint16_t zero;
};
static_assert(sizeof(XattrPair) == 16, "as stored");

// Records that lie one after the other.
template <typename Record>
class Records {
 public:
  Records() = default;
  Records(const Record* first, size_t count) : first_(first), count_(count) {}

  const Record* begin() const { return first_; }
  const Record* end() const { return first_ + count_; }
  size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  const Record& operator[](size_t index) const { return first_[index]; }

 private:
  const Record* first_ = nullptr;
  size_t count_ = 0;
};
using Dirents = Records<Dirent>;
using SparsePieces = Records<SparsePiece>;
using XattrPairs = Records<XattrPair>;

// The header: 256 bytes, then the sections, each at a multiple of 8.
constexpr size_t kTreeHeaderSize = 256;
constexpr size_t kTreeBodySum = 192;    // sha256 of all after the header
constexpr size_t kTreeHeaderSum = 224;  // sha256 of the header before this sum
constexpr uint32_t kTreeVersion = 2;

class TreeView {
 public:
  // Validates all of `data`, which must be aligned to 8 bytes. `*out` is untouched where it fails.
  static Status Open(const uint8_t* data, size_t size, TreeView* out);

  uint32_t InodeCount() const { return static_cast<uint32_t>(inodes_.size()); }
  // No record's `layer` reaches it.
  uint32_t LayerCount() const { return layer_count_; }
  // Of the image: where false, no inode has an attribute.
  bool HasXattrs() const { return !xattr_sets_.empty(); }
  // Blocks of 4 KiB that the files would take, each inode once; at most 2^53 - 1: what statfs(2) says.
  uint64_t Blocks() const { return blocks_; }
  // 32 bytes: what the tree was made from (treeKey of src/tree/stored-tree.ts).
  const uint8_t* Key() const { return key_; }

  // Whether `ino` may be given to the functions below.
  bool Has(uint64_t ino) const { return ino - 1 < places_.size() && places_[ino - 1] != 0; }
  const InodeRecord& Inode(uint32_t ino) const { return inodes_[places_[ino - 1] - 1]; }
  // All of them, directories before what is in them.
  const Records<InodeRecord>& Inodes() const { return inodes_; }

  // The ino of a name, 0 for none, also where `directory` is none. Does not know . and .. .
  uint32_t Lookup(uint32_t directory, std::string_view name) const;
  // Empty for what is no directory.
  Dirents DirentsOf(uint32_t ino) const;
  std::string_view Name(const Dirent& dirent) const { return String(dirent.name, dirent.name_length); }
  // Of a symbolic link; empty for all else.
  std::string_view Target(uint32_t ino) const;

  // Empty for a file that is stored whole.
  SparsePieces SparsePiecesOf(uint32_t ino) const;
  // Bytes that the layer stores for a file: its size without holes.
  uint64_t StoredSize(uint32_t ino) const;

  XattrPairs XattrsOf(uint32_t ino) const;
  std::string_view XattrName(const XattrPair& pair) const { return String(pair.name, pair.name_length); }
  std::string_view XattrValue(const XattrPair& pair) const { return String(pair.value, pair.value_length); }
  // nullptr for none.
  const XattrPair* FindXattr(uint32_t ino, std::string_view name) const;

 private:
  friend class TreeValidator;

  std::string_view String(uint32_t offset, size_t length) const { return {strings_.data() + offset, length}; }

  Records<InodeRecord> inodes_;
  // By ino - 1: 1 + the index of its record, or 0.
  Records<uint32_t> places_;
  Dirents dirents_;
  SparsePieces sparse_;
  Records<XattrSet> xattr_sets_;
  XattrPairs xattr_pairs_;
  std::string_view strings_;
  const uint8_t* key_ = nullptr;
  uint64_t blocks_ = 0;
  uint32_t layer_count_ = 0;
};

}  // namespace peel
