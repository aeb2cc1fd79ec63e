// Reads the channels that one kind of frame carries.
#ifndef UNIECG_DECODER_H_
#define UNIECG_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "grammar.h"
#include "lanes.h"
#include "pattern.h"

namespace uniecg {

class Decoder {
 public:
  // length: of all frames, or of the shortest.
  Decoder(const std::vector<Channel>& channels, std::size_t packet, std::size_t length);

  // Bit c set where channel c's electrode is off.
  std::uint32_t ElectrodesOff(const std::uint8_t* frame, std::size_t length) const;
  // The same of `count` frames of the constructor's length that lie side by side.
  void ElectrodesOff(const std::uint8_t* frames, std::size_t count, std::uint32_t* off) const;

  // Frame k's value of channel c to counts[c * row + k], for `count` frames that lie side by side.
  void Read(const std::uint8_t* frames, std::size_t length, std::size_t count, std::int32_t* counts,
            std::size_t row) const;

 private:
  struct Flag {
    Match match;
    std::uint32_t channel;
  };
  std::size_t length_;
  Pattern all_on_;
  std::vector<Flag> flags_;
  std::vector<Column> columns_;
  std::vector<Lanes> lanes_;     // of frames of the constructor's length
  std::vector<Column> singles_;  // the columns that are in no lanes
};

}  // namespace uniecg

#endif  // UNIECG_DECODER_H_
