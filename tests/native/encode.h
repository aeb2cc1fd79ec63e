// Frames as the devices of profiles.h send them, carrying anything.
#ifndef UNIECG_TESTS_ENCODE_H_
#define UNIECG_TESTS_ENCODE_H_

#include <cstdint>
#include <random>
#include <string>

#include "framer.h"

inline std::uint8_t Byte(std::uint64_t value) { return static_cast<std::uint8_t>(value); }

inline std::uint8_t AnyByte(std::mt19937* random) { return Byte((*random)()); }

inline Bytes E8Frame(std::uint64_t counter) {
  Bytes frame = Hex("e8 00 11 20 00 30 00 30 34 00 00 3f 7f 20 01 20 02 20 03 20 04 8e");
  frame[1] = Byte(counter % 64);
  return frame;
}

inline Bytes CytonFrame(std::uint64_t counter, std::uint8_t value = 1) {
  Bytes frame(33, 0);
  frame[0] = 0xA0, frame[1] = Byte(counter), frame[4] = value, frame[32] = 0xC0;
  return frame;
}

// Payload bytes never look like a sync.
inline Bytes SealedFrame(std::uint64_t counter, std::mt19937* random) {
  Bytes frame = {0xAA, 0x55, Byte(counter)};
  while (frame.size() < 11) frame.push_back(AnyByte(random) & 0x7F);
  unsigned sum = 0;
  for (const std::uint8_t byte : frame) sum += byte;
  frame.push_back(Byte(sum));
  return frame;
}

// The CRC bit by bit, as BITalino's own software computes it.
inline unsigned BitalinoCrc(const Bytes& frame) {
  unsigned rest = 0;
  for (std::size_t k = 0; k < frame.size(); ++k) {
    const unsigned byte = k + 1 < frame.size() ? frame[k] : frame[k] & 0xF0U;
    for (unsigned bit = 8; bit-- > 0;) {
      rest = (rest << 1 | (byte >> bit & 1)) & 0x1F;
      if (rest & 0x10) rest ^= 0x13;
    }
  }
  return rest;
}

inline Bytes BitalinoFrame(std::uint64_t counter, std::mt19937* random) {
  Bytes frame;
  while (frame.size() < 7) frame.push_back(AnyByte(random));
  frame.push_back(Byte(counter << 4));
  frame[7] = Byte(frame[7] | BitalinoCrc(frame));
  return frame;
}

inline Bytes TimestampedFrame(std::uint64_t ticks) {
  return {0, Byte(ticks), Byte(ticks >> 8), Byte(ticks >> 16), 0x01, 0x02, 0x03};
}

#endif  // UNIECG_TESTS_ENCODE_H_
