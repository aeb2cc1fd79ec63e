// A number inside a frame, and constants that a byte of it must match.
#ifndef UNIECG_FIELD_H_
#define UNIECG_FIELD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace uniecg {

// Index of `byte` in a frame of `length` bytes; negative ones count from the end.
inline std::size_t At(std::int32_t byte, std::size_t length) {
  return byte >= 0 ? static_cast<std::size_t>(byte) : length - static_cast<std::size_t>(-byte);
}

// Bits high..low (7..0) of one byte.
struct Bits {
  std::int32_t byte = 0;
  unsigned high = 7;
  unsigned low = 0;
};

// A byte that must satisfy (byte & mask) == value.
struct Match {
  std::int32_t byte = 0;
  std::uint8_t mask = 0xFF;
  std::uint8_t value = 0;

  bool Holds(const std::uint8_t* frame, std::size_t length) const {
    return (frame[At(byte, length)] & mask) == value;
  }
};

// Bit runs of a frame, joined most significant first.
class Field {
 public:
  // A read takes whole words: so many bytes must be readable behind a frame, whatever they hold.
  static constexpr std::size_t kPadding = 8;

  Field() = default;
  // At most 32 bits in all.
  Field(const std::vector<Bits>& runs, bool is_signed);

  bool present() const { return !parts_.empty(); }
  unsigned width() const { return width_; }

  // Reads from a frame of `length` bytes; `shift` moves every byte on, for later samples of a frame.
  std::int64_t Read(const std::uint8_t* frame, std::size_t length, std::size_t shift = 0) const {
    std::uint64_t value = 0;
    for (const Part& part : parts_) {
      const std::uint64_t word = Load(frame + At(part.byte, length) + shift);
      value |= (word >> part.right | word << (-part.right & 63U)) & part.mask;
    }
    return static_cast<std::int64_t>(value ^ sign_) - static_cast<std::int64_t>(sign_);
  }

 private:
  // Runs that lie side by side are one part: the 64 bits from `byte` on, turned right, hold it at its place.
  struct Part {
    std::int32_t byte;
    unsigned right;
    std::uint64_t mask;
  };

  static std::uint64_t Load(const std::uint8_t* bytes) {
    std::uint64_t word = 0;
    for (std::size_t k = 0; k < 8; ++k) word = word << 8 | bytes[k];
    return word;
  }

  std::vector<Part> parts_;
  unsigned width_ = 0;
  std::uint64_t sign_ = 0;  // the sign's bit, 0 where the number has none
};

}  // namespace uniecg

#endif  // UNIECG_FIELD_H_
