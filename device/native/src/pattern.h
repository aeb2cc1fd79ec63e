// Constants that frames must hold, compared eight bytes and many frames at a time.
#ifndef UNIECG_PATTERN_H_
#define UNIECG_PATTERN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "field.h"

namespace uniecg {

// How many of `most` frames are right, up to the first that is not: asked of many together, as almost all
// are, without a branch at each. right(first, last) says it of those in between.
template <typename Right>
std::size_t CountRight(std::size_t most, Right&& right) {
  constexpr std::size_t kTogether = 16;
  std::size_t count = 0;
  while (count + kTogether <= most && right(count, count + kTogether)) count += kTogether;
  while (count < most && right(count, count + 1)) ++count;
  return count;
}

// Of frames of one length.
class Pattern {
 public:
  explicit Pattern(std::size_t length) : length_(length) {}

  void Add(const Match& match) {
    Add(At(match.byte, length_), std::uint64_t{match.mask} << 56, std::uint64_t{match.value} << 56);
  }
  // `field` must read as `value`.
  void Add(const Field& field, std::uint64_t value);

  // How many of `most` frames that lie side by side hold it, up to the first that does not.
  std::size_t CountHolding(const std::uint8_t* frames, std::size_t most) const;

 private:
  // The eight bytes from `at` on, the first of them the most significant.
  struct Word {
    std::size_t at;
    std::uint64_t mask, value;
  };

  void Add(std::size_t at, std::uint64_t mask, std::uint64_t value);

  std::size_t length_;
  std::vector<Word> words_;
};

}  // namespace uniecg

#endif  // UNIECG_PATTERN_H_
