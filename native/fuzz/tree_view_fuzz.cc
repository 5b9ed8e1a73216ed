// libFuzzer target: no file, however broken, makes Open or any accessor leave the memory, and what Open lets through
// holds together. scripts/fuzz.sh builds and runs it.
#include <cstdint>
#include <cstring>
#include <vector>

#include "walk_tree.h"

namespace {

constexpr size_t kFileSize = 16;
constexpr size_t kSections = 64;
constexpr size_t kSectionCount = 8;

void Try(const std::vector<uint8_t>& bytes) {
  peel::TreeView tree;
  if (peel::TreeView::Open(bytes.data(), bytes.size(), &tree).ok()) peel::WalkTree(tree, nullptr);
}

// What the fuzzer cannot know: the size of the file, and that each section begins where the one before ends.
void Repair(uint8_t* bytes, size_t size) {
  if (size < peel::kTreeHeaderSize) return;
  const uint64_t whole = size;
  memcpy(bytes + kFileSize, &whole, sizeof(whole));
  uint64_t end = peel::kTreeHeaderSize;
  for (size_t section = 0; section < kSectionCount; ++section) {
    uint8_t* place = bytes + kSections + 16 * section;
    const uint64_t offset = (end + 7) / 8 * 8;
    uint64_t length;
    memcpy(&length, place + 8, sizeof(length));
    if (offset > size) return;
    if (length > size - offset || section + 1 == kSectionCount) length = size - offset;
    memset(bytes + end, 0, offset - end);
    memcpy(place, &offset, sizeof(offset));
    memcpy(place + 8, &length, sizeof(length));
    end = offset + length;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy of just the size, so that a read one byte behind it is seen; new aligns it as a mapping is.
  std::vector<uint8_t> bytes(data, data + size);
  Try(bytes);
  Repair(bytes.data(), size);
  Try(bytes);
  return 0;
}
