#include "output.h"

#include <algorithm>
#include <cstring>

namespace uniecg {
namespace {

inline __attribute__((always_inline)) void Convert(const std::int32_t* counts, std::size_t count,
                                                   double offset, double scale, float* millivolts) {
  for (std::size_t k = 0; k < count; ++k) {
    millivolts[k] = static_cast<float>((counts[k] - offset) * scale);
  }
}

void ConvertPlainly(const std::int32_t* counts, std::size_t count, double offset, double scale,
                    float* millivolts) {
  Convert(counts, count, offset, scale, millivolts);
}

#if defined(__x86_64__)
// The same, which the compiler makes twice as fast where it may use wider vectors.
__attribute__((target("avx2"))) void ConvertWidely(const std::int32_t* counts, std::size_t count,
                                                   double offset, double scale, float* millivolts) {
  Convert(counts, count, offset, scale, millivolts);
}
#endif

auto ChooseConvert() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return &ConvertWidely;
#endif
  return &ConvertPlainly;
}

}  // namespace

Output::Output(const std::vector<Channel>& channels, std::size_t ring_samples)
    : samples_(channels.size(), ring_samples), messages_(UNIECG_MESSAGE_QUEUE) {
  for (const Channel& channel : channels) scales_.push_back({channel.offset, channel.mv_per_count});
}

void Output::CountSamples(std::size_t count, std::uint64_t position) {
  if (position > next_position_) {
    totals.counter_gaps.Add(1);
    totals.lost_samples.Add(position - next_position_);
  }
  next_position_ = position + count;
  totals.samples.Add(count);
}

void Output::AddMessage(const std::uint8_t* bytes, std::size_t length) {
  totals.messages.Add(1);
  if (message_index_.Room(1) == 0) {
    totals.dropped_messages.Add(1);
    return;
  }
  Message& message = messages_[message_index_.WriteSlot()];
  message.length = std::min<std::size_t>(length, UNIECG_MAX_MESSAGE);
  std::memcpy(message.bytes, bytes, message.length);
  message_index_.Publish(1);
}

std::size_t Output::Pull(std::size_t max_samples, float* millivolts, std::int32_t* counts,
                         std::uint32_t* electrodes_off, std::uint64_t* positions) {
  static const auto convert = ChooseConvert();
  std::size_t taken = 0;
  const std::size_t ready = std::min(max_samples, Available());
  while (taken < ready) {
    const Slots slots = samples_.Ready(ready - taken);
    for (std::size_t c = 0; c < scales_.size(); ++c) {
      const std::int32_t* values = slots.counts + c * slots.row;
      if (counts != nullptr) std::copy_n(values, slots.count, counts + c * max_samples + taken);
      if (millivolts != nullptr)
        convert(values, slots.count, scales_[c].offset, scales_[c].mv_per_count,
                millivolts + c * max_samples + taken);
    }
    if (electrodes_off != nullptr) std::copy_n(slots.electrodes_off, slots.count, electrodes_off + taken);
    if (positions != nullptr) std::copy_n(slots.positions, slots.count, positions + taken);
    samples_.Release(slots.count);
    taken += slots.count;
  }
  return taken;
}

std::size_t Output::PullMessage(std::uint8_t* bytes, std::size_t size) {
  if (message_index_.Available() == 0) return 0;
  const Message& message = messages_[message_index_.ReadSlot()];
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
