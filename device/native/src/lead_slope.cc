#include "lead_slope.h"

#include <algorithm>
#include <cmath>

namespace uniecg {
namespace {

constexpr double kLowestWorkHz = 120;
constexpr double kSlowLow = 6, kSlowHigh = 18, kSlowCentre = 11;  // Hz; the delay is taken at the centre
constexpr double kSteepLow = 25, kSteepHigh = 48, kSteepCentre = 33;
constexpr double kHighestShare = 0.4;     // of the work rate
constexpr double kMeanSeconds = 0.055;    // twice, makes a triangle about a QRS wide
constexpr double kSpikeSeconds = 0.002;   // the longest pacing spike
constexpr double kSpikeRate = 240;        // Hz; below it a spike and an R wave look the same
constexpr double kMissingSeconds = 0.02;  // that are held without harm
constexpr double kQuietSeconds = 0.15;    // after a lead came back
constexpr double kStretchSeconds = 2;
constexpr std::size_t kSomeOf = 4;  // of which the middle is found: the energy changes slowly
constexpr float kAbsurd = 1e4F;     // mV

// The middle value; rearranges them.
template <typename Iterator>
float Middle(Iterator first, Iterator last) {
  const Iterator middle = first + (last - first) / 2;
  std::nth_element(first, middle, last);
  return *middle;
}

Sections BandPass(double low, double high, double hz) {
  Sections sections = Butterworth(Pass::kHigh, 2, low, hz);
  for (const Section& section : Butterworth(Pass::kLow, 2, std::min(high, kHighestShare * hz), hz)) {
    sections.push_back(section);
  }
  return sections;
}

}  // namespace

// Their order changes little from one sample to the next.
float RunningMedian::Replace(float oldest, float value) {
  std::size_t k = 0;
  while (sorted_[k] != oldest) ++k;
  for (; k > 0 && sorted_[k - 1] > value; --k) sorted_[k] = sorted_[k - 1];
  for (; k + 1 < width_ && sorted_[k + 1] < value; ++k) sorted_[k] = sorted_[k + 1];
  sorted_[k] = value;
  return sorted_[width_ / 2];
}

void RunningMeans::Renew() {
  place_ = 0;
  sum_ = {};
  for (const Bands<double>& values : values_) {
    for (std::size_t b = 0; b < kBands; ++b) sum_[b] += values[b];
  }
}

void RunningMeans::Clear() {
  std::fill(values_.begin(), values_.end(), Bands<double>{});
  Renew();
}

WorkRate::WorkRate(double signal_rate)
    : rate(signal_rate),
      spike(rate < kSpikeRate ? 0 : static_cast<std::size_t>(kSpikeSeconds * rate) + 1),
      bridged(static_cast<std::size_t>(kMissingSeconds * rate)),
      decimate(std::max<std::size_t>(1, static_cast<std::size_t>(rate / kLowestWorkHz))),
      hz(rate / static_cast<double>(decimate)),
      band{BandPass(kSlowLow, kSlowHigh, hz), BandPass(kSteepLow, kSteepHigh, hz)},
      late(GroupDelay(band[0], kSlowCentre, hz) * hz),
      wait(static_cast<std::size_t>(
          std::lround(std::max(0.0, late - GroupDelay(band[1], kSteepCentre, hz) * hz)))),
      mean(Work(kMeanSeconds)),
      quiet(Work(kQuietSeconds)) {}

std::size_t WorkRate::Work(double seconds) const {
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::lround(seconds * hz)));
}

double WorkRate::Centre(std::uint64_t work) const {
  // Behind the band: half of the slope's two samples, and of the two means.
  const double seen = static_cast<double>(work) - late - 1 - static_cast<double>(mean - 1);
  return seen * static_cast<double>(decimate) - 1 - static_cast<double>(spike);
}

Levels::Levels(const WorkRate& work) : length_(work.Work(kStretchSeconds)) {
  for (std::vector<float>& some : some_) some.resize((length_ - 1) / kSomeOf + 1);
}

