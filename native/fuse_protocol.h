// The kernel's FUSE protocol as it lies on /dev/fuse, version 7: the requests that a read-only file system meets,
// from kernel 5.10 (7.32) on. Written from the documentation of the interface; all numbers are part of its ABI.
//
//   request  │ RequestHeader │ fixed arguments of the operation │ names, each ended by a NUL │
//   reply    │ ReplyHeader   │ fixed results │ bytes │
//
// Ownership, threads, errors: plain layouts, nothing else. Host byte order; every field at its natural alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace peel::fuse {

constexpr uint32_t kMajor = 7;
// The newest minor whose meaning is known here; a kernel with an older one is answered with its own.
constexpr uint32_t kMinor = 45;
// Below it the reply to INIT has another size. Linux 3.15.
constexpr uint32_t kOldestMinor = 23;

// The kernel refuses to hand requests to a smaller buffer.
constexpr size_t kSmallestReadBuffer = 8192;
constexpr size_t kPageSize = 4096;
constexpr uint64_t kRootNode = 1;

enum Opcode : uint32_t {
  kLookup = 1,
  kForget = 2,
  kGetattr = 3,
  kSetattr = 4,
  kReadlink = 5,
  kSymlink = 6,
  kMknod = 8,
  kMkdir = 9,
  kUnlink = 10,
  kRmdir = 11,
  kRename = 12,
  kLink = 13,
  kOpen = 14,
  kRead = 15,
  kWrite = 16,
  kStatfs = 17,
  kRelease = 18,
  kFsync = 20,
  kSetxattr = 21,
  kGetxattr = 22,
  kListxattr = 23,
  kRemovexattr = 24,
  kFlush = 25,
  kInit = 26,
  kOpendir = 27,
  kReaddir = 28,
  kReleasedir = 29,
  kFsyncdir = 30,
  kGetlk = 31,
  kSetlk = 32,
  kSetlkw = 33,
  kAccess = 34,
  kCreate = 35,
  kInterrupt = 36,
  kBmap = 37,
  kDestroy = 38,
  kIoctl = 39,
  kPoll = 40,
  kNotifyReply = 41,
  kBatchForget = 42,
  kFallocate = 43,
  kReaddirplus = 44,
  kRename2 = 45,
  kLseek = 46,
  kCopyFileRange = 47,
  kSetupMapping = 48,
  kRemoveMapping = 49,
  kSyncfs = 50,
  kTmpfile = 51,
  kStatx = 52,
  kOpcodes = 53,  // one more than the last
};

// Features that INIT negotiates: bit numbers of `flags`, from 32 on of `flags2`.
enum Feature : uint64_t {
  kAsyncRead = 1ull << 0,
  kExportSupport = 1ull << 4,
  kDoReaddirplus = 1ull << 13,
  kReaddirplusAuto = 1ull << 14,
  kNoOpenSupport = 1ull << 17,
  kParallelDirops = 1ull << 18,
  kPosixAcl = 1ull << 20,
  kAbortError = 1ull << 21,
  kMaxPages = 1ull << 22,
  kCacheSymlinks = 1ull << 23,
  kNoOpendirSupport = 1ull << 24,
  kInitExtended = 1ull << 30,
  kPassthrough = 1ull << 37,
  kAllowIdmap = 1ull << 40,
  kOverUring = 1ull << 41,
};

struct RequestHeader {
  uint32_t length;
  uint32_t opcode;
  uint64_t unique;
  uint64_t node;
  uint32_t uid;
  uint32_t gid;
  uint32_t pid;
  uint16_t extension_length;  // in units of 8 bytes, at the end
  uint16_t zero;
};
static_assert(sizeof(RequestHeader) == 40);

struct ReplyHeader {
  uint32_t length;
  int32_t error;  // 0, or a negated errno
  uint64_t unique;
};
static_assert(sizeof(ReplyHeader) == 16);

// A message without a request: its code stands in the place of the error, and `unique` is 0.
constexpr int kNotifyInvalidateInode = 2;
struct InvalidateInode {
  uint64_t node;
  int64_t offset;
  int64_t length;  // 0: to the end
};
static_assert(sizeof(InvalidateInode) == 24);

struct InitRequest {  // 16 bytes before 7.36
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint32_t flags2;
  uint32_t unused[11];
};
static_assert(sizeof(InitRequest) == 64);
constexpr size_t kShortInitRequest = 16;

struct InitReply {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint16_t max_background;
  uint16_t congestion_threshold;
  uint32_t max_write;
  uint32_t time_granularity;  // nanoseconds
  uint16_t max_pages;
  uint16_t map_alignment;
  uint32_t flags2;
  uint32_t max_stack_depth;
  uint16_t request_timeout;
  uint16_t unused[11];
};
static_assert(sizeof(InitReply) == 64);

