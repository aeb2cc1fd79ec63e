// What the fuzzers know: profiles, and what their devices send.
#ifndef UNIECG_TESTS_DEVICES_H_
#define UNIECG_TESTS_DEVICES_H_

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "encode.h"
#include "profiles.h"

struct FuzzedDevice {
  std::string profile;
  Bytes wire;
};

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Those of the tests, with frames of some of them; or, where UNIECG_FUZZ_PROFILES names a folder as
// fuzz_profiles.py writes it, the built-in ones.
inline std::vector<FuzzedDevice> FuzzedDevices() {
  std::vector<FuzzedDevice> devices;
  const char* folder = std::getenv("UNIECG_FUZZ_PROFILES");
  if (folder == nullptr) {
    std::mt19937 random(1);
    Bytes wire;
    for (std::uint64_t k = 0; k < 60; ++k) {
      wire = Join({wire, E8Frame(k), CytonFrame(k), SealedFrame(k, &random), BitalinoFrame(k, &random),
                   TimestampedFrame(64 * k), Hex("31 32 0a 2d 37 2c 20 38 0d 0a 21 0a")});
    }
    for (const std::string& profile : AllProfiles()) devices.push_back({profile, wire});
    return devices;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (std::filesystem::path file : files) {
    const std::string profile = ReadFile(file), wire = ReadFile(file.replace_extension(".wire"));
    devices.push_back({profile, Bytes(wire.begin(), wire.end())});
  }
  return devices;
}

#endif  // UNIECG_TESTS_DEVICES_H_
