// What each request is answered with, from a stored tree and the cached bytes of its layers. No descriptor, no
// thread, no waiting for the network: a read whose bytes are not all at hand is a miss, which somebody else answers.
//
// The tree never changes and a node's number is its ino, so a node needs no state: FORGET has nothing to do, and lookup
// counts are not kept. Every reply may be remembered for ever: names, attributes, names that do not exist.
//
// Ownership: borrows the view and the bytes below it. Threads: any number, each with an Output of its own.
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

// Bytes of layers that are verified and at hand.
class Bytes {
 public:
  virtual ~Bytes() = default;
  // Fills `out` from byte `start` of a layer's tar, or returns false.
  virtual bool Read(uint32_t layer, uint64_t start, size_t length, uint8_t* out) = 0;
};

struct OpsOptions {
  // Every file belongs to them, whatever the image says.
  bool has_uid = false;
  bool has_gid = false;
  uint32_t uid = 0;
  uint32_t gid = 0;
  // The mount has default_permissions.
  bool kernel_checks = true;
  // Targets of symbolic links that are shown changed, by LinkKey; then links are told apart by where they stand.
  bool contains_links = false;
  std::unordered_map<uint64_t, std::string> targets;
};

struct Answer {
  enum Kind : uint8_t { kReply, kNone, kMiss } kind = kReply;
  int error = 0;                  // positive errno
  const uint8_t* data = nullptr;  // in the Output, or in the tree
  size_t size = 0;
};

class Ops {
 public:
  Ops(const TreeView& tree, Bytes& bytes, OpsOptions options);

  // What the image wishes of INIT.
  Wishes InitWishes() const { return Wishes{has_posix_acls_, options_.kernel_checks}; }
  // After INIT, before the first Respond.
  void Agree(const Terms& session) { session_ = session; }

  // Everything but INIT and INTERRUPT.
  Answer Respond(const Request& request, Output& output);

  static uint64_t LinkKey(uint32_t directory, uint32_t ino) { return uint64_t{directory} << 32 | ino; }
  // The inode that a node number leads to, 0 where it leads nowhere.
  uint32_t InoOf(uint64_t node) const;
  // A path of the inode, "" where it has none. Slow (linear in the tree): for messages.
  std::string PathOf(uint32_t ino) const;

 private:
  uint64_t NodeOf(uint32_t directory, uint32_t ino) const;
  std::string_view TargetOf(uint64_t node) const;
  Attributes AttributesOf(uint64_t node) const;
  void FillEntry(uint64_t node, EntryReply* entry) const;

  Answer Lookup(const Request& request, uint32_t ino, Output& output) const;
  Answer Readlink(const Request& request, uint32_t ino) const;
  Answer Read(const Request& request, uint32_t ino, Output& output);
  Answer Readdir(const Request& request, uint32_t ino, Output& output) const;
  Answer Getxattr(const Request& request, uint32_t ino, Output& output) const;
  Answer Listxattr(const Request& request, uint32_t ino, Output& output) const;
  Answer Statfs(Output& output) const;
  Answer Lseek(const Request& request, uint32_t ino, Output& output) const;

  const TreeView& tree_;
  Bytes& bytes_;
  const OpsOptions options_;
  Terms session_;
  bool has_posix_acls_ = false;
  bool has_sparse_ = false;
};

}  // namespace peel::fuse