struct Attributes {
  uint64_t ino;
  uint64_t size;
  uint64_t blocks;  // of 512 bytes
  int64_t atime;
  int64_t mtime;
  int64_t ctime;
  uint32_t atime_nsec;
  uint32_t mtime_nsec;
  uint32_t ctime_nsec;
  uint32_t mode;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint32_t rdev;
  uint32_t block_size;
  uint32_t flags;
};
static_assert(sizeof(Attributes) == 88);

struct EntryReply {
  uint64_t node;  // 0: there is none, and that may be remembered
  uint64_t generation;
  uint64_t entry_valid;  // seconds
  uint64_t attributes_valid;
  uint32_t entry_valid_nsec;
  uint32_t attributes_valid_nsec;
  Attributes attributes;
};
static_assert(sizeof(EntryReply) == 128);

struct AttributesReply {
  uint64_t valid;
  uint32_t valid_nsec;
  uint32_t zero;
  Attributes attributes;
};
static_assert(sizeof(AttributesReply) == 104);

struct ForgetRequest {
  uint64_t lookups;
};
struct BatchForgetRequest {
  uint32_t count;
  uint32_t zero;
};
struct BatchForgetItem {
  uint64_t node;
  uint64_t lookups;
};

struct OpenReply {
  uint64_t handle;
  uint32_t flags;
  int32_t backing;
};
static_assert(sizeof(OpenReply) == 16);
constexpr uint32_t kKeepCache = 1u << 1;
constexpr uint32_t kCacheDirectory = 1u << 3;
constexpr uint32_t kPassthroughHandle = 1u << 7;

struct OpenRequest {
  uint32_t flags;
  uint32_t open_flags;
};

struct ReleaseRequest {
  uint64_t handle;
  uint32_t flags;
  uint32_t release_flags;
  uint64_t lock_owner;
};
static_assert(sizeof(ReleaseRequest) == 24);

struct ReadRequest {  // also READDIR and READDIRPLUS
  uint64_t handle;
  uint64_t offset;
  uint32_t size;
  uint32_t read_flags;
  uint64_t lock_owner;
  uint32_t flags;
  uint32_t zero;
};
static_assert(sizeof(ReadRequest) == 40);

struct DirentHeader {  // the name follows, then zeros up to a multiple of 8
  uint64_t ino;
  uint64_t offset;  // of the entry after it
  uint32_t name_length;
  uint32_t type;
};
static_assert(sizeof(DirentHeader) == 24);

struct StatfsReply {
  uint64_t blocks;
  uint64_t free;
  uint64_t available;
  uint64_t files;
  uint64_t files_free;
  uint32_t block_size;
  uint32_t name_length;
  uint32_t fragment_size;
  uint32_t zero;
  uint32_t spare[6];
};
static_assert(sizeof(StatfsReply) == 80);

struct XattrRequest {  // GETXATTR (a name follows) and LISTXATTR
  uint32_t size;       // 0: how long would the answer be
  uint32_t zero;
};
struct XattrReply {
  uint32_t size;
  uint32_t zero;
};

struct AccessRequest {
  uint32_t mask;
  uint32_t zero;
};

struct InterruptRequest {
  uint64_t unique;
};

struct LseekRequest {
  uint64_t handle;
  uint64_t offset;
  uint32_t whence;
  uint32_t zero;
};
static_assert(sizeof(LseekRequest) == 24);
struct LseekReply {
  uint64_t offset;
};

// Over io_uring (Linux 6.14) each processor of the machine has a queue, each queue entries, each entry a header and a
// payload in the server's memory. A request comes in an entry, and its answer goes back in it:
//
//   request  │ RequestHeader   │ first argument │ EntryInfo │    payload: the other arguments
//   reply    │ ReplyHeader     │                │ EntryInfo │    payload: all of the result
struct EntryInfo {
  uint64_t flags;
  uint64_t commit_id;     // names the request in the commit
  uint32_t payload_size;  // bytes used
  uint32_t zero;
  uint64_t reserved;
};
struct EntryHeader {
  uint8_t message[128];
  uint8_t argument[128];
  EntryInfo info;
};
static_assert(sizeof(EntryHeader) == 288);

enum UringCommand : uint32_t {
  kRegister = 1,        // a new entry; completes with a request
  kCommitAndFetch = 2,  // an answer; completes with the next request
};
struct UringArguments {  // of either command
  uint64_t flags;
  uint64_t commit_id;
  uint16_t queue;
  uint8_t zero[6];
};
static_assert(sizeof(UringArguments) == 24);
constexpr uint32_t kEntryParts = 2;  // what kRegister is given: an iovec for the header, one for the payload

}  // namespace peel::fuse
