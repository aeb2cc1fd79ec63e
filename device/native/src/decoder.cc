#include "decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace uniecg {
namespace {

// The value of each of `count` frames.
void ReadColumn(const Field& field, const std::uint8_t* frames, std::size_t length, std::size_t count,
                std::int32_t* out) {
  for (std::size_t k = 0; k < count; ++k) {
    out[k] = static_cast<std::int32_t>(field.Read(frames + k * length, length));
  }
}

}  // namespace

Decoder::Decoder(const std::vector<Channel>& channels, std::size_t packet, std::size_t length)
    : length_(length), all_on_(length) {
  for (std::size_t c = 0; c < channels.size(); ++c) {
    const Channel& channel = channels[c];
    if (channel.packet != packet) continue;
    for (const Match& match : channel.electrode) {
      flags_.push_back({match, static_cast<std::uint32_t>(c)});
      all_on_.Add(match);
    }
    columns_.push_back({channel.value, c});
  }
  for (std::size_t k = 0; k < columns_.size(); k += Lanes::kWidth) {
    const std::size_t size = std::min(Lanes::kWidth, columns_.size() - k);
    std::optional<Lanes> lanes;
    if (Lanes::Supported()) lanes = Lanes::Of(&columns_[k], size, length);
    if (lanes) {
      lanes_.push_back(*std::move(lanes));
    } else {
      singles_.insert(singles_.end(), &columns_[k], &columns_[k] + size);
    }
  }
}

std::uint32_t Decoder::ElectrodesOff(const std::uint8_t* frame, std::size_t length) const {
  std::uint32_t off = 0;
  for (const Flag& flag : flags_) {
    off |= static_cast<std::uint32_t>(!flag.match.Holds(frame, length)) << flag.channel;
  }
  return off;
}

void Decoder::ElectrodesOff(const std::uint8_t* frames, std::size_t count, std::uint32_t* off) const {
  const std::size_t on = all_on_.CountHolding(frames, count);
  std::fill_n(off, on, 0);
  for (std::size_t k = on; k < count; ++k) off[k] = ElectrodesOff(frames + k * length_, length_);
}

void Decoder::Read(const std::uint8_t* frames, std::size_t length, std::size_t count, std::int32_t* counts,
                   std::size_t row) const {
  const std::size_t together = length == length_ ? count - count % Lanes::kWidth : 0;
  if (together > 0) {
    for (const Lanes& lanes : lanes_) lanes.Read(frames, length, together, counts, row);
    for (const Column& column : singles_) {
      ReadColumn(column.value, frames, length, together, counts + column.channel * row);
    }
  }
  if (together == count) return;
  for (const Column& column : columns_) {
    ReadColumn(column.value, frames + together * length, length, count - together,
               counts + column.channel * row + together);
  }
}

}  // namespace uniecg
