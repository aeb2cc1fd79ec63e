#include "filters.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdio>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "uniecg.h"

namespace uniecg {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kHighestShare = 0.4;  // of the rate: the highest upper edge, 0.8 of the Nyquist frequency
constexpr double kNotchQuality = 30;
// By so much, or by all there is, a window is mirrored at both ends. Point reflection would turn a QRS at the
// end into a step, which a high-pass of 0.05 Hz carries through the whole window: 10 s of MIT-BIH at 0.05-40
// Hz differ from the same within a longer stretch by 0.02 mV, and by 0.14 mV with half of that.
constexpr double kPadSeconds = 10;

// One pole at 0.05 Hz keeps the answer to 0.3 mV s within 0.1 mV, as IEC 60601-2-25 demands of
// electrocardiographs; two poles (0.13 mV) do not. A steep low-pass would ring behind each QRS of a
// diagnostic ECG.
struct Band {
  const char* name;
  double low;
  std::size_t low_order;
  double high;
  std::size_t high_order;
};
constexpr Band kBands[] = {
    {"monitor", 0.5, 2, 40, 4},
    {"diagnostic", 0.05, 1, 150, 2},
    {"st", 0.05, 1, 40, 4},
};

const Band& FindBand(std::string_view name) {
  for (const Band& band : kBands) {
    if (name == band.name) return band;
  }
  throw std::invalid_argument("expected a filter monitor, diagnostic or st, found " + std::string(name));
}

// The edge, on the bilinear transform's warped axis, that makes -3 dB of `passes` passes.
double WarpedEdge(Pass pass, std::size_t order, double hz, double rate, int passes) {
  const double warped = std::tan(kPi * hz / rate);
  if (passes == 1) return warped;
  const double shift = std::pow(std::sqrt(2.0) - 1, 0.5 / static_cast<double>(order));
  return pass == Pass::kLow ? warped / shift : warped * shift;
}

Section FirstOrder(Pass pass, double edge) {
  const double scale = 1 / (1 + edge), a1 = (edge - 1) * scale;
  if (pass == Pass::kLow) return {edge * scale, edge * scale, 0, a1, 0};
  return {scale, -scale, 0, a1, 0};
}

Section SecondOrder(Pass pass, double edge, double damping) {
  const double square = edge * edge, scale = 1 / (1 + damping * edge + square);
  const double a1 = 2 * (square - 1) * scale, a2 = (1 - damping * edge + square) * scale;
  if (pass == Pass::kLow) return {square * scale, 2 * square * scale, square * scale, a1, a2};
  return {scale, -2 * scale, scale, a1, a2};
}

Sections FromWarped(Pass pass, std::size_t order, double edge) {
  Sections sections;
  if (order % 2 == 1) sections.push_back(FirstOrder(pass, edge));
  for (std::size_t k = 0; k < order / 2; ++k) {
    const double angle = kPi * static_cast<double>(2 * k + 1) / static_cast<double>(2 * order);
    sections.push_back(SecondOrder(pass, edge, 2 * std::sin(angle)));
  }
  return sections;
}

Sections Design(const Band& band, double high, int mains, double rate, int passes) {
  const double low_edge = WarpedEdge(Pass::kHigh, band.low_order, band.low, rate, passes);
  const double high_edge = WarpedEdge(Pass::kLow, band.high_order, high, rate, passes);
  Sections sections = FromWarped(Pass::kHigh, band.low_order, low_edge);
  for (const Section& section : FromWarped(Pass::kLow, band.high_order, high_edge)) {
    sections.push_back(section);
  }
  if (mains != 0) sections.push_back(Notch(mains, kNotchQuality, rate));
  return sections;
}

std::string MakeLabel(double low, double high, int mains) {
  char text[64];
  std::snprintf(text, sizeof(text), "%g-%.4g Hz", low, high);
  return mains == 0 ? text : std::string(text) + ", notch " + std::to_string(mains) + " Hz";
}

// Copies what is finite and draws straight lines between. False where nothing is.
bool Bridge(const float* in, std::size_t samples, double* out) {
  std::size_t known = samples;  // the last finite sample, or none
  for (std::size_t k = 0; k < samples; ++k) {
    if (!std::isfinite(in[k])) continue;
    out[k] = in[k];
    const std::size_t first = known == samples ? 0 : known + 1;
    for (std::size_t gap = first; gap < k; ++gap) {
      const double share =
          known == samples ? 1.0 : static_cast<double>(gap - known) / static_cast<double>(k - known);
      out[gap] = known == samples ? out[k] : out[known] + share * (out[k] - out[known]);
    }
    known = k;
  }
  if (known == samples) return false;
  std::fill(out + known + 1, out + samples, out[known]);
  return true;
}

// Begins settled at the mean of the first `lead` values: a single one may lie on a wave, and what it leaves
// behind a high-pass of 0.05 Hz fades over seconds.
void RunThrough(const Sections& sections, std::vector<double>* values, std::size_t lead) {
  Cascade<1> cascade({sections});
  const auto begin = values->begin();
  const double sum = std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(lead), 0.0);
  cascade.Settle({sum / static_cast<double>(lead)});
  for (double& value : *values) value = cascade.Next({value})[0];
}

}  // namespace

