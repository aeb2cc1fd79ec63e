// What a reader hands on: samples, messages and totals, from one producer to one consumer thread.
#ifndef UNIECG_OUTPUT_H_
#define UNIECG_OUTPUT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "grammar.h"
#include "ring.h"
#include "uniecg.h"

namespace uniecg {

// A total that the producer alone writes and any thread reads.
class Total {
 public:
  void Add(std::uint64_t amount) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  std::uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Their meaning is uniecg_counters'.
struct Totals {
  Total bytes, frames, messages, samples, skipped_bytes, resyncs, bad_headers, bad_footers, bad_checksums,
      counter_gaps, lost_samples, overflowed_samples, dropped_messages, duplicates;
};

// A valid frame that carries no samples.
struct Message {
  std::size_t length = 0;
  std::uint8_t bytes[UNIECG_MAX_MESSAGE] = {};
};

class Output {
 public:
  Output(const std::vector<Channel>& channels, std::size_t ring_samples);

  // Consumer.
  std::size_t Available() const { return samples_.Available(); }
  std::size_t Pull(std::size_t max_samples, float* millivolts, std::int32_t* counts,
                   std::uint32_t* electrodes_off, std::uint64_t* positions);
  std::size_t PullMessage(std::uint8_t* bytes, std::size_t size);
  uniecg_counters Counters() const;

  // Producer: `count` samples of all channels, the first of them at `position`, which never goes back.
  // write(first, slots) sets counts and electrodes of the samples from number `first` on.
  template <typename Write>
  void Samples(std::size_t count, std::uint64_t position, Write&& write) {
    CountSamples(count, position);
    for (std::size_t first = 0; first < count;) {
      const Slots slots = samples_.Room(count - first);
      if (slots.count == 0) {
        totals.overflowed_samples.Add(count - first);
        return;
      }
      write(first, slots);
      for (std::size_t k = 0; k < slots.count; ++k) slots.positions[k] = position + first + k;
      samples_.Publish(slots.count);
      first += slots.count;
    }
  }
  void AddMessage(const std::uint8_t* bytes, std::size_t length);

  Totals totals;

 private:
  struct Scale {
    double offset, mv_per_count;
  };
  void CountSamples(std::size_t count, std::uint64_t position);

  std::vector<Scale> scales_;
  SampleRing samples_;
  std::uint64_t next_position_ = 0;
  RingIndex message_index_{UNIECG_MESSAGE_QUEUE};
  std::vector<Message> messages_;
};

}  // namespace uniecg

#endif  // UNIECG_OUTPUT_H_
