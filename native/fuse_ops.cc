#include "fuse_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace peel::fuse {
namespace {

// Seconds, thirty years: the kernel adds them to its clock, so not the largest number there is.
constexpr uint64_t kForever = 1000000000;
constexpr uint32_t kNameMax = 255;
constexpr uint64_t kSectorsPerBlock = kPageSize / 512;
constexpr size_t kDotEntries = 2;

Answer Fail(int error) {
  Answer answer;
  answer.error = error;
  return answer;
}

Answer Nothing() {
  Answer answer;
  answer.kind = Answer::kNone;
  return answer;
}

Answer ReplyWith(const void* data, size_t size) {
  Answer answer;
  answer.data = static_cast<const uint8_t*>(data);
  answer.size = size;
  return answer;
}

Answer Unknown() {
  Answer answer;
  answer.kind = Answer::kUnknown;
  return answer;
}

template <typename T>
Answer Copy(const T& value, Output& output) {
  uint8_t* room = output.Room();
  memcpy(room, &value, sizeof(T));
  return ReplyWith(room, sizeof(T));
}

// As the kernel unpacks it: 12 bits of major, 20 of minor.
uint32_t EncodeDevice(const DeviceNumber& device) {
  return (device.minor & 0xff) | ((device.major & 0xfff) << 8) | ((device.minor & 0xfff00) << 12);
}

bool IsDevice(const InodeRecord& inode) {
  return inode.type() == kCharDevice || inode.type() == kBlockDevice;
}

constexpr std::string_view kAclPrefix = "system.posix_acl_";

// Fills a READDIR or READDIRPLUS answer as far as there is room.
class DirentWriter {
 public:
  DirentWriter(uint8_t* room, size_t size, bool plus) : room_(room), left_(size), plus_(plus) {}

  // False where there is no room. `entry` is used by READDIRPLUS alone.
  template <typename FillEntry>
  bool Add(std::string_view name, uint64_t ino, uint32_t type, uint64_t next, FillEntry fill_entry) {
    const size_t head = plus_ ? sizeof(EntryReply) : 0;
    const size_t size = (head + sizeof(DirentHeader) + name.size() + 7) & ~size_t{7};
    if (size > left_) return false;
    uint8_t* at = room_ + used_;
    memset(at + size - 8, 0, 8);
    if (plus_) {
      EntryReply entry{};
      fill_entry(&entry);
      memcpy(at, &entry, sizeof(entry));
    }
    const DirentHeader header{ino, next, static_cast<uint32_t>(name.size()), type};
    memcpy(at + head, &header, sizeof(header));
    memcpy(at + head + sizeof(header), name.data(), name.size());
    used_ += size;
    left_ -= size;
    return true;
  }

  size_t used() const { return used_; }

 private:
  uint8_t* room_;
  size_t used_ = 0;
  size_t left_;
  bool plus_;
};

}  // namespace

Ops::Ops(Tree tree, Bytes& bytes, Handles& handles, std::shared_ptr<const OpsOptions> options)
    : tree_(tree.view),
      is_whole_(tree.is_whole),
      tree_bytes_(std::move(tree.bytes)),
      bytes_(bytes),
      handles_(handles),
      shared_options_(std::move(options)),
      options_(*shared_options_) {
  for (const InodeRecord& inode : tree_.Inodes()) {
    if (inode.flags & kSparse) has_sparse_ = true;
    if (inode.xattrs == 0 || has_posix_acls_) continue;
    for (const XattrPair& pair : tree_.XattrsOf(inode.ino)) {
      if (tree_.XattrName(pair).substr(0, kAclPrefix.size()) == kAclPrefix) has_posix_acls_ = true;
    }
  }
}

// A layer that is not known yet may bring access control lists. Whoever made a mount without kernel checks wants none.
Wishes Ops::InitWishes() const {
  Wishes wishes;
  wishes.posix_acls = has_posix_acls_ || (!is_whole_ && options_.kernel_checks);
  wishes.mapped_owners = options_.kernel_checks;
  wishes.passthrough = options_.passthrough;
  return wishes;
}

uint32_t Ops::InoOf(uint64_t node) const {
  const uint64_t ino = node & 0xffffffff;
  const uint64_t directory = node >> 32;
  if (!tree_.Has(ino)) return 0;
  if (directory != 0 && !(options_.contains_links && tree_.Has(directory))) return 0;
  return static_cast<uint32_t>(ino);
}

uint64_t Ops::NodeOf(uint32_t directory, uint32_t ino) const {
  // Where a link leads depends on the directory, so each of its names is a node. Their st_ino is the same.
  return options_.contains_links && tree_.Inode(ino).is_symlink() ? LinkKey(directory, ino) : ino;
}

