// Golden bytes, and what becomes of frames that are lost, repeated, false or joined.
#include <cmath>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "encode.h"
#include "framer.h"
#include "profiles.h"
#include "uniecg.h"

namespace {

using Counts = std::vector<std::int32_t>;

void CheckGolden(const std::string& profile, const std::string& hex, const Counts& expected) {
  const Framer framer(profile);
  CHECK_TEXT(framer.error(), "");
  if (!framer.valid()) return;
  framer.Push(Hex(hex));
  if (profile.find("\"confirm\": 2") != std::string::npos) framer.Push(Hex(hex));
  const Samples samples = framer.Pull();
  CHECK_EQ(samples.counts.size(), 1U);
  CHECK_EQ(!samples.counts.empty() && samples.counts[0] == expected, true);
  CHECK_EQ(framer.Counters().skipped_bytes, 0U);
}

TEST(golden_frames_give_their_counts) {
  CheckGolden(E8(), "e8 03 11 20 00 30 00 30 34 00 00 3f 7f 20 01 20 02 20 03 20 04 8e",
              {2048, 2100, 0, 4095, 1, 2, 3, 4});
  CheckGolden(Cyton(), "a0 07 000001 ffffff 7fffff 800000 000000 000064 ffff9c 003039 0010 fff0 1000 c0",
              {1, -1, 8388607, -8388608, 0, 100, -100, 12345});
  CheckGolden(Bitalino(0), "7f c8 12 00 ff 03 a8 54", {512, 1023, 0, 300, 33, 63});
  CheckGolden(Olimex(), "a5 5a 02 09 02 00 02 01 00 00 03 ff 00 05 00 06 01", {512, 513, 0, 1023, 5, 6});
  CheckGolden(Bmd101(), "aa aa 04 80 02 ff 38 46", {-200});
}

TEST(crc4_of_every_golden_length) {
  const std::string one_channel =
      Profile(R"("frame": {"sync": "", "length": 3, "checksum": {"kind": "crc4", "byte": -1},
                 "counter": {"bits": [[-1, 7, 4]], "modulus": 16}})",
              R"({"lead": "A1", "bits": [[1, 3, 0], [0, 7, 2]], "offset": 0, "mv_per_count": 1})");
  const Framer framer(one_channel);
  framer.Push(Hex("00 a8 5d"));
  CHECK_EQ(framer.Counters().frames, 1U);
}

TEST(millivolts_and_electrodes_are_those_of_the_profile) {
  const Framer framer(E8());
  framer.Push(Hex("e8 03 11 20 00 30 00 30 34 00 00 3f 7f 20 01 20 02 20 03 20 04 8e"));
  float millivolts[8];
  std::uint32_t off = 0;
  std::uint64_t position = 99;
  CHECK_EQ(uniecg_framer_pull(framer.get(), 1, millivolts, nullptr, &off, &position), 1U);
  CHECK_EQ(millivolts[1], static_cast<float>((2100 - 2048.0) * 0.001));
  CHECK_EQ(off, 1U << 2);
  CHECK_EQ(position, 0U);
  CHECK_EQ(uniecg_framer_rate(framer.get()), 500.0);
  CHECK_TEXT(uniecg_framer_lead(framer.get(), 7), "L7");
  CHECK_EQ(uniecg_framer_lead(framer.get(), 8) == nullptr, true);
}

TEST(an_electrode_is_on_while_all_its_flags_match) {
  const std::string profile = Replaced(Olimex(), R"("mv_per_count": 1})",
                                       R"("mv_per_count": 1, "electrode": [[16, 1, 0], [16, 6, 2]]})");
  const Framer framer(profile);
  for (const std::uint8_t flags : Bytes{0x02, 0x03, 0x00, 0x06, 0xFA}) {
    Bytes frame = Hex("a5 5a 02 09 02 00 02 01 00 00 03 ff 00 05 00 06 00");
    frame[16] = flags;
    framer.Push(frame);
  }
  CHECK_EQ(framer.Pull().electrodes_off == (std::vector<std::uint32_t>{0, 1, 1, 1, 0}), true);
}

