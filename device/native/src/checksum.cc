#include "checksum.h"

#include "field.h"

namespace uniecg {
namespace {

// The remainder after four more bits that are all 0.
constexpr std::uint8_t kCrc4[16] = {0, 3, 6, 5, 12, 15, 10, 9, 11, 8, 13, 14, 7, 4, 1, 2};

unsigned Crc4(const std::uint8_t* frame, std::size_t first, std::size_t last, std::size_t stored) {
  unsigned rest = 0;
  for (std::size_t i = first; i <= last; ++i) {
    const unsigned byte = i == stored ? frame[i] & 0xF0U : frame[i];
    rest = kCrc4[rest] ^ byte >> 4;
    rest = kCrc4[rest] ^ (byte & 0xF);
  }
  return rest;
}

}  // namespace

bool Checksum::Holds(const std::uint8_t* frame, std::size_t length) const {
  if (kind == Kind::kNone) return true;
  const std::size_t begin = At(first, length), end = At(last, length), stored = At(byte, length);
  unsigned total = 0;
  if (kind == Kind::kCrc4) {
    total = Crc4(frame, begin, end, stored);
  } else if (kind == Kind::kSum8) {
    for (std::size_t i = begin; i <= end; ++i) total += frame[i];
  } else {
    for (std::size_t i = begin; i <= end; ++i) total ^= frame[i];
  }
  const unsigned mask = kind == Kind::kCrc4 ? 0xF : 0xFF;
  return ((invert ? ~total : total) & mask) == (frame[stored] & mask);
}

}  // namespace uniecg
