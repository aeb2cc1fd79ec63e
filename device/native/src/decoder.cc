#include "decoder.h"

namespace uniecg {

Decoder::Decoder(const std::vector<Channel>& channels, std::size_t packet) {
  for (std::size_t c = 0; c < channels.size(); ++c) {
    const Channel& channel = channels[c];
    if (channel.packet != packet) continue;
    for (const Match& match : channel.electrode) flags_.push_back({match, static_cast<std::uint32_t>(c)});
    for (const Field::Part& part : channel.value.parts()) steps_.push_back({part, channel.value.sign(), -1});
    steps_.back().channel = static_cast<std::int32_t>(c);
  }
}

}  // namespace uniecg