std::string_view Ops::TargetOf(uint64_t node) const {
  if (options_.contains_links) {
    const auto found = options_.targets.find(node);
    if (found != options_.targets.end()) return found->second;
  }
  return tree_.Target(static_cast<uint32_t>(node));
}

Attributes Ops::AttributesOf(uint64_t node) const {
  const auto ino = static_cast<uint32_t>(node);
  const InodeRecord& inode = tree_.Inode(ino);
  Attributes attributes{};
  attributes.ino = ino;
  attributes.size = options_.contains_links && inode.is_symlink() ? TargetOf(node).size() : inode.size;
  attributes.blocks = (attributes.size + kPageSize - 1) / kPageSize * kSectorsPerBlock;
  attributes.atime = attributes.mtime = attributes.ctime = inode.mtime_sec;
  attributes.atime_nsec = attributes.mtime_nsec = attributes.ctime_nsec = inode.mtime_nsec;
  attributes.mode = inode.mode;
  // 1: how many there are is not known, as other file systems that do not count subdirectories say.
  attributes.nlink = !is_whole_ && inode.is_directory() ? 1 : inode.nlink;
  attributes.uid = options_.has_uid ? options_.uid : inode.uid;
  attributes.gid = options_.has_gid ? options_.gid : inode.gid;
  attributes.rdev = IsDevice(inode) ? EncodeDevice(inode.device) : 0;
  attributes.block_size = kPageSize;
  return attributes;
}

uint64_t Ops::ValidFor(uint32_t ino) const {
  return !is_whole_ && tree_.Inode(ino).is_directory() ? 0 : kForever;
}

void Ops::FillEntry(uint64_t node, EntryReply* entry) const {
  entry->node = node;
  entry->entry_valid = kForever;
  entry->attributes_valid = ValidFor(static_cast<uint32_t>(node));
  entry->attributes = AttributesOf(node);
}

Answer Ops::Respond(const Request& request, const Terms& session, bool may_wait, Output& output) const {
  if (IsWriting(request.opcode)) return Fail(EROFS);
  const uint32_t ino = InoOf(request.node);
  switch (request.opcode) {
    case kForget:
    case kBatchForget:
    case kNotifyReply:
      return Nothing();
    case kStatfs:
      return Statfs(output);
    case kDestroy:
      return Answer();
    // The kernel then never asks again, and does what is right for a file system that keeps no state: no
    // locks but its own, nothing to flush, the whole file is data. STATX would add the time of birth, which an image
    // does not have, at the price of a request for each stat(1) of what is cached.
    case kFlush:
    case kFsync:
    case kFsyncdir:
    case kGetlk:
    case kSetlk:
    case kSetlkw:
    case kBmap:
    case kPoll:
    case kSetupMapping:
    case kRemoveMapping:
    case kSyncfs:
    case kStatx:
      return Fail(ENOSYS);
    case kIoctl:
      return Fail(ENOTTY);
    default:
      break;
  }
  if (ino == 0) return is_whole_ ? Fail(ESTALE) : Unknown();
  switch (request.opcode) {
    case kLookup:
      return Lookup(request, ino, output);
    case kGetattr:
      return Copy(AttributesReply{ValidFor(ino), 0, 0, AttributesOf(request.node)}, output);
    case kReadlink:
      return Readlink(request, ino);
    case kOpen:
      return Open(request, ino, session, output);
    case kOpendir:
      if (session.Has(kNoOpendirSupport)) return Fail(ENOSYS);
      return Copy(OpenReply{0, kKeepCache | kCacheDirectory, 0}, output);
    case kRelease:
      handles_.Release(ino, request.handle);
      return Answer();
    case kReleasedir:
      return Answer();
    case kRead:
      return Read(request, ino, may_wait, output);
    case kReaddir:
    case kReaddirplus:
      return Readdir(request, ino, output);
    case kGetxattr:
      return Getxattr(request, ino, output);
    case kListxattr:
      return Listxattr(request, ino, output);
    case kAccess:
      // The kernel checks permissions by itself (default_permissions) and hardly asks.
      return Fail((request.flags & W_OK) != 0 ? EROFS : ENOSYS);
    case kLseek:
      return Lseek(request, ino, output);
    default:
      return Fail(ENOSYS);
  }
}

Answer Ops::Lookup(const Request& request, uint32_t ino, Output& output) const {
  const InodeRecord& directory = tree_.Inode(ino);
  // A file handle that outlived the dentry cache is looked up as "." of whatever it is.
  if (!directory.is_directory() && request.name != ".") return Fail(ENOTDIR);
  if (request.name.size() > kNameMax) return Fail(ENAMETOOLONG);
  EntryReply entry{};
  if (request.name == ".") {
    FillEntry(request.node, &entry);
  } else if (request.name == "..") {
    FillEntry(directory.directory.parent, &entry);
  } else if (const uint32_t child = tree_.Lookup(ino, request.name); child != 0) {
    FillEntry(NodeOf(ino, child), &entry);
  } else if (!is_whole_) {
    return Unknown();
  } else {
    entry.entry_valid = kForever;
  }
  return Copy(entry, output);
}

