#include "inflater.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "deflate_symbols.h"

namespace peel {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "input is loaded eight bytes at a time");

// A literal or length of at most 20 bits, then a distance of at most 28.
constexpr unsigned kSymbolBits = 48;
// What DecodeFast may read in one turn, three loads of eight bytes, and write: two literals, a match and what a copy
// writes beyond it.
constexpr size_t kFastInput = 32;
constexpr size_t kFastOutput = 320;

uint64_t Load64(const uint8_t* from) {
  uint64_t value;
  memcpy(&value, from, sizeof value);
  return value;
}

// Copies within the output, also onto itself; writes up to 15 bytes behind the end.
inline void CopyWithin(uint8_t* to, size_t distance, size_t length) {
  const uint8_t* from = to - distance;
  const uint8_t* const end = to + length;
  if (distance >= 16) {
    do {
      memcpy(to, from, 16);
      to += 16;
      from += 16;
    } while (to < end);
  } else if (distance == 1) {
    memset(to, *from, length);
  } else {
    // Eight bytes, of which the first `distance` are right: the next copy begins behind those.
    const size_t step = std::min<size_t>(distance, 8);
    do {
      const uint64_t bytes = Load64(from);
      memcpy(to, &bytes, sizeof bytes);
      to += step;
      from += step;
    } while (to < end);
  }
}

}  // namespace

void Inflater::Begin() {
  state_ = State::kBlockHeader;
  bits_ = 0;
  count_ = 0;
  is_last_block_ = false;
  history_.Clear();
  // No match reaches the sample's window any more.
  sampled_ = kWindowSize;
}

void Inflater::BeginInside(uint8_t byte, unsigned count, const std::vector<uint8_t>& window) {
  Begin();
  bits_ = static_cast<uint64_t>(byte) >> (8 - count);
  count_ = count;
  history_.Append(window.data(), window.size());
}

void Inflater::BeginSample() {
  sample_.window.resize(history_.size());
  sample_.used.assign(history_.size(), 0);
  history_.Copy(history_.size(), history_.size(), sample_.window.data());
  sampled_ = 0;
}

WindowSample Inflater::TakeSample() {
  sampled_ = kWindowSize;
  return std::exchange(sample_, {});
}

Inflater::Result Inflater::Run(Input& in, Output& out, bool stop_at_block) {
  const uint8_t* const first = in.next;
  begin_ = out.next;
  Outcome outcome = Outcome::kMore;
  while (outcome == Outcome::kMore) {
    outcome = Step(in, out);
    if (outcome == Outcome::kEndOfBlock) {
      state_ = is_last_block_ ? State::kEnd : State::kBlockHeader;
      if (!is_last_block_ && !stop_at_block) outcome = Outcome::kMore;
    }
  }
  // Whole bytes that nothing was decoded from go back. Where there is not enough for the next step all are kept, and
  // that step takes more than those: what is left over then came with the call that takes it.
  while (outcome != Outcome::kNeedInput && count_ >= 8 && in.next > first) {
    in.next--;
    in.left++;
    count_ -= 8;
  }
  bits_ = LowBits(bits_, count_);

  const size_t produced = static_cast<size_t>(out.next - begin_);
  history_.Append(begin_, produced);
  sampled_ = std::min(sampled_ + produced, kWindowSize);
  switch (outcome) {
    case Outcome::kNeedInput:
      return Result::kNeedInput;
    case Outcome::kOutputFull:
      return Result::kOutputFull;
    case Outcome::kEndOfBlock:
      return is_last_block_ ? Result::kEnd : Result::kBlockBoundary;
    default:
      return Result::kBroken;
  }
}

// count <= 48: then no byte is taken that does not fit.
bool Inflater::Need(Input& in, unsigned count) {
  while (count_ < count && in.left > 0) {
    bits_ |= static_cast<uint64_t>(*in.next++) << count_;
    in.left--;
    count_ += 8;
  }
  return count_ >= count;
}

