// A way on which requests come in and answers go out. A server thread has one to itself; an answer that had to wait
// goes out by the channel on which its request came in.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fuse_output.h"

namespace peel::fuse {

struct Incoming {
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  uint64_t entry = 0;  // the channel's own name for the request
};

// Where an answer goes to.
struct Place {
  uint64_t unique = 0;  // of the request
  uint64_t entry = 0;
};

class Channel {
 public:
  Channel() = default;
  virtual ~Channel() = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Waits for the next request. The bytes, and the room of output(), are the server thread's until it calls again.
  // False with an errno that ends the service.
  virtual bool Take(Incoming* incoming, int* error) = 0;
  // For the answer to what was taken last.
  virtual Output& output() = 0;
  // Room for the answer to a request that another thread makes, kMaxAnswer bytes; null where it needs its own.
  virtual uint8_t* RoomFor(const Place&) { return nullptr; }
  // Whether requests that others could take are stuck behind one that its thread waits with.
  virtual bool is_alone() const { return false; }

  // Any thread; each request has one answer. An errno of the kernel, as far as it is known at once; 0 also where the
  // request has gone meanwhile, which is nobody's fault.
  virtual int AnswerError(const Place& place, int error) = 0;
  // The bytes, or an error where the kernel does not take them: a reader must not wait for ever.
  virtual int AnswerData(const Place& place, const uint8_t* data, size_t size) = 0;
};

}  // namespace peel::fuse
