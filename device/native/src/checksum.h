// Checksums of frames.
#ifndef UNIECG_CHECKSUM_H_
#define UNIECG_CHECKSUM_H_

#include <cstddef>
#include <cstdint>

namespace uniecg {

// Over bytes first..last inclusive (negative: from the end), stored at `byte`.
struct Checksum {
  enum class Kind {
    kNone,
    kSum8,  // sum modulo 256
    kXor8,
    kCrc4  // x^4 + x + 1, most significant bit first, in the low nibble of `byte`, which counts as 0
  };

  Kind kind = Kind::kNone;
  std::int32_t byte = 0;
  std::int32_t first = 0;
  std::int32_t last = 0;
  bool invert = false;  // the complement is stored

  bool Holds(const std::uint8_t* frame, std::size_t length) const;
};

}  // namespace uniecg

#endif  // UNIECG_CHECKSUM_H_
