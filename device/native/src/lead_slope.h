// One lead on its way to a QRS detector: without spikes and gaps, at a lower rate, as slope energy in two
// bands.
#ifndef UNIECG_LEAD_SLOPE_H_
#define UNIECG_LEAD_SLOPE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "filters.h"

namespace uniecg {

// The last values of a series by their number; the capacity is a power of two.
template <typename T>
class History {
 public:
  explicit History(std::size_t at_least) {
    std::size_t capacity = 1;
    while (capacity < at_least) capacity *= 2;
    values_.resize(capacity);
  }
  T& operator[](std::uint64_t number) { return values_[number & (values_.size() - 1)]; }
  const T& operator[](std::uint64_t number) const { return values_[number & (values_.size() - 1)]; }

 private:
  std::vector<T> values_;
};

// Mean of the last `width` values, none of them negative.
class RunningMean {
 public:
  explicit RunningMean(std::size_t width) : values_(width), scale_(1.0 / static_cast<double>(width)) {}

  double Next(double value) {
    sum_ += value - values_[place_];
    values_[place_] = value;
    if (++place_ == values_.size()) Renew();
    return sum_ > 0 ? sum_ * scale_ : 0;
  }
  void Clear();

 private:
  void Renew();  // so that rounding errors do not add up

  std::vector<double> values_;
  double scale_;
  double sum_ = 0;
  std::size_t place_ = 0;
};

// How a sampling rate is brought down for the detector, and when what it sees happened.
struct WorkRate {
  static constexpr std::size_t kBands = 2;

  explicit WorkRate(double rate);

  double rate;            // Hz, of the signal
  std::size_t spike;      // samples each way of the median that takes out pacing spikes
  std::size_t bridged;    // missing samples that are held without harm
  std::size_t decimate;   // samples a work sample
  double hz;              // of the work samples
  Sections band[kBands];  // the slow and the steep part of the QRS: motion spoils the one, muscles the other
  double late;            // work samples that the first band takes
  std::size_t wait;       // work samples by which the second is held back to come with it
  std::size_t mean;       // work samples, of either running mean of the energy

  std::size_t Work(double seconds) const;  // in work samples, at least 1
  // The sample that lies in the middle of what made the slope energy of work sample `work`.
  double Centre(std::uint64_t work) const;
};

// The slope energy in one band of one lead.
class BandSlope {
 public:
  BandSlope(const WorkRate& work, const Sections* band, std::size_t works_kept);

  void Next(double input, std::uint64_t work);
  void Settle(double input) { band_.Settle(input); }
  void Mute(std::uint64_t work);  // the energy of this work sample and what made it do not count
  void Observe(std::uint64_t work);

  // A usual beat's greatest energy: the middle one of the last few stretches' highest. 0 until known.
  double level() const { return level_; }
  // The middle of its energies in the last stretch: noise lifts it, and beats do not.
  double floor() const { return floor_; }

  History<float> shaped, energy;  // by work sample

 private:
  static constexpr std::size_t kStretches = 5;
  void EndStretch();

  Cascade band_;
  RunningMean first_, second_;
  std::vector<float> stretch_;
  std::size_t stretch_filled_ = 0;
  double highest_[kStretches] = {};
  std::size_t stretches_ = 0;
  double level_ = 0, floor_ = 0;
};

class LeadSlope {
 public:
  LeadSlope(const WorkRate& work, double seconds_kept);

  // Takes sample number `number`; true where a work sample is complete. NaN or absurd values count as
  // missing.
  bool Next(float millivolts, std::uint64_t number);
  // To be called for each work sample, in order.
  void Work(std::uint64_t number);
  void Restart();

  bool on() const { return began_ && quiet_ == 0; }

  History<float> trace;  // despiked, by sample number
  std::vector<BandSlope> bands;

 private:
  void Found(float value);
  void Missing();
  float Despike(float value);

  const WorkRate* work_;
  std::vector<float> last_, sorted_;  // for the median
  std::size_t last_place_ = 0;
  float held_ = 0;
  std::size_t missing_ = 0;  // samples in a row
  bool began_ = false;

  double rising_ = 0, falling_ = 0, risen_ = 0;  // of the triangle
  std::size_t phase_ = 0;
  double input_ = 0;
  History<double> inputs_;  // by work sample
  std::size_t quiet_;       // work samples until the lead counts
};

}  // namespace uniecg

#endif  // UNIECG_LEAD_SLOPE_H_
