// A layer that is not compressed: both sides count the same bytes.
#include <algorithm>
#include <cstring>

#include "stream.h"

namespace peel {
namespace {

class PlainStream final : public Stream {
 public:
  Event Step(Input& in, Output& out, bool) override {
    const size_t n = std::min(in.left, out.left);
    if (n > 0) memcpy(out.next, in.next, n);
    in.next += n;
    in.left -= n;
    out.next += n;
    out.left -= n;
    position_ += n;
    return out.left == 0 ? Event::kOutputFull : Event::kNeedInput;
  }
  Status Finish() override { return Status::Ok(); }
};

}  // namespace

std::unique_ptr<Stream> OpenPlain() {
  return std::make_unique<PlainStream>();
}

}  // namespace peel
