// Runs the fuzzers' entry on random inputs, for compilers without libFuzzer: uniecg_fuzz_random [COUNT
// [SEED]]
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "encode.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

// Valid frames of every device and bytes of none.
Bytes AnyPiece(std::mt19937* random) {
  static const std::string lines = "12\n-7, 8\r\n!\n";
  const std::uint64_t number = (*random)();
  switch (number % 7) {
    case 0:
      return E8Frame(number >> 8);
    case 1:
      return CytonFrame(number >> 8);
    case 2:
      return SealedFrame(number >> 8, random);
    case 3:
      return BitalinoFrame(number >> 8, random);
    case 4:
      return TimestampedFrame(number & ~std::uint64_t{63});
    case 5:
      return Bytes(lines.begin(), lines.end());
    default:
      return Bytes((*random)() % 30, AnyByte(random));
  }
}

Bytes AnyInput(std::mt19937* random) {
  // Most profiles stay as they are: most changes are refused.
  const unsigned changes = (*random)() % 4 == 0 ? 1 : 0;
  Bytes input = {Byte(changes << 4 | (*random)() % 16)};
  static const std::string likely = "0123456789-[],{}\":";
  for (unsigned k = 0; k < changes; ++k) {
    input.push_back(AnyByte(random));
    input.push_back(AnyByte(random));
    input.push_back(static_cast<std::uint8_t>(likely[(*random)() % likely.size()]));
  }
  input.push_back(AnyByte(random));
  for (std::uint64_t pieces = (*random)() % 20; pieces > 0; --pieces) {
    Bytes piece = AnyPiece(random);
    if ((*random)() % 4 == 0 && !piece.empty()) piece[(*random)() % piece.size()] = AnyByte(random);
    if ((*random)() % 8 == 0 && !piece.empty()) piece.pop_back();
    input.insert(input.end(), piece.begin(), piece.end());
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t count = argc > 1 ? std::stoull(argv[1]) : 1000;
  std::mt19937 random(argc > 2 ? static_cast<std::uint32_t>(std::stoul(argv[2])) : 1);
  for (std::uint64_t k = 0; k < count; ++k) {
    const Bytes input = AnyInput(&random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::cout << "ok   " << count << " random inputs\n";
  return 0;
}
