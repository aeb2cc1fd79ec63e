// One input of the fuzzers: a profile, changes to its text, and bytes pushed in portions.
//
//   1 byte     which profile
//   1 byte     from 248 on, how many changes: the byte less 247
//   3 a change where in the text (two bytes) and what is put there
//   1 byte     bytes in each portion
//   the rest   what the device sends
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "devices.h"
#include "framer.h"
#include "uniecg.h"

namespace {

void Require(bool holds, const char* what) {
  if (holds) return;
  std::cerr << "broken: " << what << "\n";
  std::abort();
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  unsigned Take() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  Bytes Rest() const { return Bytes(data_, data_ + size_); }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

void CheckCounters(const uniecg_counters& counters, const Samples& samples, std::size_t pushed) {
  Require(counters.bytes == pushed, "bytes are all counted");
  Require(counters.skipped_bytes <= pushed, "no byte is skipped twice");
  Require(counters.frames + counters.messages + counters.duplicates <= pushed, "every frame has bytes");
  Require(samples.counts.size() + counters.overflowed_samples == counters.samples, "samples are all there");
  for (std::size_t k = 1; k < samples.positions.size(); ++k) {
    Require(samples.positions[k] > samples.positions[k - 1], "positions grow");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<FuzzedDevice> devices = FuzzedDevices();
  Input input(data, size);
  std::string profile = devices[input.Take() % devices.size()].profile;
  const unsigned choice = input.Take();
  for (unsigned changes = choice > 247 ? choice - 247 : 0; changes > 0; --changes) {
    const std::size_t at = input.Take() << 8 | input.Take();
    profile[at % profile.size()] = static_cast<char>(input.Take());
  }
  const std::size_t portion = input.Take() + 1;
  const Framer whole(profile, 256), parts(profile, 256);
  Require(whole.valid() == parts.valid() && whole.valid() == whole.error().empty(), "a refusal has a reason");
  if (!whole.valid()) return 0;
  const Bytes bytes = input.Rest();
  whole.Push(bytes);
  for (std::size_t at = 0; at < bytes.size(); at += portion) {
    uniecg_framer_push(parts.get(), bytes.data() + at, std::min(portion, bytes.size() - at));
  }
  const Samples samples = whole.Pull();
  CheckCounters(whole.Counters(), samples, bytes.size());
  Require(SameCounters(whole.Counters(), parts.Counters()), "counters do not depend on portions");
  Require(samples == parts.Pull(), "samples do not depend on portions");
  return 0;
}
