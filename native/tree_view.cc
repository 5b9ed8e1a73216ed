#include "tree_view.h"

namespace peel {
namespace {

// The first record whose name is not below `name`, by bytes; records.size() for none.
template <typename Record, typename NameOf>
size_t LowerBound(const Records<Record>& records, std::string_view name, NameOf name_of) {
  size_t low = 0;
  size_t high = records.size();
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (name_of(records[middle]) < name) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace

Dirents TreeView::DirentsOf(uint32_t ino) const {
  const InodeRecord& inode = Inode(ino);
  if (!inode.is_directory()) return {};
  return {dirents_.begin() + inode.directory.first, inode.directory.count};
}

uint32_t TreeView::Lookup(uint32_t directory, std::string_view name) const {
  const Dirents dirents = DirentsOf(directory);
  const size_t at = LowerBound(dirents, name, [this](const Dirent& dirent) { return Name(dirent); });
  return at < dirents.size() && Name(dirents[at]) == name ? dirents[at].ino : 0;
}

std::string_view TreeView::Target(uint32_t ino) const {
  const InodeRecord& inode = Inode(ino);
  return inode.is_symlink() ? String(inode.symlink.target, inode.symlink.length) : std::string_view();
}

SparsePieces TreeView::SparsePiecesOf(uint32_t ino) const {
  const InodeRecord& inode = Inode(ino);
  if ((inode.flags & kSparse) == 0) return {};
  return {sparse_.begin() + inode.file.sparse_first, inode.file.sparse_count};
}

uint64_t TreeView::StoredSize(uint32_t ino) const {
  const InodeRecord& inode = Inode(ino);
  if (!inode.is_file()) return 0;
  if ((inode.flags & kSparse) == 0) return inode.size;
  const SparsePieces pieces = SparsePiecesOf(ino);
  return pieces.empty() ? 0 : pieces[pieces.size() - 1].stored + pieces[pieces.size() - 1].length;
}

XattrPairs TreeView::XattrsOf(uint32_t ino) const {
  const uint32_t number = Inode(ino).xattrs;
  if (number == 0) return {};
  const XattrSet& set = xattr_sets_[number - 1];
  return {xattr_pairs_.begin() + set.first, set.count};
}

const XattrPair* TreeView::FindXattr(uint32_t ino, std::string_view name) const {
  const XattrPairs pairs = XattrsOf(ino);
  const size_t at = LowerBound(pairs, name, [this](const XattrPair& pair) { return XattrName(pair); });
  return at < pairs.size() && XattrName(pairs[at]) == name ? &pairs[at] : nullptr;
}

}  // namespace peel