TEST(a_frame_hidden_in_a_false_one_is_found) {
  const Framer framer(E8());
  framer.Push(Join({Hex("e8 00 11 20 00"), E8Frame(0), E8Frame(1)}));
  const uniecg_counters counters = framer.Counters();
  CHECK_EQ(counters.frames, 2U);
  CHECK_EQ(counters.skipped_bytes, 5U);
  CHECK_EQ(counters.bad_footers, 1U);
  CHECK_EQ(counters.resyncs, 0U);  // nothing had been in step before
  CHECK_EQ(counters.counter_gaps, 0U);
}

TEST(the_counter_tells_what_was_lost_also_over_its_wrap) {
  const Framer framer(E8());
  framer.Push(Join({E8Frame(62), E8Frame(63), E8Frame(2), E8Frame(3)}));
  CHECK_EQ(framer.Counters().counter_gaps, 1U);
  CHECK_EQ(framer.Counters().lost_samples, 2U);
  CHECK_EQ(framer.Pull().positions == (std::vector<std::uint64_t>{0, 1, 4, 5}), true);
}

TEST(a_counter_of_32_bits_that_steps_by_more_than_one) {
  const std::string profile =
      Profile(R"("frame": {"sync": "a5", "length": 6, "counter": {"bits": [[1, 7, 0], [2, 7, 0], [3, 7, 0],
                 [4, 7, 0]], "modulus": 4294967296, "step": 10}})",
              R"({"lead": "II", "bits": [[5, 7, 0]], "offset": 0, "mv_per_count": 1})");
  const Framer framer(profile);
  // the third is 1 tick late, the last 3 samples late and over the wrap
  for (const std::uint32_t ticks : {4294967266U, 4294967276U, 4294967287U, 20U}) {
    framer.Push(Bytes{0xA5, Byte(ticks >> 24), Byte(ticks >> 16), Byte(ticks >> 8), Byte(ticks), 7});
  }
  CHECK_EQ(framer.Pull().positions == (std::vector<std::uint64_t>{0, 1, 2, 5}), true);
  CHECK_EQ(framer.Counters().lost_samples, 2U);
}

TEST(a_repeated_frame_is_a_duplicate_without_gap_or_sample) {
  const Framer framer(Cyton());
  framer.Push(Join({CytonFrame(7), CytonFrame(7), CytonFrame(8, 2), CytonFrame(8, 2), CytonFrame(8, 2)}));
  const uniecg_counters counters = framer.Counters();
  CHECK_EQ(counters.duplicates, 3U);
  CHECK_EQ(counters.frames, 2U);
  CHECK_EQ(counters.samples, 2U);
  CHECK_EQ(counters.counter_gaps, 0U);
  framer.Push(CytonFrame(8, 3));  // the same counter, but no repetition: a whole turn went missing
  CHECK_EQ(framer.Counters().lost_samples, 255U);
}

TEST(equal_frames_without_a_counter_are_no_duplicates) {
  const Framer framer(Bmd101());
  for (int k = 0; k < 3; ++k) framer.Push(Hex("aa aa 04 80 02 ff 38 46"));
  CHECK_EQ(framer.Counters().samples, 3U);
}