void CheckSignal(double rate, std::size_t channels) {
  if (!(rate >= kMinRate && rate <= kMaxRate)) {
    char text[96];
    std::snprintf(text, sizeof(text), "expected a rate of %g to %g Hz, found %g", kMinRate, kMaxRate, rate);
    throw std::invalid_argument(text);
  }
  if (channels == 0 || channels > UNIECG_MAX_CHANNELS) {
    throw std::invalid_argument("expected 1 to " + std::to_string(UNIECG_MAX_CHANNELS) + " channels, found " +
                                std::to_string(channels));
  }
}

Sections Butterworth(Pass pass, std::size_t order, double hz, double rate) {
  return FromWarped(pass, order, WarpedEdge(pass, order, hz, rate, 1));
}

Section Notch(double hz, double quality, double rate) {
  const double turn = 2 * kPi * hz / rate;
  const double gain = 1 / (1 + std::tan(turn / quality / 2));
  const double a1 = -2 * gain * std::cos(turn);
  return {gain, a1, gain, a1, 2 * gain - 1};
}

double GroupDelay(const Sections& sections, double hz, double rate) {
  const std::complex<double> back = std::polar(1.0, -2 * kPi * hz / rate);
  double samples = 0;
  for (const Section& s : sections) {
    const auto above = s.b0 + back * (s.b1 + back * s.b2), below = 1.0 + back * (s.a1 + back * s.a2);
    const auto above_slope = back * (s.b1 + back * (2 * s.b2)),
               below_slope = back * (s.a1 + back * (2 * s.a2));
    samples += (above_slope / above - below_slope / below).real();
  }
  return samples / rate;
}

Filter::Filter(std::string_view name, int mains, double rate, std::size_t channels) : rate_(rate) {
  CheckSignal(rate, channels);
  const Band& band = FindBand(name);
  if (mains != 0 && mains != 50 && mains != 60) {
    throw std::invalid_argument("expected mains of 0 (no notch), 50 or 60 Hz, found " +
                                std::to_string(mains));
  }
  if (mains >= 0.49 * rate) {
    throw std::invalid_argument("expected a rate that holds the mains' " + std::to_string(mains) +
                                " Hz, found " + std::to_string(std::lround(rate)) +
                                " Hz: leave the notch out");
  }
  const double high = std::min(band.high, kHighestShare * rate);
  low_ = band.low;
  label_ = MakeLabel(band.low, high, mains);
  zero_phase_label_ = label_ + ", zero phase";
  whole_ = uniecg::Design(band, high, mains, rate, 1);
  half_ = uniecg::Design(band, high, mains, rate, 2);
  for (std::size_t c = 0; c < channels; ++c) channels_.push_back({Cascade<1>({whole_})});
}

void Filter::Push(const float* in, std::size_t samples, float* out) {
  for (Channel& channel : channels_) {
    for (std::size_t k = 0; k < samples; ++k) {
      if (!std::isfinite(in[k])) {
        channel.settled = false;
        out[k] = std::numeric_limits<float>::quiet_NaN();
        continue;
      }
      if (!channel.settled) channel.cascade.Settle({in[k]});
      channel.settled = true;
      out[k] = static_cast<float>(channel.cascade.Next({in[k]})[0]);
    }
    in += samples;
    out += samples;
  }
}

void Filter::Restart() {
  for (Channel& channel : channels_) channel.settled = false;
}

void Filter::Window(const float* in, std::size_t samples, float* out) const {
  std::vector<double> work;
  for (std::size_t c = 0; c < channels_.size() && samples > 0; ++c) {
    WindowOf(in + c * samples, samples, out + c * samples, &work);
  }
}

void Filter::WindowOf(const float* in, std::size_t samples, float* out, std::vector<double>* work) const {
  const auto seconds = static_cast<std::size_t>(std::lround(kPadSeconds * rate_));
  const std::size_t pad = std::min(samples - 1, seconds);
  work->resize(samples + 2 * pad);
  double* const first = work->data() + pad;
  if (!Bridge(in, samples, first)) {
    std::fill(out, out + samples, std::numeric_limits<float>::quiet_NaN());
    return;
  }
  double* const last = first + samples - 1;
  for (std::size_t k = 1; k <= pad; ++k) {
    *(first - k) = *(first + k);
    *(last + k) = *(last - k);
  }
  RunThrough(half_, work, pad + 1);
  std::reverse(work->begin(), work->end());
  RunThrough(half_, work, pad + 1);
  std::reverse(work->begin(), work->end());
  for (std::size_t k = 0; k < samples; ++k) {
    out[k] = std::isfinite(in[k]) ? static_cast<float>(first[k]) : std::numeric_limits<float>::quiet_NaN();
  }
}

}  // namespace uniecg