Answer Ops::Readlink(const Request& request, uint32_t ino) const {
  if (!tree_.Inode(ino).is_symlink()) return Fail(EINVAL);
  const std::string_view target = TargetOf(request.node);
  return ReplyWith(target.data(), target.size());
}

Answer Ops::Open(const Request& request, uint32_t ino, const Terms& session, Output& output) const {
  if ((request.flags & O_ACCMODE) != O_RDONLY) return Fail(EROFS);
  if (session.Has(kNoOpenSupport)) return Fail(ENOSYS);
  const InodeRecord& inode = tree_.Inode(ino);
  const bool is_stored_whole = inode.is_file() && (inode.flags & kSparse) == 0;
  if (!session.Has(kPassthrough) || !is_stored_whole) return Copy(OpenReply{0, kKeepCache, 0}, output);
  return Copy(handles_.Open(ino, inode.size), output);
}

Answer Ops::Read(const Request& request, uint32_t ino, bool may_wait, Output& output) const {
  const InodeRecord& inode = tree_.Inode(ino);
  if (inode.is_directory()) return Fail(EISDIR);
  if (!inode.is_file()) return Fail(EINVAL);
  if (request.size > kMaxAnswer) return Fail(EINVAL);
  if (request.offset >= inode.size) return Answer();
  const uint64_t start = request.offset;
  const auto length = static_cast<size_t>(std::min<uint64_t>(request.size, inode.size - start));
  uint8_t* room = output.Room();
  const auto not_all = [length](Found found) {
    Answer answer;
    answer.kind = found == Found::kNotNow ? Answer::kLater : Answer::kMiss;
    answer.size = length;
    return answer;
  };
  if ((inode.flags & kSparse) == 0) {
    const Found found = bytes_.Read(inode.layer, inode.file.data_offset + start, length, room, may_wait);
    return found == Found::kAll ? ReplyWith(room, length) : not_all(found);
  }

  // Pieces are stored back to back: whatever the read covers is one range of the layer.
  const SparsePieces pieces = tree_.SparsePiecesOf(ino);
  const auto* piece = std::partition_point(pieces.begin(), pieces.end(),
                                           [&](const SparsePiece& each) { return each.offset + each.length <= start; });
  struct Part {
    size_t at;
    size_t length;
  };
  std::vector<Part> parts;
  uint64_t stored = 0;
  size_t total = 0;
  for (; piece != pieces.end() && piece->offset < start + length; ++piece) {
    const uint64_t from = std::max(piece->offset, start);
    const uint64_t to = std::min(piece->offset + piece->length, start + length);
    if (parts.empty()) stored = piece->stored + (from - piece->offset);
    parts.push_back({static_cast<size_t>(from - start), static_cast<size_t>(to - from)});
    total += static_cast<size_t>(to - from);
  }
  memset(room, 0, length);
  if (total == 0) return ReplyWith(room, length);
  uint8_t* scratch = output.Scratch();
  const Found found = bytes_.Read(inode.layer, inode.file.data_offset + stored, total, scratch, may_wait);
  if (found != Found::kAll) return not_all(found);
  for (const Part& part : parts) {
    memcpy(room + part.at, scratch, part.length);
    scratch += part.length;
  }
  return ReplyWith(room, length);
}

Answer Ops::Readdir(const Request& request, uint32_t ino, Output& output) const {
  const InodeRecord& directory = tree_.Inode(ino);
  if (!directory.is_directory()) return Fail(ENOTDIR);
  if (!is_whole_) return Unknown();
  const Dirents dirents = tree_.DirentsOf(ino);
  const size_t room_size = std::min<size_t>(request.size, kMaxAnswer);
  uint8_t* room = output.Room();
  DirentWriter writer(room, room_size, request.opcode == kReaddirplus);

  // An offset is an index: 0 is ".", 1 is "..", then the entries in byte order. It means the same for ever.
  constexpr uint32_t kDirectoryType = kDirectory >> 12;
  // Node 0 tells READDIRPLUS that the entry is no lookup.
  const auto no_entry = [](EntryReply*) {};
  uint64_t index = request.offset;
  bool has_room = true;
  if (index == 0) has_room = writer.Add(".", ino, kDirectoryType, ++index, no_entry);
  if (has_room && index == 1)
    has_room = writer.Add("..", directory.directory.parent, kDirectoryType, ++index, no_entry);
  while (has_room && index - kDotEntries < dirents.size()) {
    const Dirent& dirent = dirents[static_cast<size_t>(index - kDotEntries)];
    has_room = writer.Add(tree_.Name(dirent), dirent.ino, dirent.type, ++index,
                          [&](EntryReply* entry) { FillEntry(NodeOf(ino, dirent.ino), entry); });
  }
  // Not even one entry fits: an empty answer would mean that there are no more.
  if (!has_room && writer.used() == 0) return Fail(EINVAL);
  return ReplyWith(room, writer.used());
}

