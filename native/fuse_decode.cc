#include "fuse_decode.h"

#include <algorithm>
#include <cstring>

namespace peel::fuse {
namespace {

// What is left of a request's arguments.
class Arguments {
 public:
  Arguments(const uint8_t* next, size_t left) : next_(next), left_(left) {}

  template <typename T>
  bool Take(T* value) {
    if (left_ < sizeof(T)) return false;
    memcpy(value, next_, sizeof(T));
    next_ += sizeof(T);
    left_ -= sizeof(T);
    return true;
  }

  bool TakeName(std::string_view* name) {
    const void* end = memchr(next_, 0, left_);
    if (end == nullptr) return false;
    const size_t length = static_cast<size_t>(static_cast<const uint8_t*>(end) - next_);
    *name = {reinterpret_cast<const char*>(next_), length};
    next_ += length + 1;
    left_ -= length + 1;
    return true;
  }

  size_t left() const { return left_; }
  const uint8_t* next() const { return next_; }

 private:
  const uint8_t* next_;
  size_t left_;
};

bool DecodeInit(Arguments& arguments, Request& request) {
  if (arguments.left() < kShortInitRequest) return false;
  memcpy(&request.init, arguments.next(), std::min(arguments.left(), sizeof(InitRequest)));
  if ((request.init.flags & kInitExtended) == 0) request.init.flags2 = 0;
  return true;
}

bool DecodeArguments(Arguments& arguments, Request& request) {
  switch (request.opcode) {
    case kInit:
      return DecodeInit(arguments, request);
    case kLookup:
      return arguments.TakeName(&request.name);
    case kOpen:
    case kOpendir: {
      OpenRequest open;
      if (!arguments.Take(&open)) return false;
      request.flags = open.flags;
      return true;
    }
    case kRelease: {
      ReleaseRequest release;
      if (!arguments.Take(&release)) return false;
      request.handle = release.handle;
      return true;
    }
    case kRead:
    case kReaddir:
    case kReaddirplus: {
      ReadRequest read;
      if (!arguments.Take(&read)) return false;
      request.offset = read.offset;
      request.size = read.size;
      return true;
    }
    case kGetxattr:
    case kListxattr: {
      XattrRequest xattr;
      if (!arguments.Take(&xattr)) return false;
      request.size = xattr.size;
      return request.opcode == kListxattr || arguments.TakeName(&request.name);
    }
    case kAccess: {
      AccessRequest access;
      if (!arguments.Take(&access)) return false;
      request.flags = access.mask;
      return true;
    }
    case kLseek: {
      LseekRequest seek;
      if (!arguments.Take(&seek)) return false;
      request.offset = seek.offset;
      request.flags = seek.whence;
      return true;
    }
    case kInterrupt: {
      InterruptRequest interrupt;
      if (!arguments.Take(&interrupt)) return false;
      request.target = interrupt.unique;
      return true;
    }
    default:
      // Nothing of the arguments is needed: FORGET has no state here, all else is refused or takes none.
      return true;
  }
}

}  // namespace

Decoded Decode(const uint8_t* bytes, size_t size, Request* request) {
  RequestHeader header;
  if (size < sizeof(header)) return Decoded::kUnanswerable;
  memcpy(&header, bytes, sizeof(header));
  *request = Request();
  request->unique = header.unique;
  request->node = header.node;
  request->opcode = header.opcode;
  request->pid = header.pid;
  if (header.length != size) return Decoded::kMalformed;
  const size_t extension = size_t{header.extension_length} * 8;
  if (extension > size - sizeof(header)) return Decoded::kMalformed;
  Arguments arguments(bytes + sizeof(header), size - sizeof(header) - extension);
  return DecodeArguments(arguments, *request) ? Decoded::kOk : Decoded::kMalformed;
}

const char* NameOf(uint32_t opcode) {
  switch (opcode) {
    case kLookup:
      return "lookup";
    case kForget:
      return "forget";
    case kGetattr:
      return "getattr";
    case kReadlink:
      return "readlink";
    case kOpen:
      return "open";
    case kRead:
      return "read";
    case kStatfs:
      return "statfs";
    case kRelease:
      return "release";
    case kFsync:
      return "fsync";
    case kGetxattr:
      return "getxattr";
    case kListxattr:
      return "listxattr";
    case kFlush:
      return "flush";
    case kInit:
      return "init";
    case kOpendir:
      return "opendir";
    case kReaddir:
      return "readdir";
    case kReleasedir:
      return "releasedir";
    case kAccess:
      return "access";
    case kInterrupt:
      return "interrupt";
    case kDestroy:
      return "destroy";
    case kIoctl:
      return "ioctl";
    case kBatchForget:
      return "batch_forget";
    case kReaddirplus:
      return "readdirplus";
    case kLseek:
      return "lseek";
    case kStatx:
      return "statx";
    default:
      return nullptr;
  }
}

bool IsWriting(uint32_t opcode) {
  switch (opcode) {
    case kSetattr:
    case kSymlink:
    case kMknod:
    case kMkdir:
    case kUnlink:
    case kRmdir:
    case kRename:
    case kLink:
    case kWrite:
    case kSetxattr:
    case kRemovexattr:
    case kCreate:
    case kFallocate:
    case kRename2:
    case kCopyFileRange:
    case kTmpfile:
      return true;
    default:
      return false;
  }
}

}  // namespace peel::fuse
