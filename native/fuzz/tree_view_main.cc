// The fuzz target's checks without a fuzzer, for test/native/tree-view.test.ts:
//   tree_view dump FILE                   the tree as lines, or the refusal and exit status 1
//   tree_view mutate FILE SEED ROUNDS     changed copies of it; how many were refused and how many walked
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "walk_tree.h"

namespace {

// Just the size, so that a sanitizer sees a read behind the end; new aligns it as a mapping is.
using Bytes = std::vector<uint8_t>;

bool Load(const char* path, Bytes* bytes) {
  FILE* stream = fopen(path, "rb");
  if (stream == nullptr) return false;
  fseek(stream, 0, SEEK_END);
  bytes->resize(static_cast<size_t>(ftell(stream)));
  rewind(stream);
  const bool loaded = fread(bytes->data(), 1, bytes->size(), stream) == bytes->size();
  fclose(stream);
  return loaded;
}

int Dump(const Bytes& file) {
  peel::TreeView tree;
  const peel::Status status = peel::TreeView::Open(file.data(), file.size(), &tree);
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.message.c_str());
    return 1;
  }
  std::string lines;
  peel::WalkTree(tree, &lines);
  fwrite(lines.data(), 1, lines.size(), stdout);
  printf("%u inodes, %u layers, %llu blocks, xattrs: %d\n", tree.InodeCount(), tree.LayerCount(),
         static_cast<unsigned long long>(tree.Blocks()), tree.HasXattrs());
  return 0;
}

int Mutate(const Bytes& file, unsigned seed, int rounds) {
  static constexpr uint32_t kInteresting[] = {0, 1, 2, 3, 8, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff8};
  std::mt19937 random(seed);
  int refused = 0;
  int walked = 0;
  for (int round = 0; round < rounds; ++round) {
    Bytes bytes = file;
    for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
      const size_t at = random() % file.size();
      switch (random() % 4) {
        case 0:
          bytes[at] ^= static_cast<uint8_t>(1u << random() % 8);
          break;
        case 1:
          bytes[at] = static_cast<uint8_t>(random());
          break;
        case 2: {
          const uint32_t number = kInteresting[random() % std::size(kInteresting)];
          memcpy(bytes.data() + at / 4 * 4, &number, std::min<size_t>(4, file.size() - at / 4 * 4));
          break;
        }
        default: {
          const size_t from = random() % file.size();
          const size_t length = std::min<size_t>(1 + random() % 64, file.size() - std::max(at, from));
          memmove(bytes.data() + at, bytes.data() + from, length);
        }
      }
    }
    peel::TreeView tree;
    if (peel::TreeView::Open(bytes.data(), bytes.size(), &tree).ok()) {
      peel::WalkTree(tree, nullptr);
      walked += 1;
    } else {
      refused += 1;
    }
  }
  printf("%d refused, %d walked\n", refused, walked);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  Bytes file;
  if (count < 3 || !Load(arguments[2], &file)) return 2;
  if (strcmp(arguments[1], "dump") == 0) return Dump(file);
  if (strcmp(arguments[1], "mutate") == 0 && count == 5 && !file.empty()) {
    return Mutate(file, static_cast<unsigned>(atoi(arguments[3])), atoi(arguments[4]));
  }
  return 2;
}
