// libFuzzer target: no request, however broken, makes the decoder or any answer leave the memory, and no answer is
// larger than what was asked for. The input is a byte of features and then requests, each behind its length in two
// bytes; the tree that they are about lies in the file that FUZZ_TREE names. scripts/fuzz.sh builds and runs it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "fuse_ops.h"
#include "open_files.h"

namespace {

std::vector<uint8_t> tree_bytes;
peel::TreeView tree;

// Every other read is at hand.
class SomeBytes final : public peel::fuse::Bytes {
 public:
  peel::fuse::Found Read(uint32_t, uint64_t start, size_t length, uint8_t* out, bool) override {
    if (start % 2 == 1) return peel::fuse::Found::kNotAll;
    memset(out, 'x', length);
    return peel::fuse::Found::kAll;
  }
};

void Check(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what);
  abort();
}

uint64_t Sum(const uint8_t* data, size_t size) {
  uint64_t sum = 0;
  for (size_t i = 0; i < size; ++i) sum += data[i];
  return sum;
}

// Entries one after the other, inside the answer.
void CheckDirents(const peel::fuse::Request& request, const peel::fuse::Answer& answer) {
  const size_t head = request.opcode == peel::fuse::kReaddirplus ? sizeof(peel::fuse::EntryReply) : 0;
  for (size_t at = 0; at < answer.size;) {
    peel::fuse::DirentHeader header;
    Check(answer.size - at >= head + sizeof(header), "half an entry");
    memcpy(&header, answer.data + at + head, sizeof(header));
    Check(header.name_length > 0 && header.name_length <= 255, "a name of no length");
    at += (head + sizeof(header) + header.name_length + 7) & ~size_t{7};
    Check(at <= answer.size, "an entry over the end");
  }
}

void Try(const peel::fuse::Ops& ops, const peel::fuse::Terms& terms, peel::fuse::Output& output, const uint8_t* bytes,
         size_t size) {
  // A copy of just the size, so that a read one byte behind it is seen.
  const std::vector<uint8_t> exact(bytes, bytes + size);
  peel::fuse::Request request;
  if (peel::fuse::Decode(exact.data(), exact.size(), &request) != peel::fuse::Decoded::kOk) return;
  const peel::fuse::Answer answer = ops.Respond(request, terms, true, output);
  Check(answer.error >= 0 && answer.error < 512, "no errno");
  if (answer.kind != peel::fuse::Answer::kReply || answer.error != 0) return;
  Check(answer.size <= peel::fuse::kMaxAnswer, "an answer that is too large");
  volatile uint64_t sum = Sum(answer.data, answer.size);
  (void)sum;
  switch (request.opcode) {
    case peel::fuse::kReaddir:
    case peel::fuse::kReaddirplus:
      CheckDirents(request, answer);
      [[fallthrough]];
    case peel::fuse::kRead:
      Check(answer.size <= request.size, "more than was asked for");
      break;
    default:
      break;
  }
}

void Load() {
  const char* name = getenv("FUZZ_TREE");
  FILE* file = name == nullptr ? nullptr : fopen(name, "rb");
  Check(file != nullptr, "FUZZ_TREE names no file");
  uint8_t piece[4096];
  for (size_t count; (count = fread(piece, 1, sizeof(piece), file)) > 0;) {
    tree_bytes.insert(tree_bytes.end(), piece, piece + count);
  }
  fclose(file);
  Check(peel::TreeView::Open(tree_bytes.data(), tree_bytes.size(), &tree).ok(), "FUZZ_TREE names no tree");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool loaded = [] {
    Load();
    return true;
  }();
  (void)loaded;
  if (size == 0) return 0;
  SomeBytes bytes;
  peel::fuse::OpsOptions options;
  options.contains_links = (data[0] & 1) != 0;
  if (options.contains_links) options.targets.emplace(peel::fuse::Ops::LinkKey(1, 2), "elsewhere");
  const bool is_whole = (data[0] & 4) == 0;
  options.passthrough = (data[0] & 8) != 0;
  // Any handle may be released, also one that nobody has.
  peel::fuse::OpenFiles open_files(0, {[](uint32_t) {}, [](int) {}});
  const peel::fuse::Ops ops({tree, is_whole, nullptr}, bytes, open_files,
                            std::make_shared<peel::fuse::OpsOptions>(options));
  static peel::fuse::Output output;

  // INIT as well: whatever a kernel offers is answered.
  peel::fuse::InitRequest offer{};
  memcpy(&offer, data, size < sizeof(offer) ? size : sizeof(offer));
  peel::fuse::InitReply reply;
  peel::fuse::Terms terms;
  peel::fuse::Negotiate(offer, ops.InitWishes(), &reply, &terms);
  terms.features = (data[0] & 2) != 0 ? ~uint64_t{0} : options.passthrough ? uint64_t{peel::fuse::kPassthrough} : 0;

  size_t at = 1;
  while (size - at > 2) {
    const size_t length = data[at] | size_t{data[at + 1]} << 8;
    at += 2;
    const size_t there = length < size - at ? length : size - at;
    Try(ops, terms, output, data + at, there);
    at += there;
  }
  return 0;
}
