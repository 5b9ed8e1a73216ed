// The kernel's io_uring interface, as far as it is used here: older headers lack parts of it. Written from its
// documentation; all numbers are part of its ABI and the same on every architecture.
//
// Ownership, threads, errors: plain layouts, nothing else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace peel {

constexpr long kUringSetup = 425;
constexpr long kUringEnter = 426;
constexpr long kUringRegister = 427;

enum UringSetupFlag : uint32_t {
  kSetCompletions = 1u << 3,  // the number of completions is given
  kDisabled = 1u << 6,        // until it is enabled, by the thread that is to use it
  kLargeSubmissions = 1u << 10,
  kSingleIssuer = 1u << 12,
  kDeferTaskRun = 1u << 13,  // what the kernel has to do in our thread, it does while that waits
  kNoArray = 1u << 16,
};
constexpr uint32_t kSingleMapping = 1u << 0;  // features
constexpr uint32_t kNoDrop = 1u << 1;

constexpr uint64_t kRingOffset = 0;
constexpr uint64_t kSubmissionsOffset = 0x10000000;
constexpr unsigned kGetEvents = 1u << 0;
constexpr unsigned kEnableRings = 12;

enum UringOpcode : uint8_t {
  kUringRead = 22,
  kUringCommand = 46,
};

struct SubmissionOffsets {
  uint32_t head;
  uint32_t tail;
  uint32_t mask;
  uint32_t entries;
  uint32_t flags;
  uint32_t dropped;
  uint32_t array;
  uint32_t unused;
  uint64_t address;
};

struct CompletionOffsets {
  uint32_t head;
  uint32_t tail;
  uint32_t mask;
  uint32_t entries;
  uint32_t overflow;
  uint32_t completions;
  uint32_t flags;
  uint32_t unused;
  uint64_t address;
};

struct UringParameters {
  uint32_t submissions;
  uint32_t completions;
  uint32_t flags;
  uint32_t thread_cpu;
  uint32_t thread_idle;
  uint32_t features;
  uint32_t workers;
  uint32_t unused[3];
  SubmissionOffsets submission;
  CompletionOffsets completion;
};
static_assert(sizeof(UringParameters) == 120);

struct Submission {  // with kLargeSubmissions
  uint8_t opcode;
  uint8_t flags;
  uint16_t priority;
  int32_t fd;
  uint64_t offset;  // kUringCommand: the command, 32 bits of it
  uint64_t address;
  uint32_t length;
  uint32_t operation_flags;
  uint64_t user_data;
  uint16_t buffer;
  uint16_t personality;
  uint32_t file;
  uint8_t command[80];  // kUringCommand: its arguments
};
static_assert(sizeof(Submission) == 128);

struct Completion {
  uint64_t user_data;
  int32_t result;
  uint32_t flags;
};
static_assert(sizeof(Completion) == 16);

}  // namespace peel