unsigned Inflater::Take(unsigned count) {
  const unsigned taken = static_cast<unsigned>(LowBits(bits_, count));
  bits_ >>= count;
  count_ -= count;
  return taken;
}

Inflater::Outcome Inflater::Broken(const char* problem) {
  problem_ = problem;
  return Outcome::kBroken;
}

Inflater::Outcome Inflater::Step(Input& in, Output& out) {
  switch (state_) {
    case State::kBlockHeader:
      return ReadBlockHeader(in);
    case State::kStoredLength:
      if (!Need(in, 32)) return Outcome::kNeedInput;
      stored_left_ = Take(16);
      if (Take(16) != (stored_left_ ^ 0xffff)) return Broken("invalid stored block lengths");
      state_ = State::kStored;
      return Outcome::kMore;
    case State::kStored:
      return CopyStored(in, out);
    case State::kTableSizes:
      if (!Need(in, 14)) return Outcome::kNeedInput;
      litlen_count_ = Take(5) + 257;
      distance_count_ = Take(5) + 1;
      code_length_count_ = Take(4) + 4;
      if (litlen_count_ > kMostLitlens || distance_count_ > kMostDistances) {
        return Broken("too many length or distance symbols");
      }
      index_ = 0;
      memset(lengths_, 0, sizeof lengths_);
      state_ = State::kCodeLengthLengths;
      return Outcome::kMore;
    case State::kCodeLengthLengths:
      return ReadCodeLengthLengths(in);
    case State::kCodeLengths:
      return ReadCodeLengths(in);
    case State::kSymbols:
      return in.left >= kFastInput && out.left >= kFastOutput ? DecodeFast(in, out) : DecodeSymbol(in, out);
    case State::kMatch:
      return CopyMatch(out);
    case State::kEnd:
      break;
  }
  return Outcome::kEndOfBlock;
}

Inflater::Outcome Inflater::ReadBlockHeader(Input& in) {
  if (!Need(in, 3)) return Outcome::kNeedInput;
  is_last_block_ = Take(1) == 1;
  switch (Take(2)) {
    case 0:
      Take(count_ % 8);
      state_ = State::kStoredLength;
      return Outcome::kMore;
    case 1:
      return UseFixedCodes();
    case 2:
      state_ = State::kTableSizes;
      return Outcome::kMore;
    default:
      return Broken("invalid block type");
  }
}

Inflater::Outcome Inflater::CopyStored(Input& in, Output& out) {
  // Bytes that were taken as bits come first.
  while (stored_left_ > 0 && out.left > 0 && count_ >= 8) {
    *out.next++ = static_cast<uint8_t>(Take(8));
    out.left--;
    stored_left_--;
  }
  const size_t n = std::min({stored_left_, out.left, in.left});
  if (n > 0) memcpy(out.next, in.next, n);
  in.next += n;
  in.left -= n;
  out.next += n;
  out.left -= n;
  stored_left_ -= n;
  if (stored_left_ == 0) return Outcome::kEndOfBlock;
  return out.left == 0 ? Outcome::kOutputFull : Outcome::kNeedInput;
}

Inflater::Outcome Inflater::ReadCodeLengthLengths(Input& in) {
  for (; index_ < code_length_count_; index_++) {
    if (!Need(in, 3)) return Outcome::kNeedInput;
    lengths_[kCodeLengthOrder[index_]] = static_cast<uint8_t>(Take(3));
  }
  if (!code_lengths_.Build(lengths_, 19, kMeanings.code_lengths, false)) return Broken("invalid code lengths set");
  index_ = 0;
  state_ = State::kCodeLengths;
  return Outcome::kMore;
}