void Levels::Observe(const Bands<float>& energy) {
  for (std::size_t b = 0; b < kBands; ++b) {
    highest_[b] = std::max(highest_[b], energy[b]);
    if (seen_ % kSomeOf == 0) some_[b][seen_ / kSomeOf] = energy[b];
  }
  if (++seen_ == length_) EndStretch();
}

void Levels::EndStretch() {
  const std::size_t known = std::min(stretches_ + 1, kStretches);
  for (std::size_t b = 0; b < kBands; ++b) {
    highests_[b][stretches_ % kStretches] = highest_[b];
    std::array<float, kStretches> highests = highests_[b];
    level_[b] = static_cast<double>(Middle(highests.begin(), highests.begin() + known));
    floor_[b] = static_cast<double>(Middle(some_[b].begin(), some_[b].end()));
  }
  highest_ = {};
  seen_ = 0;
  ++stretches_;
}

LeadSlope::LeadSlope(const WorkRate& work, double seconds_kept)
    : trace(static_cast<std::size_t>(seconds_kept * work.rate) + 1),
      shaped(work.Work(seconds_kept) + 1),
      energy(work.Work(seconds_kept) + 1),
      levels(work),
      work_(&work),
      despiked_(2 * work.spike + 1),
      inputs_(work.wait + 1),
      band_(work.band),
      first_(work.mean),
      second_(work.mean),
      quiet_(work.quiet) {}

void LeadSlope::Take(const float* millivolts, std::size_t samples, std::uint64_t number) {
  double sum = sum_, ramp = ramp_;
  for (std::size_t k = 0; k < samples; ++k) {
    if (!(std::abs(millivolts[k]) <= kAbsurd)) {
      Missing();
    } else {
      if (missing_ > 0) Return(millivolts[k]);
      held_ = millivolts[k];
    }
    const float value = despiked_.Next(held_);
    trace[number + k - work_->spike] = value;
    sum += static_cast<double>(value);
    ramp += sum;
  }
  sum_ = sum;
  ramp_ = ramp;
}

void LeadSlope::Return(float value) {
  if (missing_ > work_->bridged) despiked_.Fill(value);
  missing_ = 0;
}

void LeadSlope::Missing() {
  if (++missing_ > work_->bridged) quiet_ = work_->quiet;
}

// Over the last two times `decimate` samples: it keeps what lies above the new rate from folding back.
double LeadSlope::Triangle() {
  const double size = static_cast<double>(work_->decimate);
  const double falling = ramp_ - sum_, mean = (risen_ + falling) / (size * size);
  risen_ = (size + 1) * sum_ - ramp_;
  sum_ = ramp_ = 0;
  return mean;
}

void LeadSlope::Work(std::uint64_t number) {
  inputs_[number] = Triangle();
  // The first half of the quiet time lets pass what median, triangle and waiting still hold of the time
  // before.
  if (2 * quiet_ > work_->quiet) band_.Settle({inputs_[number], inputs_[number - work_->wait]});
  Slope(number);
  if (quiet_ == 0) {
    levels.Observe(energy[number]);
    return;
  }
  first_.Clear();
  second_.Clear();
  energy[number] = {};
  if (missing_ <= work_->bridged) --quiet_;
}

void LeadSlope::Slope(std::uint64_t number) {
  const Bands<double> now = band_.Next({inputs_[number], inputs_[number - work_->wait]});
  const Bands<float>& before = shaped[number - 2];
  Bands<double> squares;
  for (std::size_t b = 0; b < kBands; ++b) {
    const double slope = now[b] - static_cast<double>(before[b]);
    squares[b] = slope * slope;
  }
  const Bands<double> means = second_.Next(first_.Next(squares));
  for (std::size_t b = 0; b < kBands; ++b) {
    shaped[number][b] = static_cast<float>(now[b]);
    energy[number][b] = static_cast<float>(means[b]);
  }
}

void LeadSlope::Restart() {
  missing_ = kNever;
  quiet_ = work_->quiet;
}

}  // namespace uniecg
