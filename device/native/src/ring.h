// Bounded rings between one producer and one consumer thread; neither side ever waits.
#ifndef UNIECG_RING_H_
#define UNIECG_RING_H_

#include <algorithm>
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
  // Producer: how many entries may be written from WriteSlot() on, side by side and at most `most`; then they
  // are published. 0 while the ring is full.
  std::size_t Room(std::size_t most) const {
    const std::uint64_t used = head_.load(std::memory_order_relaxed) - tail_.load(std::memory_order_acquire);
    return std::min({most, capacity_ - static_cast<std::size_t>(used), capacity_ - write_slot_});
  }
  std::size_t WriteSlot() const { return write_slot_; }
  void Publish(std::size_t count) {
    write_slot_ = Next(write_slot_, count);
    head_.store(head_.load(std::memory_order_relaxed) + count, std::memory_order_release);
  }
  // Consumer: how many entries may be read from ReadSlot() on, side by side and at most `most`; then they are
  // given back with Release.
  std::size_t Ready(std::size_t most) const { return std::min({most, Available(), capacity_ - read_slot_}); }
  std::size_t ReadSlot() const { return read_slot_; }
  void Release(std::size_t count) {
    read_slot_ = Next(read_slot_, count);
    tail_.store(tail_.load(std::memory_order_relaxed) + count, std::memory_order_release);
  }

 private:
  std::size_t Next(std::size_t slot, std::size_t count) const {
    return slot + count == capacity_ ? 0 : slot + count;
  }

  const std::size_t capacity_;
  alignas(64) std::atomic<std::uint64_t> head_{0};
  std::size_t write_slot_ = 0;  // the totals modulo the capacity, which need no division so
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  std::size_t read_slot_ = 0;
};

// Samples that lie side by side in a ring.
struct Slots {
  std::size_t count;
  std::int32_t* counts;  // of channel c, sample k at [c * row + k]
  std::size_t row;
  std::uint32_t* electrodes_off;
  std::uint64_t* positions;  // on the device's clock
};

// Samples of all channels. While it is full nothing more is taken: what was received first is delivered
// first, and the gap that follows has an exact length.
class SampleRing {
 public:
  SampleRing(std::size_t channels, std::size_t capacity)
      : capacity_(capacity),
        index_(capacity),
        counts_(channels * capacity),
        electrodes_off_(capacity),
        positions_(capacity) {}

  std::size_t Available() const { return index_.Available(); }

  // Producer: up to `most` slots to write, none while the ring is full; then Publish(count).
  Slots Room(std::size_t most) { return At(index_.WriteSlot(), index_.Room(most)); }
  void Publish(std::size_t count) { index_.Publish(count); }

  // Consumer: up to `most` slots to read, oldest first; then Release(count). Those beyond the ring's end
  // come with the next call.
  Slots Ready(std::size_t most) { return At(index_.ReadSlot(), index_.Ready(most)); }
  void Release(std::size_t count) { index_.Release(count); }

 private:
  Slots At(std::size_t slot, std::size_t count) {
    return {count, counts_.data() + slot, capacity_, electrodes_off_.data() + slot, positions_.data() + slot};
  }

  const std::size_t capacity_;
  RingIndex index_;
  std::vector<std::int32_t> counts_;
  std::vector<std::uint32_t> electrodes_off_;
  std::vector<std::uint64_t> positions_;
};

}  // namespace uniecg

#endif  // UNIECG_RING_H_