TEST(acknowledgements_are_messages_not_samples) {
  const Framer framer(E8());
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

TEST(messages_may_be_longer_or_shorter_than_data_frames) {
  const Framer framer(Bmd101());
  Bytes vitals = Hex("aa aa 12 02 c8 03 48");
  vitals.resize(21, 0);
  vitals.push_back(static_cast<std::uint8_t>(~(0x02 + 0xC8 + 0x03 + 0x48)));
  framer.Push(Join({vitals, Hex("aa aa 04 80 02 ff 38 46"), vitals}));
  CHECK_EQ(framer.Counters().messages, 2U);
  CHECK_EQ(framer.Counters().samples, 1U);
  // A frame of the data's kind that is too short for the fields is a false header.
  const std::string profile =
      Profile(R"("frame": {"sync": "aa", "length": {"bits": [[1, 7, 0]], "adds": 0, "min": 3, "max": 9},
                 "kind": [[2, 7, 0]], "packets": [1]})",
              R"({"lead": "II", "bits": [[5, 7, 0]], "offset": 0, "mv_per_count": 1})");
  const Framer mixed(profile);
  mixed.Push(Hex("aa 03 02  aa 06 01 00 00 07  aa 03 01"));
  CHECK_EQ(mixed.Counters().messages, 1U);
  CHECK_EQ(mixed.Counters().samples, 1U);
  CHECK_EQ(mixed.Counters().bad_headers, 1U);
}

TEST(frames_of_two_packets_make_one_sample) {
  const Framer framer(Daisy());
  for (std::uint64_t k = 1; k < 9; ++k) framer.Push(CytonFrame(k, Byte(10 * k)));
  const Samples samples = framer.Pull();
  CHECK_EQ(samples.counts == (std::vector<Counts>{{10, 20}, {30, 40}, {50, 60}, {70, 80}}), true);
  CHECK_EQ(samples.positions == (std::vector<std::uint64_t>{0, 1, 2, 3}), true);
  CHECK_EQ(framer.Counters().frames, 8U);
}

TEST(a_sample_with_one_packet_missing_is_lost_and_counted) {
  const Framer framer(Daisy());
  // joined in the middle of a sample; 5 and 10 are lost, then all of 13 to 16
  for (const unsigned k : {2, 3, 4, 6, 7, 8, 9, 11, 12, 17, 18}) framer.Push(CytonFrame(k, Byte(k)));
  const Samples samples = framer.Pull();
  CHECK_EQ(samples.counts == (std::vector<Counts>{{3, 4}, {7, 8}, {11, 12}, {17, 18}}), true);
  CHECK_EQ(samples.positions == (std::vector<std::uint64_t>{0, 2, 4, 7}), true);
  CHECK_EQ(framer.Counters().lost_samples, 4U);
  CHECK_EQ(framer.Counters().counter_gaps, 3U);
}

TEST(a_full_ring_counts_what_it_refuses_and_leaves_a_gap) {
  const Framer framer(E8(), 2);
  for (unsigned k = 0; k < 5; ++k) framer.Push(E8Frame(k));
  CHECK_EQ(framer.Counters().overflowed_samples, 3U);
  CHECK_EQ(framer.Pull().positions.size(), 2U);
  framer.Push(E8Frame(5));
  CHECK_EQ(framer.Pull().positions == (std::vector<std::uint64_t>{5}), true);
  CHECK_EQ(framer.Counters().lost_samples, 0U);
}

TEST(counted_frames_with_checksum_and_several_samples) {
  const Framer framer(Counted());
  const Bytes good = Hex("aa 55 04 00 ff fe 01 00 fe 0b");
  Bytes bad_sum = good;
  bad_sum[8] ^= 1;
  framer.Push(Join({Hex("aa 55 ff ff"), good, bad_sum, good}));
  CHECK_EQ(framer.Pull().counts == (std::vector<Counts>{{-2}, {256}, {-2}, {256}}), true);
  CHECK_EQ(framer.Counters().bad_headers, 1U);
  CHECK_EQ(framer.Counters().bad_checksums, 1U);
  CHECK_EQ(framer.Counters().skipped_bytes, 14U);
  CHECK_EQ(framer.Counters().resyncs, 1U);
}

TEST(one_thread_pushes_while_another_pulls) {
  const Framer framer(E8());
  constexpr unsigned kFrames = 20000;
  std::thread producer([&] {
    for (unsigned k = 0; k < kFrames; ++k) framer.Push(E8Frame(k));
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

}  // namespace
