#include "beats.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "check.h"

namespace {

using uniecg::BeatDetector;

// A heart of narrow QRS complexes of 1 mV, a T wave behind each, at these times in s.
std::vector<float> Heart(const std::vector<double>& beats, double seconds, double rate) {
  std::vector<float> signal(static_cast<std::size_t>(seconds * rate));
  for (std::size_t k = 0; k < signal.size(); ++k) {
    const double t = static_cast<double>(k) / rate;
    double sum = 0;
    for (const double beat : beats) {
      const double r = (t - beat) / 0.012, s = (t - beat - 0.03) / 0.012, wave = (t - beat - 0.28) / 0.05;
      sum += std::exp(-r * r / 2) - 0.25 * std::exp(-s * s / 2) + 0.2 * std::exp(-wave * wave / 2);
    }
    signal[k] = static_cast<float>(sum);
  }
  return signal;
}

std::vector<double> Every(double interval, double first, double last) {
  std::vector<double> beats;
  for (double t = first; t < last; t += interval) beats.push_back(t);
  return beats;
}

std::vector<uniecg_beat> Find(BeatDetector* detector, const std::vector<float>& signal, std::size_t part) {
  std::vector<uniecg_beat> all;
  uniecg_beat beats[UNIECG_BEAT_QUEUE];
  for (std::size_t first = 0; first < signal.size(); first += part) {
    detector->Push(signal.data() + first, std::min(part, signal.size() - first), signal.size());
    const std::size_t count = detector->Pull(beats, UNIECG_BEAT_QUEUE);
    all.insert(all.end(), beats, beats + count);
  }
  return all;
}

// How many of the beats are found within 20 ms, less those found that are none.
int Right(const std::vector<uniecg_beat>& found, const std::vector<double>& beats, double rate) {
  int right = 0;
  for (const double beat : beats) {
    for (const uniecg_beat& one : found)
      right += std::abs(static_cast<double>(one.position) / rate - beat) < 0.02;
  }
  return 2 * right - static_cast<int>(found.size());
}

TEST(steady_hearts_are_counted_at_every_rate) {
  for (const double rate : {100.0, 128.0, 250.0, 360.0, 500.0, 1000.0, 2000.0}) {
    for (const double interval : {0.24, 0.5, 0.8, 2.0}) {
      BeatDetector detector(rate, 1);
      const std::vector<double> beats = Every(interval, 0.7, 28.5);
      const auto found = Find(&detector, Heart(beats, 30, rate), static_cast<std::size_t>(rate));
      CHECK_EQ(Right(found, beats, rate) >= static_cast<int>(beats.size()) - 1, true);
    }
  }
}

TEST(beats_come_within_300_ms_once_the_heart_is_known) {
  for (const double rate : {100.0, 360.0, 2000.0}) {
    BeatDetector detector(rate, 1);
    for (const uniecg_beat& beat : Find(&detector, Heart(Every(0.8, 0.7, 28), 30, rate), 100)) {
      if (static_cast<double>(beat.position) > 3 * rate) CHECK_EQ(beat.lag <= 0.3 * rate, true);
    }
  }
}

TEST(what_is_found_does_not_depend_on_how_samples_were_divided) {
  const std::vector<float> signal = Heart(Every(0.7, 0.4, 28), 30, 500);
  BeatDetector whole(500, 1), parts(500, 1);
  const auto expected = Find(&whole, signal, 2500), found = Find(&parts, signal, 3);
  CHECK_EQ(found.size(), expected.size());
  for (std::size_t k = 0; k < found.size(); ++k) {
    CHECK_EQ(found[k].position == expected[k].position && found[k].lag == expected[k].lag, true);
  }
}

TEST(nothing_is_found_in_nothing) {
  const float nan = std::nanf("");
  for (const float value : {0.0F, 3.0F, nan, 1e30F, -INFINITY}) {
    BeatDetector detector(500, 1);
    CHECK_EQ(Find(&detector, std::vector<float>(20000, value), 500).size(), 0U);
  }
}

TEST(a_running_median_is_the_middle_of_the_last_values) {
  for (const std::size_t width : {1U, 3U, 5U, 7U, 19U}) {
    uniecg::RunningMedian median(width);
    median.Fill(0);
    std::vector<float> last(width);
    std::uint32_t state = 1;
    for (std::size_t k = 0; k < 2000; ++k) {
      state = state * 1664525U + 1013904223U;
      last[k % width] = static_cast<float>(state >> 28);  // few values, so that many are equal
      std::vector<float> sorted = last;
      std::sort(sorted.begin(), sorted.end());
      CHECK_EQ(median.Next(last[k % width]), sorted[width / 2]);
    }
  }
}

TEST(pacing_spikes_are_no_beats) {
  constexpr double kRate = 1000;
  const std::vector<double> beats = Every(0.9, 0.6, 28);
  std::vector<float> signal = Heart(beats, 30, kRate);
  for (const double beat : beats) {  // atrial spikes of 2 ms, five times as high as the QRS
    const auto at = static_cast<std::size_t>((beat - 0.16) * kRate);
    signal[at] += 5;
    signal[at + 1] += 5;
  }
  BeatDetector detector(kRate, 1);
  CHECK_EQ(Right(Find(&detector, signal, 500), beats, kRate) >= static_cast<int>(beats.size()) - 1, true);
}

TEST(a_lead_that_goes_off_leaves_the_others_to_go_on) {
  const std::vector<double> beats = Every(0.8, 0.6, 38);
  const std::vector<float> heart = Heart(beats, 40, 500);
  std::vector<float> leads = heart;
  leads.insert(leads.end(), heart.begin(), heart.end());
  for (std::size_t k = 5000; k < 10000; ++k) leads[k] = std::nanf("");
  for (std::size_t k = 12000; k < 16000; ++k) leads[heart.size() + k] = std::nanf("");
  BeatDetector detector(500, 2);
  std::vector<uniecg_beat> all;
  uniecg_beat queue[UNIECG_BEAT_QUEUE];
  for (std::size_t first = 0; first < heart.size(); first += 500) {
    detector.Push(leads.data() + first, 500, heart.size());
    const std::size_t count = detector.Pull(queue, UNIECG_BEAT_QUEUE);
    all.insert(all.end(), queue, queue + count);
  }
  CHECK_EQ(Right(all, beats, 500) >= static_cast<int>(beats.size()) - 2, true);
}

TEST(beats_are_found_again_behind_a_gap_and_the_clock_goes_on) {
  const std::vector<double> beats = Every(0.8, 0.6, 18);
  const std::vector<float> heart = Heart(beats, 20, 500);
  BeatDetector detector(500, 1);
  Find(&detector, heart, 500);
  detector.Skip(500U * 3600);
  auto found = Find(&detector, heart, 500);
  for (uniecg_beat& beat : found) beat.position -= 500U * 3620;
  CHECK_EQ(Right(found, beats, 500) >= static_cast<int>(beats.size()) - 1, true);
}

TEST(beats_that_nobody_pulls_take_no_memory) {
  BeatDetector detector(250, 1);
  const std::vector<double> beats = Every(0.5, 0.5, 58);
  const std::vector<float> heart = Heart(beats, 60, 250);
  detector.Push(heart.data(), heart.size(), heart.size());
  uniecg_beat queue[200];
  const std::size_t count = detector.Pull(queue, 200);
  CHECK_EQ(count, std::size_t{UNIECG_BEAT_QUEUE});
  CHECK_EQ(std::abs(static_cast<double>(queue[count - 1].position) / 250 - beats.back()) < 0.02, true);
}

TEST(what_a_detector_cannot_take_is_refused) {
  char error[128] = "";
  CHECK_EQ(uniecg_beats_create(20, 1, error, sizeof(error)) == nullptr, true);
  CHECK_TEXT(error, "expected a rate of 50 to 10000 Hz, found 20");
  CHECK_EQ(uniecg_beats_create(500, 0, nullptr, 0) == nullptr, true);
}

}  // namespace
