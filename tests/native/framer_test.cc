// The C ABI against golden bytes and against bytes that no device should send.
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "uniecg.h"

namespace {

using Bytes = std::vector<std::uint8_t>;

// The 22-byte E8 .. 8E unit: 8 channels of 5 + 7 bits, electrode flags, counter modulo 64.
struct E8 {
  E8() {
    for (int c = 0; c < 8; ++c) {
      bits[2 * c] = {5 + 2 * c, 4, 0};
      bits[2 * c + 1] = {6 + 2 * c, 6, 0};
      electrodes[c] = {5 + 2 * c, 5, 5};
      channels[c] = {{&bits[2 * c], 2, 0}, 2048.0, 1.0 / 1000.0, {&electrodes[c], 1, 0}, 1};
    }
    grammar.sync = &sync;
    grammar.sync_length = 1;
    grammar.fixed_length = 22;
    grammar.header = &header;
    grammar.header_count = 1;
    grammar.footer = &footer;
    grammar.footer_count = 1;
    grammar.kind = {&kind, 1, 0};
    grammar.data_kind = 0x20;
    grammar.counter = {&counter, 1, 0};
    grammar.counter_modulus = 64;
    grammar.channels = channels;
    grammar.channel_count = 8;
    grammar.samples_per_frame = 1;
  }
  E8(const E8&) = delete;
  E8& operator=(const E8&) = delete;

  std::uint8_t sync = 0xE8;
  uniecg_match header{2, 0xFF, 0x11};
  uniecg_match footer{-1, 0xFF, 0x8E};
  uniecg_bits kind{3, 7, 0};
  uniecg_bits counter{1, 5, 0};
  uniecg_bits bits[16];
  uniecg_bits electrodes[8];
  uniecg_channel channels[8];
  uniecg_grammar grammar{};
};

class Framer {
 public:
  explicit Framer(const uniecg_grammar& grammar, std::uint32_t ring = 1000)
      : framer_(uniecg_framer_create(&grammar, ring, error_, sizeof(error_))) {}
  ~Framer() { uniecg_framer_destroy(framer_); }
  Framer(const Framer&) = delete;
  Framer& operator=(const Framer&) = delete;

  bool valid() const { return framer_ != nullptr; }
  std::string error() const { return error_; }
  uniecg_framer* get() const { return framer_; }
  void Push(const Bytes& bytes) const { uniecg_framer_push(framer_, bytes.data(), bytes.size()); }
  uniecg_counters Counters() const {
    uniecg_counters counters;
    uniecg_framer_counters(framer_, &counters);
    return counters;
  }

