#include "output.h"

#include <algorithm>
#include <cstring>

namespace uniecg {

Output::Output(const std::vector<Channel>& channels, std::size_t ring_samples)
    : samples_(channels.size(), ring_samples), messages_(UNIECG_MESSAGE_QUEUE) {
  for (const Channel& channel : channels) scales_.push_back({channel.offset, channel.mv_per_count});
}

void Output::Samples(const std::int32_t* counts, std::size_t count, std::uint32_t electrodes_off,
                     std::uint64_t position) {
  if (position > next_position_) {
    totals.counter_gaps.Add(1);
    totals.lost_samples.Add(position - next_position_);
  }
  next_position_ = position + count;
  totals.samples.Add(count);
  for (std::size_t k = 0; k < count; ++k) {
    if (!samples_.Write(counts + k * scales_.size(), electrodes_off, position + k)) {
      totals.overflowed_samples.Add(1);
    }
  }
}

void Output::AddMessage(const std::uint8_t* bytes, std::size_t length) {
  totals.messages.Add(1);
  if (message_index_.Full()) {
    totals.dropped_messages.Add(1);
    return;
  }
  Message& message = messages_[message_index_.WriteSlot()];
  message.length = std::min<std::size_t>(length, UNIECG_MAX_MESSAGE);
  std::memcpy(message.bytes, bytes, message.length);
  message_index_.Publish();
}

std::size_t Output::Pull(std::size_t max_samples, float* millivolts, std::int32_t* counts,
                         std::uint32_t* electrodes_off, std::uint64_t* positions) {
  return samples_.Read(
      max_samples, [&](std::size_t k, const std::int32_t* values, std::uint32_t off, std::uint64_t position) {
        for (std::size_t c = 0; c < scales_.size(); ++c) {
          if (counts != nullptr) counts[c * max_samples + k] = values[c];
          if (millivolts != nullptr) {
            millivolts[c * max_samples + k] =
                static_cast<float>((values[c] - scales_[c].offset) * scales_[c].mv_per_count);
          }
        }
        if (electrodes_off != nullptr) electrodes_off[k] = off;
        if (positions != nullptr) positions[k] = position;
      });
}

std::size_t Output::PullMessage(std::uint8_t* bytes, std::size_t size) {
  if (message_index_.Available() == 0) return 0;
  const Message& message = messages_[message_index_.ReadSlot(0)];
  const std::size_t length = message.length;
  if (bytes != nullptr) std::memcpy(bytes, message.bytes, std::min(length, size));
  message_index_.Release(1);
  return length;
}

uniecg_counters Output::Counters() const {
  uniecg_counters counters;
  counters.bytes = totals.bytes.Get();
  counters.frames = totals.frames.Get();
  counters.messages = totals.messages.Get();
  counters.samples = totals.samples.Get();
  counters.skipped_bytes = totals.skipped_bytes.Get();
  counters.resyncs = totals.resyncs.Get();
  counters.bad_headers = totals.bad_headers.Get();
  counters.bad_footers = totals.bad_footers.Get();
  counters.bad_checksums = totals.bad_checksums.Get();
  counters.counter_gaps = totals.counter_gaps.Get();
  counters.lost_samples = totals.lost_samples.Get();
  counters.overflowed_samples = totals.overflowed_samples.Get();
  counters.dropped_messages = totals.dropped_messages.Get();
  counters.duplicates = totals.duplicates.Get();
  return counters;
}

}  // namespace uniecg
