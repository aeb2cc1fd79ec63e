// Runs the fuzzers' entry on random inputs, for compilers without libFuzzer: uniecg_fuzz_random [COUNT
// [SEED]]
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "devices.h"
#include "encode.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr std::uint64_t kMostBytes = 600;  // of a piece

// Part of what the device sends, some of it damaged; or bytes of no device.
Bytes AnyPiece(const Bytes& wire, std::mt19937* random) {
  Bytes piece;
  if ((*random)() % 4 == 0 || wire.empty()) {
    for (std::uint64_t left = (*random)() % 30; left > 0; --left) piece.push_back(AnyByte(random));
    return piece;
  }
  const std::uint64_t begin = (*random)() % wire.size();
  const std::uint64_t end = std::min<std::uint64_t>(wire.size(), begin + (*random)() % kMostBytes);
  piece.assign(wire.begin() + static_cast<std::ptrdiff_t>(begin),
               wire.begin() + static_cast<std::ptrdiff_t>(end));
  if ((*random)() % 2 == 0 && !piece.empty()) piece[(*random)() % piece.size()] = AnyByte(random);
  if ((*random)() % 4 == 0 && !piece.empty())
    piece.erase(piece.begin() + static_cast<std::ptrdiff_t>((*random)() % piece.size()));
  return piece;
}

Bytes AnyInput(const std::vector<FuzzedDevice>& devices, std::mt19937* random) {
  const std::size_t device = (*random)() % devices.size();
  // Most profiles stay as they are: most changes are refused.
  const unsigned changes = (*random)() % 4 == 0 ? 1 : 0;
  Bytes input = {Byte(device), Byte(changes > 0 ? 247 + changes : 0)};
  static const std::string likely = "0123456789-[],{}\":";
  for (unsigned k = 0; k < changes; ++k) {
    input.push_back(AnyByte(random));
    input.push_back(AnyByte(random));
    input.push_back(static_cast<std::uint8_t>(likely[(*random)() % likely.size()]));
  }
  input.push_back(AnyByte(random));
  for (std::uint64_t pieces = (*random)() % 8; pieces > 0; --pieces) {
    const Bytes piece = AnyPiece(devices[device].wire, random);
    input.insert(input.end(), piece.begin(), piece.end());
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t count = argc > 1 ? std::stoull(argv[1]) : 1000;
  std::mt19937 random(argc > 2 ? static_cast<std::uint32_t>(std::stoul(argv[2])) : 1);
  const std::vector<FuzzedDevice> devices = FuzzedDevices();
  for (std::uint64_t k = 0; k < count; ++k) {
    const Bytes input = AnyInput(devices, &random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::cout << "ok   " << count << " random inputs\n";
  return 0;
}
