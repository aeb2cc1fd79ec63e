// Channels read four at a time, where the processor can: their bytes are shuffled into the lanes of a vector,
// then moved into place together.
#ifndef UNIECG_LANES_H_
#define UNIECG_LANES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "field.h"

namespace uniecg {

// A channel's number and where its value lies.
struct Column {
  Field value;
  std::size_t channel;
};

// Up to four channels of at most four bytes each, within 16 bytes of the frame, that are alike but for their
// place.
class Lanes {
 public:
  static constexpr std::size_t kWidth = 4;

  // Whether this processor can.
  static bool Supported();
  // None if these columns, at most kWidth, are not as above in frames of `length` bytes.
  static std::optional<Lanes> Of(const Column* columns, std::size_t size, std::size_t length);

  // Frame k's value of channel c to counts[c * row + k], for `count` frames that lie side by side, a multiple
  // of kWidth.
  void Read(const std::uint8_t* frames, std::size_t length, std::size_t count, std::int32_t* counts,
            std::size_t row) const;

 private:
  // Bits of a lane on their way to the value: right, then masked.
  struct Move {
    int right;
    std::uint32_t mask;
    bool operator==(const Move& other) const { return right == other.right && mask == other.mask; }
  };
  // The bytes that a field needs, most significant part first, and the moves from them to its value.
  struct Layout {
    std::vector<std::size_t> bytes;
    std::vector<Move> moves;
  };
  static std::optional<Layout> LayoutOf(const Field& field, std::size_t length);

  template <std::size_t kMoves, bool kSigned>
  void ReadMoves(const std::uint8_t* frames, std::size_t length, std::size_t count, std::int32_t* counts,
                 std::size_t row) const;

  std::size_t first_ = 0;  // of the 16 bytes
  std::array<std::uint8_t, 16> shuffle_{};
  std::vector<Move> moves_;
  unsigned width_ = 0;  // bits of the value
  bool signed_ = false;
  std::array<std::size_t, kWidth> channels_{};
};

}  // namespace uniecg

#endif  // UNIECG_LANES_H_
