// Bounded rings between one producer and one consumer thread; neither side ever waits.
#ifndef UNIECG_RING_H_
#define UNIECG_RING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace uniecg {

// Where the two sides stand: monotonic totals, so that full and empty cannot be confused.
class RingIndex {
 public:
  explicit RingIndex(std::size_t capacity) : capacity_(capacity) {}

  // Entries the consumer may read.
  std::size_t Available() const {
    // Tail first: reading it second could see it past an older head.
    const std::uint64_t tail = tail_.load(std::memory_order_acquire);
    return static_cast<std::size_t>(head_.load(std::memory_order_acquire) - tail);
  }
  // Producer: whether one more entry fits; an entry is written at WriteSlot(), then published.
  bool Full() const {
    return head_.load(std::memory_order_relaxed) - tail_.load(std::memory_order_acquire) >= capacity_;
  }
  std::size_t WriteSlot() const { return write_slot_; }
  void Publish() {
    if (++write_slot_ == capacity_) write_slot_ = 0;
    head_.store(head_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  // Consumer: slot of the k-th readable entry; read entries are given back with Release.
  std::size_t ReadSlot(std::size_t k) const {
    const std::size_t slot = read_slot_ + k;
    return slot < capacity_ ? slot : slot - capacity_;
  }
  void Release(std::size_t count) {
    if (count > 0) read_slot_ = ReadSlot(count);
    tail_.store(tail_.load(std::memory_order_relaxed) + count, std::memory_order_release);
  }

 private:
  const std::size_t capacity_;
  alignas(64) std::atomic<std::uint64_t> head_{0};
  std::size_t write_slot_ = 0;  // the totals modulo the capacity, which need no division so
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  std::size_t read_slot_ = 0;
};

// Samples of all channels: counts, electrode flags and position on the device's clock.
class SampleRing {
 public:
  SampleRing(std::size_t channels, std::size_t capacity)
      : channels_(channels),
        index_(capacity),
        counts_(channels * capacity),
        electrodes_off_(capacity),
        positions_(capacity) {}

  std::size_t Available() const { return index_.Available(); }

  // Producer. False, and nothing is written, while the ring is full: what was received first is
  // delivered first, and the gap that follows has an exact length.
  bool Write(const std::int32_t* counts, std::uint32_t electrodes_off, std::uint64_t position) {
    if (index_.Full()) return false;
    const std::size_t slot = index_.WriteSlot();
    for (std::size_t c = 0; c < channels_; ++c) counts_[slot * channels_ + c] = counts[c];
    electrodes_off_[slot] = electrodes_off;
    positions_[slot] = position;
    index_.Publish();
    return true;
  }

  // Consumer: calls sample(k, counts, electrodes_off, position) for up to max_samples, oldest first.
  template <typename Sample>
  std::size_t Read(std::size_t max_samples, Sample&& sample) {
    const std::size_t available = index_.Available();
    const std::size_t count = available < max_samples ? available : max_samples;
    for (std::size_t k = 0; k < count; ++k) {
      const std::size_t slot = index_.ReadSlot(k);
      sample(k, &counts_[slot * channels_], electrodes_off_[slot], positions_[slot]);
    }
    index_.Release(count);
    return count;
  }

 private:
  const std::size_t channels_;
  RingIndex index_;
  std::vector<std::int32_t> counts_;
  std::vector<std::uint32_t> electrodes_off_;
  std::vector<std::uint64_t> positions_;
};

}  // namespace uniecg

#endif  // UNIECG_RING_H_
