#include "pattern.h"

#include <cstring>

namespace uniecg {
namespace {

std::uint64_t Raw(const std::uint8_t* bytes) {
  std::uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// What Raw would read where LoadWord reads `word`.
std::uint64_t InMemory(std::uint64_t word) {
  std::uint8_t bytes[8];
  for (unsigned k = 0; k < 8; ++k) bytes[k] = static_cast<std::uint8_t>(word >> (56 - 8 * k));
  return Raw(bytes);
}

}  // namespace

void Pattern::Add(const Field& field, std::uint64_t value) {
  for (const Field::Part& part : field.parts()) {
    Add(At(part.byte, length_), RotateLeft(part.mask, part.right), RotateLeft(value & part.mask, part.right));
  }
}

void Pattern::Add(std::size_t at, std::uint64_t mask, std::uint64_t value) {
  for (Word& word : words_) {
    if (at < word.at || at >= word.at + 8) continue;
    const auto right = static_cast<unsigned>(8 * (at - word.at));
    const std::uint64_t moved = mask >> right;
    // One that does not fit, or asks for bits that another has asked for, gets a word of its own.
    if (moved << right != mask || (moved & word.mask) != 0) continue;
    word.mask |= moved;
    word.value |= value >> right;
    return;
  }
  words_.push_back({at, mask, value});
}

std::size_t Pattern::CountHolding(const std::uint8_t* frames, std::size_t most) const {
  return CountRight(most, [this, frames](std::size_t first, std::size_t last) {
    std::uint64_t bits = 0;
    for (const Word& word : words_) {
      const std::uint64_t mask = InMemory(word.mask), value = InMemory(word.value);
      const std::uint8_t* bytes = frames + word.at;
      for (std::size_t k = first; k < last; ++k) bits |= (Raw(bytes + k * length_) & mask) ^ value;
    }
    return bits == 0;
  });
}

}  // namespace uniecg
