#include "resampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "uniecg.h"

namespace uniecg {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
// Kaiser's window for 80 dB, and a transition over the last fifth below the lower rate's Nyquist frequency
// (Kaiser 1974: half length = (80 - 7.95) / (2 * 2.285 * 0.2 pi), in samples of the lower rate).
constexpr double kBeta = 7.857;
constexpr double kHalfLength = 25;
constexpr double kEdge = 0.9;  // the middle of the transition

double BesselI0(double x) {
  double sum = 1, term = 1;
  for (int k = 1; term > 1e-17 * sum; ++k) {
    term *= (x / (2 * k)) * (x / (2 * k));
    sum += term;
  }
  return sum;
}

// `share`: of the window's half length, -1..1.
double Kaiser(double share) {
  const double inside = 1 - share * share;
  return inside <= 0 ? 0 : BesselI0(kBeta * std::sqrt(inside)) / BesselI0(kBeta);
}

double Sinc(double x) { return x == 0 ? 1 : std::sin(kPi * x) / (kPi * x); }

}  // namespace

Resampler::Resampler(std::uint32_t up, std::uint32_t down, std::size_t channels) : channels_(channels) {
  if (up == 0 || down == 0) throw std::invalid_argument("expected factors of at least 1, found 0");
  const std::uint32_t common = std::gcd(up, down);
  up_ = up / common;
  down_ = down / common;
  if (up_ > kMaxFactor || down_ > kMaxFactor) {
    throw std::invalid_argument("expected a ratio of whole numbers up to " + std::to_string(kMaxFactor) +
                                ", found " + std::to_string(up_) + "/" + std::to_string(down_));
  }
  if (channels == 0 || channels > UNIECG_MAX_CHANNELS) {
    throw std::invalid_argument("expected 1 to " + std::to_string(UNIECG_MAX_CHANNELS) + " channels, found " +
                                std::to_string(channels));
  }
  const double lower = std::min(1.0, static_cast<double>(up_) / down_);  // rate, of the input's
  half_ = up_ == down_ ? 1 : static_cast<std::size_t>(std::ceil(kHalfLength / lower));
  const double reach = kHalfLength / lower;
  const std::size_t width = 2 * half_;
  taps_.resize(up_ * width);
  for (std::size_t phase = 0; phase < up_; ++phase) {
    double* const taps = taps_.data() + phase * width;
    for (std::size_t j = 0; j < width; ++j) {
      // Input j lies this many inputs before the output.
      const double back =
          static_cast<double>(half_) - 1 - static_cast<double>(j) + static_cast<double>(phase) / up_;
      taps[j] =
          up_ == down_ ? static_cast<double>(back == 0) : Sinc(kEdge * lower * back) * Kaiser(back / reach);
    }
    const double sum = std::accumulate(taps, taps + width, 0.0);
    for (std::size_t j = 0; j < width; ++j) taps[j] /= sum;  // a constant stays what it is
  }
  row_ = width + kPart;
  buffer_.resize(channels * row_);
}

// Outputs whose time plus `reach` inputs lies before input number `inputs`.
std::size_t Resampler::OutputsBelow(std::uint64_t inputs, std::size_t reach) const {
  if (inputs <= reach) return 0;
  return static_cast<std::size_t>(((inputs - reach) * up_ + down_ - 1) / down_);
}

// Takes `count` inputs, at most kPart, that fill(channel, to) writes; outputs go to `*column` and on.
template <typename Fill>
void Resampler::Take(std::size_t count, float* out, std::size_t row, std::size_t* column, const Fill& fill) {
  const std::size_t width = 2 * half_, due = OutputsBelow(taken_ + count, half_);
  for (std::size_t c = 0; c < channels_; ++c) {
    double* const held = Row(c);
    fill(c, held + width);
    if (taken_ == 0) std::fill(held, held + width, held[width]);
    for (std::uint64_t m = given_; m < due; ++m) {
      const std::uint64_t place = m * down_ / up_, phase = m * down_ % up_;
      // Input number `taken_` lies at held[width]; this output's inputs begin half_ - 1 before its place.
      const double* const inputs = held + width + (place + half_ + 1 - taken_) - width;
      const double* const taps = taps_.data() + phase * width;
      double sum = 0;
      for (std::size_t j = 0; j < width; ++j) sum += taps[j] * inputs[j];
      out[c * row + *column + static_cast<std::size_t>(m - given_)] = static_cast<float>(sum);
    }
    std::copy(held + count, held + count + width, held);
  }
  *column += due - static_cast<std::size_t>(given_);
  given_ = due;
  taken_ += count;
}

void Resampler::Push(const float* in, std::size_t samples, float* out) {
  const std::size_t row = Due(samples);
  std::size_t column = 0;
  for (std::size_t first = 0; first < samples; first += kPart) {
    const std::size_t count = std::min(kPart, samples - first);
    Take(count, out, row, &column, [&](std::size_t c, double* to) {
      const float* const from = in + c * samples + first;
      std::transform(from, from + count, to, [](float value) { return std::isfinite(value) ? value : kNaN; });
    });
  }
}

void Resampler::Finish(float* out) {
  const std::size_t row = DueAtEnd();
  std::size_t column = 0;
  const std::uint64_t end = taken_ + half_;
  const std::size_t width = 2 * half_;
  while (row > column && taken_ < end) {
    const std::size_t count = std::min<std::size_t>(kPart, static_cast<std::size_t>(end - taken_));
    Take(count, out, row, &column,
         [&](std::size_t c, double* to) { std::fill(to, to + count, Row(c)[width - 1]); });
  }
  taken_ = given_ = 0;
}

}  // namespace uniecg