Inflater::Outcome Inflater::ReadCodeLengths(Input& in) {
  const unsigned total = litlen_count_ + distance_count_;
  while (index_ < total) {
    Need(in, 14);
    const uint32_t entry = code_lengths_.Main(bits_);
    const unsigned code_bits = CodeBitsOf(entry);
    const unsigned symbol = ValueOf(entry);
    // 16: the length before, 3 to 6 times; 17 and 18: zero, 3 to 10 and 11 to 138 times.
    const unsigned extra = symbol < 16 ? 0 : symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
    if (count_ < code_bits + extra) return Outcome::kNeedInput;
    Take(code_bits);
    unsigned repeat = 1;
    unsigned length = symbol;
    if (symbol >= 16) {
      if (symbol == 16 && index_ == 0) return Broken("invalid bit length repeat");
      length = symbol == 16 ? lengths_[index_ - 1] : 0;
      repeat = Take(extra) + (symbol == 18 ? 11 : 3);
      if (repeat > total - index_) return Broken("invalid bit length repeat");
    }
    memset(lengths_ + index_, static_cast<int>(length), repeat);
    index_ += repeat;
  }
  return UseCodes();
}

Inflater::Outcome Inflater::UseCodes() {
  if (lengths_[kEndOfBlockSymbol] == 0) return Broken("invalid code -- missing end-of-block");
  if (!litlens_.Build(lengths_, litlen_count_, kMeanings.litlens, true)) return Broken("invalid literal/lengths set");
  if (!distances_.Build(lengths_ + litlen_count_, distance_count_, kMeanings.distances, true)) {
    return Broken("invalid distances set");
  }
  state_ = State::kSymbols;
  return Outcome::kMore;
}

Inflater::Outcome Inflater::UseFixedCodes() {
  litlen_count_ = 288;
  distance_count_ = 32;
  memset(lengths_, 8, 144);
  memset(lengths_ + 144, 9, 112);
  memset(lengths_ + 256, 7, 24);
  memset(lengths_ + 280, 8, 8);
  memset(lengths_ + 288, 5, 32);
  return UseCodes();
}

// As many symbols as there are certainly input and room for.
Inflater::Outcome Inflater::DecodeFast(Input& in, Output& out) {
  const uint8_t* next = in.next;
  const uint8_t* const next_limit = in.next + (in.left - kFastInput);
  uint8_t* to = out.next;
  uint8_t* const to_limit = out.next + (out.left - kFastOutput);
  uint64_t bits = bits_;
  unsigned count = count_;
  const char* problem = nullptr;
  Outcome outcome = Outcome::kMore;
  // To at least 56 bits. What is above `count` are bits of the byte at `next`, and the same again when it is taken.
  const auto refill = [&] {
    bits |= Load64(next) << count;
    next += (63 - count) >> 3;
    count |= 56;
  };
  const auto drop = [&](uint32_t entry) {
    bits >>= DroppedBitsOf(entry);
    count -= DroppedBitsOf(entry);
  };
  const auto literal = [&](uint32_t entry) {
    drop(entry);
    *to++ = static_cast<uint8_t>(ValueOf(entry));
  };

  refill();
  uint32_t entry = litlens_.Main(bits);
  while (next <= next_limit && to <= to_limit) {
    // Literals of the main table have at most 11 bits: after two of them 34 are left, enough for a length.
    if ((entry & kLiteral) != 0) {
      literal(entry);
      entry = litlens_.Main(bits);
      if ((entry & kLiteral) != 0) {
        literal(entry);
        entry = litlens_.Main(bits);
      }
    }
    if ((entry & kSpecial) != 0 && (entry & kSubtable) != 0) {
      drop(entry);
      entry = litlens_.Sub(entry, bits);
    }
    if ((entry & kLiteral) != 0) {
      literal(entry);
      refill();
      entry = litlens_.Main(bits);
      continue;
    }
    if ((entry & kSpecial) != 0) {
      drop(entry);
      if ((entry & kEndOfBlock) != 0) {
        outcome = Outcome::kEndOfBlock;
      } else {
        problem = "invalid literal/length code";
      }
      break;
    }
    const size_t length = LengthOf(entry, bits);
    drop(entry);
    refill();
    entry = distances_.Main(bits);
    if ((entry & kSpecial) != 0 && (entry & kSubtable) != 0) {
      drop(entry);
      entry = distances_.Sub(entry, bits);
    }
    if ((entry & kSpecial) != 0) {
      problem = "invalid distance code";
      break;
    }
    const size_t distance = LengthOf(entry, bits);
    drop(entry);
    refill();
    entry = litlens_.Main(bits);  // of the next turn: it is there when the copy is done
    const size_t produced = static_cast<size_t>(to - begin_);
    if (distance <= produced) {
      CopyWithin(to, distance, length);
    } else {
      const size_t back = distance - produced;
      if (back > history_.size()) {
        problem = "invalid distance too far back";
        break;
      }
      const size_t old = std::min(length, back);
      CopyFromHistory(back, old, to);
      if (length > old) CopyWithin(to + old, distance, length - old);
    }
    to += length;
  }

  in.left -= static_cast<size_t>(next - in.next);
  in.next = next;
  out.left -= static_cast<size_t>(to - out.next);
  out.next = to;
  bits_ = LowBits(bits, count);
  count_ = count;
  return problem == nullptr ? outcome : Broken(problem);
}

