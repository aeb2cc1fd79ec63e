// A number inside a frame, and constants that a byte of it must match.
#ifndef UNIECG_FIELD_H_
#define UNIECG_FIELD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace uniecg {

// The eight bytes from `bytes` on as a number, the first of them the most significant.
inline std::uint64_t LoadWord(const std::uint8_t* bytes) {
  return std::uint64_t{bytes[0]} << 56 | std::uint64_t{bytes[1]} << 48 | std::uint64_t{bytes[2]} << 40 |
         std::uint64_t{bytes[3]} << 32 | std::uint64_t{bytes[4]} << 24 | std::uint64_t{bytes[5]} << 16 |
         std::uint64_t{bytes[6]} << 8 | std::uint64_t{bytes[7]};
}

inline std::uint64_t RotateLeft(std::uint64_t word, unsigned bits) {
  return word << (bits & 63U) | word >> (-bits & 63U);
}

// Fields are read as whole words or vectors: so many bytes must be readable behind a frame, whatever they
// hold.
constexpr std::size_t kPadding = 16;

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

// The two's complement number whose sign is the bit `sign`, 0 where it has none.
inline std::int64_t WithSign(std::uint64_t value, std::uint64_t sign) {
  return static_cast<std::int64_t>(value ^ sign) - static_cast<std::int64_t>(sign);
}

// Bit runs of a frame, joined most significant first.
class Field {
 public:
  // Runs that lie side by side: the 64 bits from `byte` on, turned right, hold them at their place.
  struct Part {
    std::int32_t byte;
    unsigned right;
    std::uint64_t mask;

    std::uint64_t Read(const std::uint8_t* frame, std::size_t length) const {
      return RotateLeft(LoadWord(frame + At(byte, length)), -right) & mask;
    }
  };

  Field() = default;
  // At most 32 bits in all.
  Field(const std::vector<Bits>& runs, bool is_signed);

  bool present() const { return !parts_.empty(); }
  unsigned width() const { return width_; }
  std::uint64_t sign() const { return sign_; }
  const std::vector<Part>& parts() const { return parts_; }

  // Reads from a frame of `length` bytes.
  std::int64_t Read(const std::uint8_t* frame, std::size_t length) const {
    std::uint64_t value = 0;
    for (const Part& part : parts_) value |= part.Read(frame, length);
    return WithSign(value, sign_);
  }

 private:
  std::vector<Part> parts_;
  unsigned width_ = 0;
  std::uint64_t sign_ = 0;  // the sign's bit, 0 where the number has none
};

}  // namespace uniecg

#endif  // UNIECG_FIELD_H_