 private:
  char error_[256] = "";
  uniecg_framer* framer_;
};

Bytes Golden(int counter = 3) {
  return {0xE8, static_cast<std::uint8_t>(counter),
          0x11, 0x20,
          0x00, 0x30,
          0x00, 0x30,
          0x34, 0x00,
          0x00, 0x3F,
          0x7F, 0x20,
          0x01, 0x20,
          0x02, 0x20,
          0x03, 0x20,
          0x04, 0x8E};
}

Bytes Join(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST(golden_frame_gives_its_counts_millivolts_and_electrodes) {
  const E8 e8;
  const Framer framer(e8.grammar);
  framer.Push(Golden());
  std::int32_t counts[8];
  float millivolts[8];
  std::uint32_t off = 0;
  std::uint64_t position = 99;
  CHECK_EQ(uniecg_framer_pull(framer.get(), 1, millivolts, counts, &off, &position), 1U);
  const std::int32_t expected[] = {2048, 2100, 0, 4095, 1, 2, 3, 4};
  for (int c = 0; c < 8; ++c) {
    CHECK_EQ(counts[c], expected[c]);
    CHECK_EQ(millivolts[c], static_cast<float>((expected[c] - 2048.0) * (1.0 / 1000.0)));
  }
  CHECK_EQ(off, 1U << 2);
  CHECK_EQ(position, 0U);
}

TEST(a_frame_hidden_in_a_false_one_is_found) {
  const E8 e8;
  const Framer framer(e8.grammar);
  const Bytes false_header = {0xE8, 0x00, 0x11, 0x20, 0x00};
  framer.Push(Join({false_header, Golden(0), Golden(1)}));
  const uniecg_counters counters = framer.Counters();
  CHECK_EQ(counters.frames, 2U);
  CHECK_EQ(counters.skipped_bytes, 5U);
  CHECK_EQ(counters.bad_footers, 1U);
  CHECK_EQ(counters.resyncs, 0U);  // nothing had been in step before
  CHECK_EQ(counters.counter_gaps, 0U);
}

TEST(the_counter_tells_what_was_lost_also_over_its_wrap) {
  const E8 e8;
  const Framer framer(e8.grammar);
  framer.Push(Join({Golden(62), Golden(63), Golden(2), Golden(3)}));
  CHECK_EQ(framer.Counters().counter_gaps, 1U);
  CHECK_EQ(framer.Counters().lost_samples, 2U);
  std::uint64_t positions[4];
  CHECK_EQ(uniecg_framer_pull(framer.get(), 4, nullptr, nullptr, nullptr, positions), 4U);
  CHECK_EQ(positions[1], 1U);
  CHECK_EQ(positions[2], 4U);
}

TEST(acknowledgements_are_messages_not_samples) {
  const E8 e8;
  const Framer framer(e8.grammar);
  Bytes ack(22, 0);
  ack[0] = 0xE8, ack[2] = 0x11, ack[3] = 0x21, ack[5] = 0x10, ack[21] = 0x8E;
  for (int k = 0; k < UNIECG_MESSAGE_QUEUE + 2; ++k) framer.Push(ack);
  CHECK_EQ(framer.Counters().messages, static_cast<std::uint64_t>(UNIECG_MESSAGE_QUEUE + 2));
  CHECK_EQ(framer.Counters().dropped_messages, 2U);
  std::uint8_t message[22];
  CHECK_EQ(uniecg_framer_pull_message(framer.get(), message, sizeof(message)), 22U);
  CHECK_EQ(Bytes(message, message + 22) == ack, true);
  CHECK_EQ(uniecg_framer_available(framer.get()), 0U);
}

TEST(a_full_ring_counts_what_it_refuses_and_leaves_a_gap) {
  const E8 e8;
  const Framer framer(e8.grammar, 2);
  for (int k = 0; k < 5; ++k) framer.Push(Golden(k));
  CHECK_EQ(framer.Counters().overflowed_samples, 3U);
  std::uint64_t positions[2];
  uniecg_framer_pull(framer.get(), 2, nullptr, nullptr, nullptr, positions);
  framer.Push(Golden(5));
  uniecg_framer_pull(framer.get(), 1, nullptr, nullptr, nullptr, positions);
  CHECK_EQ(positions[0], 5U);
  CHECK_EQ(framer.Counters().lost_samples, 0U);
}

TEST(counted_frames_with_checksum_and_several_samples) {
  // AA 55 | length u16 LE of the payload | two samples of i16 BE | sum of payload | 0B
  const std::uint8_t sync[] = {0xAA, 0x55};
  const uniecg_bits length[] = {{3, 7, 0}, {2, 7, 0}};
  const uniecg_bits value[] = {{4, 7, 0}, {5, 7, 0}};
  const uniecg_match footer{-1, 0xFF, 0x0B};
  const uniecg_channel channel{{value, 2, 1}, 0.0, 1.0, {nullptr, 0, 0}, 1};
  uniecg_grammar grammar{};
  grammar.sync = sync;
  grammar.sync_length = 2;
  grammar.length = {length, 2, 0};
  grammar.length_adds = 6;
  grammar.min_length = 10;
  grammar.max_length = 64;
  grammar.footer = &footer;
  grammar.footer_count = 1;
  grammar.checksum = {UNIECG_CHECKSUM_SUM8, -2, 4, -3, 0};
  grammar.channels = &channel;
  grammar.channel_count = 1;
  grammar.samples_per_frame = 2;
  grammar.sample_stride = 2;
  const Framer framer(grammar);
  const Bytes good = {0xAA, 0x55, 4, 0, 0xFF, 0xFE, 0x01, 0x00, 0xFE, 0x0B};
  Bytes bad_sum = good;
  bad_sum[8] ^= 1;
  const Bytes too_long = {0xAA, 0x55, 0xFF, 0xFF};
  framer.Push(Join({too_long, good, bad_sum, good}));
  std::int32_t counts[4];
  CHECK_EQ(uniecg_framer_pull(framer.get(), 4, nullptr, counts, nullptr, nullptr), 4U);
  CHECK_EQ(counts[0], -2);
  CHECK_EQ(counts[1], 256);
  CHECK_EQ(framer.Counters().bad_headers, 1U);
  CHECK_EQ(framer.Counters().bad_checksums, 1U);
  CHECK_EQ(framer.Counters().skipped_bytes, 14U);
  CHECK_EQ(framer.Counters().resyncs, 1U);
}

TEST(any_bytes_in_any_portions_are_accounted_for) {
  std::mt19937 random(7);
  const E8 e8;
  const Framer framer(e8.grammar, 64);
  std::uint64_t pushed = 0;
  const std::uint8_t likely[] = {0xE8, 0x11, 0x20, 0x8E, 0x00};
  for (int round = 0; round < 2000; ++round) {
    Bytes bytes(random() % 300);
    for (std::uint8_t& byte : bytes) {
      byte = random() % 2 ? likely[random() % 5] : static_cast<std::uint8_t>(random());
    }
    if (round % 3 == 0) bytes = Golden(static_cast<int>(random() % 64));
    framer.Push(bytes);
    pushed += bytes.size();
    const uniecg_counters counters = framer.Counters();
    const std::uint64_t decided = 22 * (counters.frames + counters.messages) + counters.skipped_bytes;
    CHECK_EQ(counters.bytes, pushed);
    CHECK_EQ(decided <= pushed && pushed - decided < 22, true);
  }
}

TEST(one_thread_pushes_while_another_pulls) {
  const E8 e8;
  const Framer framer(e8.grammar, 100000);
  constexpr int kFrames = 20000;
  std::thread producer([&] {
    for (int k = 0; k < kFrames; ++k) framer.Push(Golden(k % 64));
  });
  std::uint64_t next = 0;
  while (next < kFrames) {
    std::uint64_t positions[50];
    const std::size_t count = uniecg_framer_pull(framer.get(), 50, nullptr, nullptr, nullptr, positions);
    for (std::size_t k = 0; k < count; ++k) CHECK_EQ(positions[k], next++);
  }
  producer.join();
  CHECK_EQ(framer.Counters().samples, static_cast<std::uint64_t>(kFrames));
}

TEST(a_grammar_that_contradicts_itself_is_refused_with_a_reason) {
  {
    E8 e8;
    e8.grammar.fixed_length = 12;
    CHECK_EQ(Framer(e8.grammar).error() == "channel 3 reads byte 12, outside a frame of 12 bytes", true);
  }
  {
    E8 e8;
    e8.grammar.counter_modulus = 65;
    CHECK_EQ(Framer(e8.grammar).valid(), false);
  }
  {
    E8 e8;
    e8.grammar.sync_length = 0;
    CHECK_EQ(Framer(e8.grammar).valid(), false);
  }
  {
    E8 e8;
    e8.channels[0].mv_per_count = std::nan("");
    CHECK_EQ(Framer(e8.grammar).valid(), false);
  }
  {
    E8 e8;
    e8.grammar.samples_per_frame = 4;
    e8.grammar.sample_stride = 5;
    CHECK_EQ(Framer(e8.grammar).valid(), false);
  }
  {
    const E8 e8;
    CHECK_EQ(Framer(e8.grammar, 0).valid(), false);
  }
}

}  // namespace