Answer Ops::Getxattr(const Request& request, uint32_t ino, Output& output) const {
  if (is_whole_ && !tree_.HasXattrs()) return Fail(ENOSYS);
  const XattrPair* pair = tree_.FindXattr(ino, request.name);
  if (pair == nullptr) return Fail(ENODATA);
  const std::string_view value = tree_.XattrValue(*pair);
  if (request.size == 0) return Copy(XattrReply{static_cast<uint32_t>(value.size()), 0}, output);
  if (value.size() > request.size) return Fail(ERANGE);
  return ReplyWith(value.data(), value.size());
}

Answer Ops::Listxattr(const Request& request, uint32_t ino, Output& output) const {
  if (is_whole_ && !tree_.HasXattrs()) return Fail(ENOSYS);
  const XattrPairs pairs = tree_.XattrsOf(ino);
  size_t size = 0;
  for (const XattrPair& pair : pairs) size += pair.name_length + size_t{1};
  if (request.size == 0) return Copy(XattrReply{static_cast<uint32_t>(size), 0}, output);
  if (size > request.size) return Fail(ERANGE);
  if (size > kMaxAnswer) return Fail(E2BIG);
  uint8_t* room = output.Room();
  uint8_t* at = room;
  for (const XattrPair& pair : pairs) {
    const std::string_view name = tree_.XattrName(pair);
    memcpy(at, name.data(), name.size());
    at += name.size();
    *at++ = 0;
  }
  return ReplyWith(room, size);
}

// Of a tree that is not whole: what is known so far. df asks every mount of the machine, and must not wait for one.
Answer Ops::Statfs(Output& output) const {
  StatfsReply reply{};
  reply.blocks = tree_.Blocks();
  reply.files = tree_.InodeCount();
  reply.block_size = kPageSize;
  reply.fragment_size = kPageSize;
  reply.name_length = kNameMax;
  return Copy(reply, output);
}

Answer Ops::Lseek(const Request& request, uint32_t ino, Output& output) const {
  // Without holes anywhere the kernel answers by itself from now on.
  if (is_whole_ && !has_sparse_) return Fail(ENOSYS);
  const InodeRecord& inode = tree_.Inode(ino);
  if (!inode.is_file() || (request.flags != SEEK_DATA && request.flags != SEEK_HOLE)) return Fail(EINVAL);
  uint64_t at = request.offset;
  if (at >= inode.size) return Fail(ENXIO);
  if ((inode.flags & kSparse) == 0) {
    return Copy(LseekReply{request.flags == SEEK_DATA ? at : inode.size}, output);
  }
  const SparsePieces pieces = tree_.SparsePiecesOf(ino);
  const auto* piece = std::partition_point(pieces.begin(), pieces.end(),
                                           [&](const SparsePiece& each) { return each.offset + each.length <= at; });
  if (request.flags == SEEK_DATA) {
    if (piece == pieces.end()) return Fail(ENXIO);
    return Copy(LseekReply{std::max(at, piece->offset)}, output);
  }
  // Pieces that touch each other are one stretch of data.
  for (; piece != pieces.end() && piece->offset <= at; ++piece) at = piece->offset + piece->length;
  return Copy(LseekReply{std::min(at, inode.size)}, output);
}

std::string Ops::PathOf(uint32_t ino) const {
  if (!tree_.Has(ino)) return "";
  if (ino == kRootIno) return "/";
  std::vector<std::string_view> names;
  for (uint32_t child = ino; child != kRootIno;) {
    const InodeRecord& inode = tree_.Inode(child);
    uint32_t parent = 0;
    std::string_view name;
    const auto search = [&](uint32_t directory) {
      for (const Dirent& dirent : tree_.DirentsOf(directory)) {
        if (dirent.ino != child) continue;
        parent = directory;
        name = tree_.Name(dirent);
        return true;
      }
      return false;
    };
    if (inode.is_directory()) {
      search(inode.directory.parent);
    } else {
      for (const InodeRecord& each : tree_.Inodes()) {
        if (search(each.ino)) break;
      }
    }
    if (parent == 0) return "";
    names.push_back(name);
    child = parent;
  }
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    path += '/';
    path += *name;
  }
  return path;
}

}  // namespace peel::fuse
