#include "filters.h"

#include <cmath>
#include <complex>
#include <vector>

#include "check.h"
#include "resampler.h"
#include "uniecg.h"

namespace {

using uniecg::Filter;
using uniecg::Pass;
using uniecg::Sections;

constexpr double kPi = 3.14159265358979323846;

double Gain(const Sections& sections, double hz, double rate) {
  const std::complex<double> back = std::polar(1.0, -2 * kPi * hz / rate);
  double gain = 1;
  for (const auto& s : sections) {
    gain *= std::abs((s.b0 + back * (s.b1 + back * s.b2)) / (1.0 + back * (s.a1 + back * s.a2)));
  }
  return gain;
}

bool Near(double found, double expected, double tolerance) { return std::abs(found - expected) <= tolerance; }

std::vector<float> Sine(double hz, double rate, std::size_t samples) {
  std::vector<float> wave(samples);
  for (std::size_t k = 0; k < samples; ++k) {
    wave[k] = static_cast<float>(std::sin(2 * kPi * hz * static_cast<double>(k) / rate));
  }
  return wave;
}

TEST(butterworth_edges_are_at_minus_3_db_at_every_rate) {
  for (const double rate : {100.0, 250.0, 360.0, 500.0, 2000.0}) {
    for (const std::size_t order : {1U, 2U, 3U, 4U}) {
      CHECK_EQ(Near(Gain(Butterworth(Pass::kLow, order, 40, rate), 40, rate), std::sqrt(0.5), 1e-9), true);
      CHECK_EQ(Near(Gain(Butterworth(Pass::kHigh, order, 0.5, rate), 0.5, rate), std::sqrt(0.5), 1e-9), true);
    }
  }
}

TEST(filters_keep_their_edges_when_they_pass_twice) {
  for (const double rate : {125.0, 500.0, 1000.0}) {
    const Filter filter("monitor", 0, rate, 1);
    CHECK_EQ(Near(Gain(filter.Design(false), 40, rate), std::sqrt(0.5), 1e-4), true);
    CHECK_EQ(Near(std::pow(Gain(filter.Design(true), 40, rate), 2), std::sqrt(0.5), 1e-4), true);
    CHECK_EQ(Near(std::pow(Gain(filter.Design(true), 0.5, rate), 2), std::sqrt(0.5), 1e-4), true);
  }
}

TEST(labels_say_what_the_rate_allowed_and_what_st_allows) {
  const Filter low("diagnostic", 50, 250, 1), high("diagnostic", 0, 500, 1), monitor("monitor", 60, 500, 1);
  CHECK_TEXT(low.Label(false), "0.05-100 Hz, notch 50 Hz");
  CHECK_TEXT(high.Label(true), "0.05-150 Hz, zero phase");
  CHECK_TEXT(monitor.Label(true), "0.5-40 Hz, notch 60 Hz, zero phase");
  CHECK_EQ(high.StSafe(false) && low.StSafe(true) && monitor.StSafe(true), true);
  CHECK_EQ(monitor.StSafe(false), false);
}

// IEC 60601-2-25: 3 mV for 100 ms may leave at most 0.1 mV and 0.3 mV/s behind it.
TEST(real_time_filters_for_st_pass_the_impulse_test) {
  for (const char* const band : {"diagnostic", "st"}) {
    Filter filter(band, 0, 500, 1);
    std::vector<float> signal(2000, 0.0F);
    std::fill(signal.begin() + 500, signal.begin() + 550, 3.0F);
    filter.Push(signal.data(), signal.size(), signal.data());
    double lowest = 0, steepest = 0;
    for (std::size_t k = 600; k < signal.size(); ++k) {
      lowest = std::min(lowest, static_cast<double>(signal[k]));
      steepest = std::max(steepest, std::abs(static_cast<double>(signal[k] - signal[k - 1])) * 500);
    }
    CHECK_EQ(lowest > -0.1, true);
    CHECK_EQ(steepest < 0.3, true);
  }
}

TEST(the_stated_delay_is_the_one_a_stream_has) {
  constexpr double kRate = 1000, kHz = 10;
  Filter filter("monitor", 50, kRate, 1);
  std::vector<float> tone = Sine(kHz, kRate, 8000);
  // A tone that swells and fades is delayed as a whole by the group delay.
  double before = 0, before_weight = 0, after = 0, after_weight = 0;
  for (std::size_t k = 0; k < tone.size(); ++k) {
    const double away = (static_cast<double>(k) - 4000) / 800;
    tone[k] = static_cast<float>(tone[k] * std::exp(-away * away));
    before += static_cast<double>(k) * tone[k] * tone[k];
    before_weight += tone[k] * tone[k];
  }
  filter.Push(tone.data(), tone.size(), tone.data());
  for (std::size_t k = 0; k < tone.size(); ++k) {
    after += static_cast<double>(k) * tone[k] * tone[k];
    after_weight += tone[k] * tone[k];
  }
  const double shift = (after / after_weight - before / before_weight) / kRate;
  CHECK_EQ(Near(shift, filter.Delay(kHz), 2e-4), true);
}

TEST(missing_samples_stay_missing_and_leave_no_step_behind) {
  Filter filter("monitor", 0, 500, 2);
  std::vector<float> signal(2 * 1000, 5.0F), out(signal.size());
  for (std::size_t k = 400; k < 500; ++k) signal[k] = std::nanf("");
  for (std::size_t k = 500; k < 1000; ++k) signal[k] = -3.0F;
  filter.Push(signal.data(), 1000, out.data());
  CHECK_EQ(std::isnan(out[400]) && std::isnan(out[499]), true);
  CHECK_EQ(Near(out[0], 0, 1e-6) && Near(out[399], 0, 1e-6) && Near(out[500], 0, 1e-6), true);
  CHECK_EQ(Near(out[999], 0, 1e-6) && Near(out[1999], 0, 1e-6), true);
}

TEST(a_window_is_not_shifted_and_its_gaps_stay) {
  const Filter filter("st", 0, 500, 1);
  std::vector<float> signal = Sine(10, 500, 5000), out(signal.size());
  signal[2000] = std::nanf("");
  filter.Window(signal.data(), signal.size(), out.data());
  CHECK_EQ(std::isnan(out[2000]), true);
  double worst = 0;
  for (std::size_t k = 1000; k < 4000; ++k) {
    if (k < 1990 || k > 2010) worst = std::max(worst, std::abs(static_cast<double>(out[k] - signal[k])));
  }
  CHECK_EQ(worst < 0.02, true);
}

TEST(what_cannot_be_filtered_is_refused_with_a_reason) {
  char error[128] = "";
  CHECK_EQ(uniecg_filter_create("loud", 0, 500, 1, error, sizeof(error)) == nullptr, true);
  CHECK_TEXT(error, "expected a filter monitor, diagnostic or st, found loud");
  CHECK_EQ(uniecg_filter_create("monitor", 50, 100, 1, error, sizeof(error)) == nullptr, true);
  CHECK_TEXT(error, "expected a rate that holds the mains' 50 Hz, found 100 Hz: leave the notch out");
  CHECK_EQ(uniecg_filter_create("monitor", 0, std::nan(""), 1, error, sizeof(error)) == nullptr, true);
  CHECK_EQ(uniecg_filter_create("monitor", 0, 500, 33, nullptr, 0) == nullptr, true);
}

std::vector<float> Resample(uniecg::Resampler* resampler, const std::vector<float>& signal,
                            std::size_t part) {
  std::vector<float> all;
  for (std::size_t first = 0; first < signal.size(); first += part) {
    const std::size_t count = std::min(part, signal.size() - first);
    std::vector<float> out(resampler->Due(count));
    resampler->Push(signal.data() + first, count, out.data());
    all.insert(all.end(), out.begin(), out.end());
  }
  std::vector<float> out(resampler->DueAtEnd());
  resampler->Finish(out.data());
  all.insert(all.end(), out.begin(), out.end());
  return all;
}

TEST(resampling_shifts_nothing_however_it_is_divided) {
  const struct {
    std::uint32_t up, down;
    double rate;
  } cases[] = {{25, 18, 360}, {1, 4, 500}, {2, 1, 250}, {125, 64, 256}, {1, 1, 500}};
  for (const auto& c : cases) {
    uniecg::Resampler resampler(c.up, c.down, 1);
    const std::vector<float> in = Sine(7, c.rate, 3001);
    const std::vector<float> whole = Resample(&resampler, in, in.size());
    CHECK_EQ(whole.size(), (in.size() * c.up + c.down - 1) / c.down);
    CHECK_EQ(Resample(&resampler, in, 7) == whole, true);
    const double rate = c.rate * c.up / c.down;
    double worst = 0;
    for (std::size_t k = whole.size() / 4; k < whole.size() * 3 / 4; ++k) {
      const double expected = std::sin(2 * kPi * 7 * static_cast<double>(k) / rate);
      worst = std::max(worst, std::abs(whole[k] - expected));
    }
    CHECK_EQ(worst < 1e-3, true);
  }
}

TEST(what_would_fold_back_is_suppressed) {
  uniecg::Resampler resampler(1, 4, 1);
  double loudest = 0;
  const std::vector<float> out = Resample(&resampler, Sine(80, 500, 4000), 4000);  // above 62.5 Hz
  for (std::size_t k = 100; k + 100 < out.size(); ++k) loudest = std::max(loudest, std::abs(double{out[k]}));
  CHECK_EQ(loudest < 1e-3, true);
}

}  // namespace
