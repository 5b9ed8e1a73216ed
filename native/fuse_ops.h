// What each request is answered with, from a stored tree and the cached bytes of its layers. No descriptor, no
// thread, no waiting for the network: a read whose bytes are not all at hand is a miss, which somebody else answers.
//
// The tree never changes and a node's number is its ino, so a node needs no state: FORGET has nothing to do, and lookup
// counts are not kept. Every reply may be remembered for ever: names, attributes, names that do not exist.
//
// A tree of the upper layers alone (not whole) is what the whole image has for each path in it, but that directories
// may have more in them. What it does not say is kUnknown; what it cannot say of directories (nlink, and all of a root
// that has no entry) is a guess for this moment, not to be remembered.
//
// Ownership: keeps the tree; borrows the bytes. Threads: immutable; any number, each with an Output of its own.
// Errors: an errno in the answer; never thrown, but for std::bad_alloc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "fuse_decode.h"
#include "fuse_init.h"
#include "fuse_output.h"
#include "fuse_protocol.h"
#include "tree_view.h"

namespace peel::fuse {

enum class Found : uint8_t {
  kAll,
  kNotAll,  // somebody else has to get them
  kNotNow,  // the disk has to be waited for
};

// Bytes of layers that are verified and at hand.
class Bytes {
 public:
  virtual ~Bytes() = default;
  // Fills `out` from byte `start` of a layer's tar. kNotNow is no answer where it may wait.
  virtual Found Read(uint32_t layer, uint64_t start, size_t length, uint8_t* out, bool may_wait) = 0;
};

// Files that are open; asked where OPEN messages come.
class Handles {
 public:
  virtual ~Handles() = default;
  virtual OpenReply Open(uint32_t ino, uint64_t size) = 0;
  virtual void Release(uint32_t ino, uint64_t handle) = 0;
};

struct OpsOptions {
  // Every file belongs to them, whatever the image says.
  bool has_uid = false;
  bool has_gid = false;
  uint32_t uid = 0;
  uint32_t gid = 0;
  // The mount has default_permissions.
  bool kernel_checks = true;
  // The kernel is to read large files by itself.
  bool passthrough = false;
  // Targets of symbolic links that are shown changed, by LinkKey; then links are told apart by where they stand.
  bool contains_links = false;
  std::unordered_map<uint64_t, std::string> targets;
};

// A stored tree that a session answers from.
struct Tree {
  TreeView view;
  bool is_whole = true;
  // Keeps the bytes below the view, where they are the session's own.
  std::shared_ptr<const void> bytes;
};

struct Answer {
  // kMiss: a read whose bytes are elsewhere; kLater: one that has to wait for the disk, to be asked again where waiting
  // is no harm; kUnknown: the layers that are known do not say.
  enum Kind : uint8_t { kReply, kNone, kMiss, kLater, kUnknown } kind = kReply;
  int error = 0;                  // positive errno
  const uint8_t* data = nullptr;  // in the Output, or in the tree
  size_t size = 0;
};

class Ops {
 public:
  Ops(Tree tree, Bytes& bytes, Handles& handles, std::shared_ptr<const OpsOptions> options);

  bool IsWhole() const { return is_whole_; }
  uint32_t InodeCount() const { return tree_.InodeCount(); }
  // What the image wishes of INIT.
  Wishes InitWishes() const;

  // Everything but INIT and INTERRUPT. `session`: what INIT came to; `may_wait`: for the disk.
  Answer Respond(const Request& request, const Terms& session, bool may_wait, Output& output) const;

  static uint64_t LinkKey(uint32_t directory, uint32_t ino) { return uint64_t{directory} << 32 | ino; }
  // The inode that a node number leads to, 0 where it leads nowhere.
  uint32_t InoOf(uint64_t node) const;
  // A path of the inode, "" where it has none. Slow (linear in the tree): for messages.
  std::string PathOf(uint32_t ino) const;

 private:
  uint64_t NodeOf(uint32_t directory, uint32_t ino) const;
  std::string_view TargetOf(uint64_t node) const;
  Attributes AttributesOf(uint64_t node) const;
  // Seconds for which attributes may be remembered.
  uint64_t ValidFor(uint32_t ino) const;
  void FillEntry(uint64_t node, EntryReply* entry) const;

  Answer Lookup(const Request& request, uint32_t ino, Output& output) const;
  Answer Readlink(const Request& request, uint32_t ino) const;
  Answer Read(const Request& request, uint32_t ino, bool may_wait, Output& output) const;
  Answer Open(const Request& request, uint32_t ino, const Terms& session, Output& output) const;
  Answer Readdir(const Request& request, uint32_t ino, Output& output) const;
  Answer Getxattr(const Request& request, uint32_t ino, Output& output) const;
  Answer Listxattr(const Request& request, uint32_t ino, Output& output) const;
  Answer Statfs(Output& output) const;
  Answer Lseek(const Request& request, uint32_t ino, Output& output) const;

  const TreeView tree_;
  const bool is_whole_;
  const std::shared_ptr<const void> tree_bytes_;
  Bytes& bytes_;
  Handles& handles_;
  const std::shared_ptr<const OpsOptions> shared_options_;
  const OpsOptions& options_;
  bool has_posix_acls_ = false;
  bool has_sparse_ = false;
};

}  // namespace peel::fuse
