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
constexpr float kAbsurd = 1e4F;  // mV

Sections BandPass(double low, double high, double hz) {
  Sections sections = Butterworth(Pass::kHigh, 2, low, hz);
  for (const Section& section : Butterworth(Pass::kLow, 2, std::min(high, kHighestShare * hz), hz)) {
    sections.push_back(section);
  }
  return sections;
}

}  // namespace

void RunningMean::Renew() {
  place_ = 0;
  sum_ = 0;
  for (const double value : values_) sum_ += value;
}

void RunningMean::Clear() {
  std::fill(values_.begin(), values_.end(), 0.0);
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
      mean(Work(kMeanSeconds)) {}

std::size_t WorkRate::Work(double seconds) const {
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::lround(seconds * hz)));
}

double WorkRate::Centre(std::uint64_t work) const {
  // Behind the band: half of the slope's two samples, and of the two means.
  const double seen = static_cast<double>(work) - late - 1 - static_cast<double>(mean - 1);
  return seen * static_cast<double>(decimate) - 1 - static_cast<double>(spike);
}

BandSlope::BandSlope(const WorkRate& work, const Sections* band, std::size_t works_kept)
    : shaped(works_kept),
      energy(works_kept),
      band_(band),
      first_(work.mean),
      second_(work.mean),
      stretch_(work.Work(kStretchSeconds)) {}

void BandSlope::Next(double input, std::uint64_t work) {
  const double value = band_.Next(input), slope = value - static_cast<double>(shaped[work - 2]);
  shaped[work] = static_cast<float>(value);
  energy[work] = static_cast<float>(second_.Next(first_.Next(slope * slope)));
}

void BandSlope::Mute(std::uint64_t work) {
  first_.Clear();
  second_.Clear();
  energy[work] = 0;
}

void BandSlope::Observe(std::uint64_t work) {
  stretch_[stretch_filled_] = energy[work];
  if (++stretch_filled_ == stretch_.size()) EndStretch();
}

void BandSlope::EndStretch() {
  stretch_filled_ = 0;
  highest_[stretches_ % kStretches] = *std::max_element(stretch_.begin(), stretch_.end());
  ++stretches_;
  double known[kStretches];
  const std::size_t count = std::min(stretches_, kStretches);
  std::copy_n(highest_, count, known);
  std::nth_element(known, known + count / 2, known + count);
  level_ = known[count / 2];
  const auto middle = stretch_.begin() + static_cast<std::ptrdiff_t>(stretch_.size() / 2);
  std::nth_element(stretch_.begin(), middle, stretch_.end());
  floor_ = static_cast<double>(*middle);
}

LeadSlope::LeadSlope(const WorkRate& work, double seconds_kept)
    : trace(static_cast<std::size_t>(seconds_kept * work.rate) + 1),
      work_(&work),
      last_(2 * work.spike + 1),
      sorted_(last_.size()),
      inputs_(work.wait + 1),
      quiet_(work.Work(kQuietSeconds)) {
  for (const Sections& band : work.band) bands.emplace_back(work, &band, work.Work(seconds_kept) + 1);
}

bool LeadSlope::Next(float millivolts, std::uint64_t number) {
  if (std::abs(millivolts) <= kAbsurd) {
    Found(millivolts);
  } else {
    Missing();
  }
  const float value = Despike(held_);
  trace[number - work_->spike] = value;
  // A triangle over two times `decimate` samples keeps what lies above the new rate from folding back.
  const double place = static_cast<double>(phase_);
  rising_ += (place + 1) * value;
  falling_ += (static_cast<double>(work_->decimate) - 1 - place) * value;
  if (++phase_ < work_->decimate) return false;
  const double size = static_cast<double>(work_->decimate);
  input_ = (risen_ + falling_) / (size * size);
  risen_ = rising_;
  rising_ = falling_ = 0;
  phase_ = 0;
  return true;
}

void LeadSlope::Found(float value) {
  const bool off = missing_ > work_->bridged;
  missing_ = 0;
  held_ = value;
  if (began_ && !off) return;
  began_ = true;
  std::fill(last_.begin(), last_.end(), value);
}

void LeadSlope::Missing() {
  if (++missing_ > work_->bridged) quiet_ = work_->Work(kQuietSeconds);
}

float LeadSlope::Despike(float value) {
  if (work_->spike == 0) return value;
  last_[last_place_] = value;
  last_place_ = last_place_ + 1 == last_.size() ? 0 : last_place_ + 1;
  if (last_.size() == 3) {
    return std::max(std::min(last_[0], last_[1]), std::min(std::max(last_[0], last_[1]), last_[2]));
  }
  sorted_ = last_;
  std::nth_element(sorted_.begin(), sorted_.begin() + static_cast<std::ptrdiff_t>(work_->spike),
                   sorted_.end());
  return sorted_[work_->spike];
}

void LeadSlope::Work(std::uint64_t number) {
  inputs_[number] = input_;
  const double input[WorkRate::kBands] = {input_, inputs_[number - work_->wait]};
  const bool muted = !began_ || missing_ > work_->bridged || quiet_ > 0;
  // The first half of the quiet time lets pass what median, triangle and waiting still hold of the time
  // before.
  const bool settling = 2 * quiet_ > work_->Work(kQuietSeconds);
  for (std::size_t b = 0; b < bands.size(); ++b) {
    if (settling) bands[b].Settle(input[b]);
    bands[b].Next(input[b], number);
    if (muted) {
      bands[b].Mute(number);
    } else {
      bands[b].Observe(number);
    }
  }
  if (began_ && missing_ <= work_->bridged && quiet_ > 0) --quiet_;
}

void LeadSlope::Restart() {
  began_ = false;
  missing_ = 0;
  quiet_ = work_->Work(kQuietSeconds);
}

}  // namespace uniecg
