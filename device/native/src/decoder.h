// Reads the channels that one kind of frame carries.
#ifndef UNIECG_DECODER_H_
#define UNIECG_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "grammar.h"

namespace uniecg {

// The channels' fields in one row, so that a frame is read in one pass: reading is most of the work.
class Decoder {
 public:
  Decoder(const std::vector<Channel>& channels, std::size_t packet);

  // Bit c set where channel c's electrode is off.
  std::uint32_t ElectrodesOff(const std::uint8_t* frame, std::size_t length) const {
    std::uint32_t off = 0;
    for (const Flag& flag : flags_) {
      off |= static_cast<std::uint32_t>(!flag.match.Holds(frame, length)) << flag.channel;
    }
    return off;
  }

  // Sets counts[c] for every channel c of the packet; `shift` moves every byte on.
  void Read(const std::uint8_t* frame, std::size_t length, std::size_t shift, std::int32_t* counts) const {
    std::uint64_t value = 0;
    for (const Step& step : steps_) {
      value |= step.part.Read(frame, length, shift);
      if (step.channel < 0) continue;
      counts[step.channel] = static_cast<std::int32_t>(WithSign(value, step.sign));
      value = 0;
    }
  }

 private:
  struct Flag {
    Match match;
    std::uint32_t channel;
  };
  struct Step {
    Field::Part part;
    std::uint64_t sign;
    std::int32_t channel;  // that the value is now complete of, or -1
  };

  std::vector<Flag> flags_;
  std::vector<Step> steps_;
};

}  // namespace uniecg

#endif  // UNIECG_DECODER_H_