// One symbol, where input or room may end at any byte.
Inflater::Outcome Inflater::DecodeSymbol(Input& in, Output& out) {
  if (out.left == 0) return Outcome::kOutputFull;
  Need(in, kSymbolBits);
  uint64_t bits = bits_;
  unsigned used = 0;
  const auto drop = [&](uint32_t entry) {
    bits >>= DroppedBitsOf(entry);
    used += DroppedBitsOf(entry);
  };
  uint32_t entry = litlens_.Main(bits);
  if ((entry & kSpecial) != 0 && (entry & kSubtable) != 0) {
    drop(entry);
    entry = litlens_.Sub(entry, bits);
  }
  const size_t length = LengthOf(entry, bits);
  drop(entry);
  if (used > count_) return Outcome::kNeedInput;
  if ((entry & (kLiteral | kSpecial)) != 0) {
    bits_ = bits;
    count_ -= used;
    if ((entry & kEndOfBlock) != 0) return Outcome::kEndOfBlock;
    if ((entry & kSpecial) != 0) return Broken("invalid literal/length code");
    *out.next++ = static_cast<uint8_t>(ValueOf(entry));
    out.left--;
    return Outcome::kMore;
  }
  entry = distances_.Main(bits);
  if ((entry & kSpecial) != 0 && (entry & kSubtable) != 0) {
    drop(entry);
    entry = distances_.Sub(entry, bits);
  }
  const size_t distance = LengthOf(entry, bits);
  drop(entry);
  if (used > count_) return Outcome::kNeedInput;
  if ((entry & kSpecial) != 0) return Broken("invalid distance code");
  if (distance > static_cast<size_t>(out.next - begin_) + history_.size()) {
    return Broken("invalid distance too far back");
  }
  bits_ = bits;
  count_ -= used;
  match_length_ = length;
  match_distance_ = distance;
  state_ = State::kMatch;
  return Outcome::kMore;
}

Inflater::Outcome Inflater::CopyMatch(Output& out) {
  while (match_length_ > 0) {
    if (out.left == 0) return Outcome::kOutputFull;
    const size_t produced = static_cast<size_t>(out.next - begin_);
    size_t n = 1;
    if (match_distance_ > produced) {
      const size_t back = match_distance_ - produced;
      n = std::min({match_length_, out.left, back});
      CopyFromHistory(back, n, out.next);
    } else {
      *out.next = *(out.next - match_distance_);
    }
    out.next += n;
    out.left -= n;
    match_length_ -= n;
  }
  state_ = State::kSymbols;
  return Outcome::kMore;
}

// From before this call: the only matches that can reach a sample's window.
void Inflater::CopyFromHistory(size_t back, size_t length, uint8_t* to) {
  history_.Copy(back, length, to);
  if (back <= sampled_) return;
  const size_t into = back - sampled_;  // the end of the window
  const size_t noted = std::min(length, into);
  if (into <= sample_.used.size()) memset(&sample_.used[sample_.used.size() - into], 1, noted);
}

}  // namespace peel
