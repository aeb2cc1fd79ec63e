// What holds for every device whatever arrives, and what exact counts the faults of a line leave.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "encode.h"
#include "framer.h"
#include "profiles.h"
#include "uniecg.h"

namespace {

using Positions = std::vector<std::uint64_t>;

// Valid frames and lines of all devices, damaged, amid bytes that look like their beginnings.
Bytes AnyStream(std::mt19937* random, std::size_t pieces) {
  Bytes stream;
  const std::uint8_t likely[] = {0xE8, 0x11, 0x20, 0x8E, 0xA0, 0xC0, 0xAA,
                                 0x55, 0xA5, 0x5A, 0x04, 0x80, 0x00};
  const std::string line = "12, -7\r\n!\n 300 ,8\n\n";
  for (std::size_t k = 0; k < pieces; ++k) {
    Bytes piece;
    switch ((*random)() % 9) {
      case 0:
        piece = E8Frame(k);
        break;
      case 1:
        piece = CytonFrame(k, AnyByte(random));
        break;
      case 2:
        piece = SealedFrame(k, random);
        break;
      case 3:
        piece = BitalinoFrame(k, random);
        break;
      case 4:
        piece = TimestampedFrame(64 * k);
        break;
      case 5:
        piece = Hex("aa aa 04 80 02 ff 38 46");
        break;
      case 6:
        piece = Bytes(line.begin(), line.end());
        break;
      case 7:
        piece.resize((*random)() % 40);
        break;
      default:
        for (std::size_t n = (*random)() % 40; n > 0; --n) piece.push_back(likely[(*random)() % 13]);
    }
    if ((*random)() % 4 == 0 && !piece.empty()) piece[(*random)() % piece.size()] = AnyByte(random);
    if ((*random)() % 8 == 0 && !piece.empty()) piece.pop_back();
    for (std::size_t n = 1 + ((*random)() % 6 == 0); n > 0; --n)
      stream.insert(stream.end(), piece.begin(), piece.end());
  }
  return stream;
}

TEST(what_is_decided_does_not_depend_on_how_bytes_were_divided) {
  std::mt19937 random(1);
  for (const std::string& profile : AllProfiles()) {
    for (int round = 0; round < 30; ++round) {
      const Bytes stream = AnyStream(&random, 60);
      const Framer whole(profile), parts(profile), single(profile);
      whole.Push(stream);
      for (const std::uint8_t byte : stream) single.Push(Bytes{byte});
      for (std::size_t at = 0; at < stream.size();) {
        const std::size_t size = std::min<std::size_t>(random() % 50, stream.size() - at);
        uniecg_framer_push(parts.get(), stream.data() + at, size);
        at += size;
      }
      CHECK_EQ(SameCounters(whole.Counters(), parts.Counters()), true);
      CHECK_EQ(SameCounters(whole.Counters(), single.Counters()), true);
      const Samples samples = whole.Pull();
      CHECK_EQ(samples == parts.Pull(), true);
      CHECK_EQ(samples == single.Pull(), true);
    }
  }
}

// Bytes of a frame where all have the same length, 0 otherwise.
std::uint64_t FixedLength(const std::string& profile) {
  const std::size_t at = profile.find("\"length\": ");
  return at == std::string::npos || profile[at + 10] == '{' ? 0 : std::stoull(profile.substr(at + 10));
}

TEST(every_byte_is_accounted_for) {
  std::mt19937 random(7);
  for (const std::string& profile : AllProfiles()) {
    const Framer framer(profile, 64);
    const std::uint64_t length = FixedLength(profile);
    std::uint64_t pushed = 0;
    for (int round = 0; round < 200; ++round) {
      Bytes bytes = AnyStream(&random, 5);
      if (round % 3 == 0) {
        for (std::uint8_t& byte : bytes) byte = AnyByte(&random);
      }
      framer.Push(bytes);
      pushed += bytes.size();
      const uniecg_counters counters = framer.Counters();
      const std::uint64_t valid = length * (counters.frames + counters.messages + counters.duplicates);
      CHECK_EQ(counters.bytes, pushed);
      CHECK_EQ(valid + counters.skipped_bytes <= pushed, true);
      if (length > 0) CHECK_EQ(pushed - valid - counters.skipped_bytes < 9 * length, true);
    }
    const Samples samples = framer.Pull();
    for (std::size_t k = 1; k < samples.positions.size(); ++k) {
      CHECK_EQ(samples.positions[k] > samples.positions[k - 1], true);
    }
  }
}

// A frame of SealedFrame after a fault of the line. One in 256 would pass for another frame by its
// checksum, which no reader could tell; the fault then is that the frame is lost.
Bytes Damaged(Bytes frame, std::mt19937* random) {
  const std::size_t at = 2 + (*random)() % 10;
  switch ((*random)() % 4) {
    case 0:
      frame[(*random)() % 12] ^= Byte(1U << (*random)() % 7);
      return frame;
    case 1:
      frame.erase(frame.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 2:
      frame.insert(frame.begin() + static_cast<std::ptrdiff_t>(at), Byte((*random)() % 80));
      break;
    default:
      return {};
  }
  Bytes seen = Join({frame, Bytes{0xAA}});
  unsigned sum = 0;
  for (std::size_t k = 0; k < 11; ++k) sum += seen[k];
  return Byte(sum) == seen[11] ? Bytes{} : frame;
}

TEST(every_undamaged_frame_is_recovered_and_every_damaged_one_counted) {
  std::mt19937 random(2);
  constexpr std::uint64_t kFrames = 20000;
  const Framer framer(Sealed());
  Positions intact;
  std::uint64_t duplicates = 0;
  for (std::uint64_t k = 0; k < kFrames; ++k) {
    const Bytes frame = SealedFrame(k, &random);
    if (k > 0 && k + 1 < kFrames && random() % 10 == 0) {
      framer.Push(Damaged(frame, &random));
      continue;
    }
    intact.push_back(k);
    framer.Push(frame);
    if (random() % 40 == 0) {
      framer.Push(frame);
      ++duplicates;
    }
  }
  const uniecg_counters counters = framer.Counters();
  CHECK_EQ(framer.Pull().positions == intact, true);
  CHECK_EQ(counters.lost_samples, kFrames - intact.size());
  CHECK_EQ(counters.frames, intact.size());
  CHECK_EQ(counters.duplicates, duplicates);
}

TEST(without_a_sync_byte_damaged_frames_cost_only_themselves) {
  std::mt19937 random(3);
  constexpr std::uint64_t kFrames = 20000;
  const Framer framer(Bitalino());
  Positions intact;
  for (std::uint64_t k = 0; k < kFrames; ++k) {
    Bytes frame = BitalinoFrame(k, &random);
    const bool damaged = k > 2 && k + 9 < kFrames && random() % 20 == 0;
    if (damaged) frame[random() % 8] ^= Byte(1U << random() % 8);
    if (!damaged) intact.push_back(k);
    framer.Push(frame);
  }
  const uniecg_counters counters = framer.Counters();
  CHECK_EQ(framer.Pull().positions == intact, true);
  CHECK_EQ(counters.bad_checksums, kFrames - intact.size());
  CHECK_EQ(counters.lost_samples, kFrames - intact.size());
  CHECK_EQ(counters.skipped_bytes, 8 * (kFrames - intact.size()));
}

TEST(damage_longer_than_the_counters_turn_is_counted_by_its_place) {
  std::mt19937 random(4);
  for (const std::string& profile : {Bitalino(), Bitalino(0)}) {
    const Framer framer(profile);
    for (std::uint64_t k = 0; k < 60; ++k) {
      Bytes frame = BitalinoFrame(k, &random);
      if (k >= 10 && k < 47) frame = Bytes(8, 0x01);
      framer.Push(frame);
    }
    CHECK_EQ(framer.Counters().lost_samples, 37U);
    CHECK_EQ(framer.Pull().positions.back(), 59U);
  }
}

TEST(a_line_joined_anywhere_is_believed_once_confirmed) {
  std::mt19937 random(5);
  for (std::size_t missing = 0; missing < 200; ++missing) {
    Bytes stream;
    for (std::uint64_t k = 0; k < 60; ++k) stream = Join({stream, BitalinoFrame(k, &random)});
    const Framer framer(Bitalino());
    framer.Push(Bytes(stream.begin() + static_cast<std::ptrdiff_t>(missing), stream.end()));
    CHECK_EQ(framer.Counters().frames, 60 - (missing + 7) / 8);
    CHECK_EQ(framer.Counters().lost_samples, 0U);
    CHECK_EQ(framer.Counters().bad_checksums + framer.Counters().resyncs, 0U);
  }
}

TEST(a_lost_byte_costs_its_frame_and_no_sample_is_put_elsewhere) {
  std::mt19937 random(6);
  const Framer framer(Bitalino());
  std::uint64_t lost = 0;
  for (std::uint64_t k = 0; k < 4000; ++k) {
    Bytes frame = BitalinoFrame(k, &random);
    if (k % 40 == 20) {
      frame.erase(frame.begin() + random() % 8);
      ++lost;
    }
    framer.Push(frame);
  }
  // 1 in 256 shifted frames has the right checksum and counter by chance
  const std::uint64_t counted = framer.Counters().lost_samples;
  CHECK_EQ(counted + 2 >= lost && counted <= lost + 4, true);
  CHECK_EQ(framer.Pull().positions.back(), 3999U);
}

TEST(a_dead_line_of_zeros_is_no_stream) {
  const Framer framer(Bitalino());
  framer.Push(Bytes(8000, 0));
  CHECK_EQ(framer.Counters().frames, 0U);
}

TEST(a_counter_that_jumps_in_one_frame_only_is_not_believed) {
  const Framer framer(Timestamped());
  for (std::uint64_t k = 0; k < 20; ++k) {
    framer.Push(TimestampedFrame(k == 10 ? 64 * k + 0x400000 : 64 * k));
  }
  CHECK_EQ(framer.Counters().lost_samples, 1U);
  CHECK_EQ(framer.Counters().bad_headers >= 1, true);
  CHECK_EQ(framer.Pull().positions.back(), 19U);
}

TEST(a_counter_that_goes_on_elsewhere_is_a_gap) {
  const Framer framer(Timestamped());
  for (std::uint64_t k = 0; k < 10; ++k) framer.Push(TimestampedFrame(64 * k));
  for (std::uint64_t k = 110; k < 120; ++k) framer.Push(TimestampedFrame(64 * k));
  CHECK_EQ(framer.Counters().lost_samples, 100U);
  CHECK_EQ(framer.Counters().skipped_bytes, 0U);
  CHECK_EQ(framer.Counters().frames, 20U);
}

TEST(frames_lost_one_here_and_one_there_cost_no_other) {
  const Framer framer(Timestamped());
  for (const std::uint64_t k : {0, 1, 2, 4, 6, 9, 11, 12}) framer.Push(TimestampedFrame(64 * k));
  framer.Push(TimestampedFrame(64 * 13));
  CHECK_EQ(framer.Counters().frames, 9U);
  CHECK_EQ(framer.Counters().lost_samples, 5U);
  CHECK_EQ(framer.Counters().skipped_bytes, 0U);
}

TEST(what_awaits_confirmation_is_undecided) {
  std::mt19937 random(8);
  const Framer framer(Sealed(2));
  framer.Push(SealedFrame(0, &random));
  framer.Push(SealedFrame(1, &random));
  CHECK_EQ(framer.Counters().frames + framer.Counters().skipped_bytes, 0U);
  framer.Push(SealedFrame(2, &random));
  CHECK_EQ(framer.Counters().frames, 3U);
  framer.Push(SealedFrame(3, &random));
  CHECK_EQ(framer.Counters().frames, 4U);
}

}  // namespace
