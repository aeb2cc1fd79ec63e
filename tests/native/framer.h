// A framer that the tests hold by its C ABI, and the bytes they push into it.
#ifndef UNIECG_TESTS_FRAMER_H_
#define UNIECG_TESTS_FRAMER_H_

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "uniecg.h"

using Bytes = std::vector<std::uint8_t>;

inline Bytes Join(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

// "e8 03" as bytes.
inline Bytes Hex(const std::string& text) {
  Bytes bytes;
  std::string digits;
  for (const char c : text) {
    if (c != ' ') digits += c;
  }
  for (std::size_t k = 0; k < digits.size(); k += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(digits.substr(k, 2), nullptr, 16)));
  }
  return bytes;
}

struct Samples {
  std::vector<std::vector<std::int32_t>> counts;  // [sample][channel]
  std::vector<std::uint32_t> electrodes_off;
  std::vector<std::uint64_t> positions;
  bool operator==(const Samples& other) const {
    return counts == other.counts && electrodes_off == other.electrodes_off && positions == other.positions;
  }
};

class Framer {
 public:
  explicit Framer(const std::string& profile, std::uint32_t ring = 100000)
      : framer_(uniecg_framer_create(profile.c_str(), ring, error_, sizeof(error_))) {}
  ~Framer() { uniecg_framer_destroy(framer_); }
  Framer(const Framer&) = delete;
  Framer& operator=(const Framer&) = delete;

  bool valid() const { return framer_ != nullptr; }
  std::string error() const { return error_; }
  uniecg_framer* get() const { return framer_; }
  void Push(const Bytes& bytes) const { uniecg_framer_push(framer_, bytes.data(), bytes.size()); }
  void PushText(const std::string& text) const { Push(Bytes(text.begin(), text.end())); }
  uniecg_counters Counters() const {
    uniecg_counters counters;
    uniecg_framer_counters(framer_, &counters);
    return counters;
  }
  Samples Pull() const {
    const std::size_t count = uniecg_framer_available(framer_), channels = uniecg_framer_channels(framer_);
    std::vector<std::int32_t> counts(count * channels);
    Samples samples{{}, std::vector<std::uint32_t>(count), std::vector<std::uint64_t>(count)};
    uniecg_framer_pull(framer_, count, nullptr, counts.data(), samples.electrodes_off.data(),
                       samples.positions.data());
    for (std::size_t k = 0; k < count; ++k) {
      samples.counts.emplace_back();
      for (std::size_t c = 0; c < channels; ++c) samples.counts[k].push_back(counts[c * count + k]);
    }
    return samples;
  }

 private:
  char error_[256] = "";
  uniecg_framer* framer_;
};

inline bool SameCounters(const uniecg_counters& one, const uniecg_counters& other) {
  return std::memcmp(&one, &other, sizeof(one)) == 0;
}

#endif  // UNIECG_TESTS_FRAMER_H_
