#include "ring.h"

#include <algorithm>
#include <cstdint>
#include <thread>

#include "check.h"

namespace {

using uniecg::SampleRing;
using uniecg::Slots;

// Writes samples `next` and on as far as there is room for `most`; returns how many.
std::size_t Write(SampleRing* ring, std::int32_t next, std::size_t most) {
  const Slots slots = ring->Room(most);
  for (std::size_t k = 0; k < slots.count; ++k) {
    const auto value = next + static_cast<std::int32_t>(k);
    slots.counts[k] = value;
    slots.counts[slots.row + k] = -value;
    slots.electrodes_off[k] = static_cast<std::uint32_t>(value);
    slots.positions[k] = static_cast<std::uint64_t>(value);
  }
  ring->Publish(slots.count);
  return slots.count;
}

// Reads up to `most` samples; whether they are `*next` and on, as Write left them.
bool Read(SampleRing* ring, std::int32_t* next, std::size_t most) {
  const Slots slots = ring->Ready(most);
  bool intact = true;
  for (std::size_t k = 0; k < slots.count; ++k, ++*next) {
    intact = intact && slots.counts[k] == *next && slots.counts[slots.row + k] == -*next &&
             slots.electrodes_off[k] == static_cast<std::uint32_t>(*next) &&
             slots.positions[k] == static_cast<std::uint64_t>(*next);
  }
  ring->Release(slots.count);
  return intact;
}

TEST(a_full_ring_takes_no_more_and_keeps_what_came_first) {
  SampleRing ring(2, 3);
  CHECK_EQ(Write(&ring, 0, 5), 3U);
  CHECK_EQ(Write(&ring, 3, 5), 0U);
  std::int32_t next = 0;
  CHECK_EQ(Read(&ring, &next, 10), true);
  CHECK_EQ(next, 3);
  CHECK_EQ(ring.Available(), 0U);
}

TEST(slots_end_with_the_ring_and_go_on_at_its_start) {
  SampleRing ring(2, 5);
  std::int32_t next = 0;
  CHECK_EQ(Write(&ring, 0, 4), 4U);
  CHECK_EQ(Read(&ring, &next, 3), true);
  CHECK_EQ(Write(&ring, 4, 9), 1U);
  CHECK_EQ(Write(&ring, 5, 9), 3U);
  CHECK_EQ(Write(&ring, 8, 9), 0U);
  CHECK_EQ(Read(&ring, &next, 9) && Read(&ring, &next, 9), true);
  CHECK_EQ(next, 8);
}

TEST(two_threads_pass_every_sample_in_order) {
  constexpr std::int32_t kSamples = 200000;
  SampleRing ring(2, 64);
  std::thread producer([&] {
    for (std::int32_t k = 0; k < kSamples;) {
      const std::size_t left = static_cast<std::size_t>(kSamples - k);
      const std::size_t count = Write(&ring, k, std::min(left, static_cast<std::size_t>(1 + k % 13)));
      if (count == 0) std::this_thread::yield();
      k += static_cast<std::int32_t>(count);
    }
  });
  std::int32_t next = 0;
  bool intact = true;
  while (next < kSamples) {
    const std::int32_t before = next;
    intact = Read(&ring, &next, 17) && intact;
    if (next == before) std::this_thread::yield();
  }
  producer.join();
  CHECK_EQ(intact, true);
}

}  // namespace
