#include "ring.h"

#include <thread>

#include "check.h"

namespace {

using uniecg::SampleRing;

TEST(a_full_ring_refuses_and_keeps_what_came_first) {
  SampleRing ring(1, 3);
  for (std::int32_t k = 0; k < 5; ++k) CHECK_EQ(ring.Write(&k, 0, static_cast<std::uint64_t>(k)), k < 3);
  std::int32_t next = 0;
  ring.Read(10, [&](std::size_t, const std::int32_t* counts, std::uint32_t, std::uint64_t) {
    CHECK_EQ(*counts, next++);
  });
  CHECK_EQ(next, 3);
  CHECK_EQ(ring.Available(), 0U);
}

TEST(two_threads_pass_every_sample_in_order) {
  constexpr std::int32_t kSamples = 200000;
  SampleRing ring(2, 64);
  std::thread producer([&] {
    for (std::int32_t k = 0; k < kSamples;) {
      const std::int32_t counts[] = {k, -k};
      if (ring.Write(counts, static_cast<std::uint32_t>(k), static_cast<std::uint64_t>(k))) {
        ++k;
      } else {
        std::this_thread::yield();
      }
    }
  });
  std::int32_t next = 0;
  bool intact = true;
  while (next < kSamples) {
    const std::size_t count = ring.Read(
        17, [&](std::size_t, const std::int32_t* counts, std::uint32_t off, std::uint64_t position) {
          intact = intact && counts[0] == next && counts[1] == -next &&
                   off == static_cast<std::uint32_t>(next) && position == static_cast<std::uint64_t>(next);
          ++next;
        });
    if (count == 0) std::this_thread::yield();
  }
  producer.join();
  CHECK_EQ(intact, true);
}

}  // namespace
