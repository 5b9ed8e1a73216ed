#include "walk_tree.h"

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

namespace peel {
namespace {

void Require(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "a tree that was let through: %s\n", what);
  abort();
}

// Reads every byte, so that a sanitizer sees one that is not there.
void AppendEscaped(std::string_view text, std::string* out) {
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte > 0x20 && byte < 0x7f && byte != '\\') {
      *out += character;
    } else {
      char escaped[5];
      snprintf(escaped, sizeof(escaped), "\\x%02x", byte);
      *out += escaped;
    }
  }
}

void AppendNumber(uint64_t number, std::string* out) {
  *out += '\t';
  *out += std::to_string(number);
}

void AppendInode(const TreeView& tree, uint32_t ino, std::string* out) {
  const InodeRecord& inode = tree.Inode(ino);
  AppendNumber(ino, out);
  AppendNumber(inode.mode, out);
  AppendNumber(inode.uid, out);
  AppendNumber(inode.gid, out);
  AppendNumber(inode.nlink, out);
  AppendNumber(inode.size, out);
  *out += '\t' + std::to_string(inode.mtime_sec);
  AppendNumber(inode.mtime_nsec, out);
  AppendNumber(inode.layer, out);
  AppendNumber(inode.flags, out);
  *out += '\t';
  if (inode.is_symlink()) {
    AppendEscaped(tree.Target(ino), out);
  } else if (inode.is_file()) {
    *out += std::to_string(inode.file.data_offset);
    uint64_t stored = 0;
    for (const SparsePiece& piece : tree.SparsePiecesOf(ino)) {
      Require(piece.stored == stored && piece.offset + piece.length <= inode.size, "its sparse pieces");
      stored += piece.length;
      *out += ',' + std::to_string(piece.offset) + '+' + std::to_string(piece.length);
    }
    Require(tree.StoredSize(ino) == ((inode.flags & kSparse) != 0 ? stored : inode.size), "its stored size");
  } else if (inode.type() == kCharDevice || inode.type() == kBlockDevice) {
    *out += std::to_string(inode.device.major) + ':' + std::to_string(inode.device.minor);
  }
  *out += '\t';
  for (const XattrPair& pair : tree.XattrsOf(ino)) {
    Require(tree.FindXattr(ino, tree.XattrName(pair)) == &pair, "an attribute under its name");
    AppendEscaped(tree.XattrName(pair), out);
    *out += '=';
    AppendEscaped(tree.XattrValue(pair), out);
    *out += ',';
  }
  Require(tree.FindXattr(ino, "") == nullptr, "no attribute");
}

}  // namespace

void WalkTree(const TreeView& tree, std::string* lines) {
  std::string line;
  size_t names = 0;
  size_t directories = 0;
  std::vector<std::pair<uint32_t, std::string>> waiting;
  waiting.emplace_back(kRootIno, "");
  Require(tree.Has(kRootIno) && !tree.Has(0) && !tree.Has(uint64_t{1} << 32), "what inodes it has");
  while (!waiting.empty()) {
    const auto [directory, path] = std::move(waiting.back());
    waiting.pop_back();
    directories += 1;
    Require(directories <= tree.InodeCount(), "a walk without an end");
    Require(tree.Lookup(directory, "") == 0 && tree.Lookup(directory, ".") == 0, "no name");
    Require(tree.Lookup(directory, std::string(255, '\xff') + '\xff') == 0, "no name of 256 bytes");
    if (directory == kRootIno) {
      line = "/";
      AppendInode(tree, directory, &line);
      if (lines != nullptr) *lines += line + '\n';
    }
    for (const Dirent& dirent : tree.DirentsOf(directory)) {
      const std::string_view name = tree.Name(dirent);
      names += 1;
      Require(tree.Lookup(directory, name) == dirent.ino, "a name in its directory");
      Require(tree.Inode(dirent.ino).type() >> 12 == dirent.type, "the type of a name");
      if (lines == nullptr && !tree.Inode(dirent.ino).is_directory()) {
        line.clear();
        AppendInode(tree, dirent.ino, &line);
        continue;
      }
      line = path;
      line += '/';
      AppendEscaped(name, &line);
      std::string below = line;
      AppendInode(tree, dirent.ino, &line);
      if (lines != nullptr) *lines += line + '\n';
      if (!tree.Inode(dirent.ino).is_directory()) continue;
      Require(tree.Inode(dirent.ino).directory.parent == directory, "the way up");
      waiting.emplace_back(dirent.ino, lines == nullptr ? std::string() : std::move(below));
    }
  }
  Require(names + 1 >= tree.InodeCount(), "a name for every inode");
  for (const InodeRecord& inode : tree.Inodes()) {
    Require(tree.Has(inode.ino) && &tree.Inode(inode.ino) == &inode, "an inode under its number");
    if (inode.is_directory()) continue;
    Require(tree.Lookup(inode.ino, "x") == 0 && tree.DirentsOf(inode.ino).empty(), "nothing in what is no directory");
  }
}

}  // namespace peel
