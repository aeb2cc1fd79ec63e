// One lead on its way to a QRS detector: without spikes and gaps, at a lower rate, as slope energy in two
// bands.
#ifndef UNIECG_LEAD_SLOPE_H_
#define UNIECG_LEAD_SLOPE_H_

#include <algorithm>
#include <array>
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
    mask_ = capacity - 1;
  }
  T& operator[](std::uint64_t number) { return values_[number & mask_]; }
  const T& operator[](std::uint64_t number) const { return values_[number & mask_]; }

 private:
  std::vector<T> values_;
  std::size_t mask_ = 0;
};

// The middle of the last `width` values, an odd number.
class RunningMedian {
 public:
  explicit RunningMedian(std::size_t width) : width_(width), last_(width), sorted_(width) {}

  void Fill(float value) {
    std::fill(last_.begin(), last_.end(), value);
    sorted_ = last_;
  }
  float Next(float value) {
    const float oldest = last_[place_];
    last_[place_] = value;
    if (++place_ == width_) place_ = 0;
    const float* const v = last_.data();
    if (width_ == 1) return value;
    if (width_ == 3) return Middle(v[0], v[1], v[2]);
    if (width_ > 5) return Replace(oldest, value);
    const float low = std::max(std::min(v[0], v[1]), std::min(v[2], v[3]));
    const float high = std::min(std::max(v[0], v[1]), std::max(v[2], v[3]));
    return Middle(low, high, v[4]);
  }

 private:
  static float Middle(float a, float b, float c) {
    return std::max(std::min(a, b), std::min(std::max(a, b), c));
  }
  float Replace(float oldest, float value);

  std::size_t width_, place_ = 0;
  std::vector<float> last_, sorted_;
};

// Of each band; what is done to the one is done to the other beside it.
constexpr std::size_t kBands = 2;
template <typename T>
using Bands = std::array<T, kBands>;

// Mean of the last `width` values of each band, none of them negative.
class RunningMeans {
 public:
  explicit RunningMeans(std::size_t width) : values_(width), scale_(1.0 / static_cast<double>(width)) {}

  Bands<double> Next(const Bands<double>& values) {
    Bands<double>& oldest = values_[place_];
    for (std::size_t b = 0; b < kBands; ++b) sum_[b] += values[b] - oldest[b];
    oldest = values;
    if (++place_ == values_.size()) Renew();
    Bands<double> means;
    for (std::size_t b = 0; b < kBands; ++b) means[b] = std::max(sum_[b], 0.0) * scale_;
    return means;
  }
  void Clear();

 private:
  void Renew();  // so that rounding errors do not add up

  std::vector<Bands<double>> values_;
  double scale_;
  Bands<double> sum_{};
  std::size_t place_ = 0;
};

// How a sampling rate is brought down for the detector, and when what it sees happened.
struct WorkRate {
  explicit WorkRate(double rate);

  double rate;           // Hz, of the signal
  std::size_t spike;     // samples each way of the median that takes out pacing spikes
  std::size_t bridged;   // missing samples that are held without harm
  std::size_t decimate;  // samples a work sample
  double hz;             // of the work samples
  Bands<Sections> band;  // the slow and the steep part of the QRS: motion spoils the one, muscles the other
  double late;           // work samples that the first band takes
  std::size_t wait;      // work samples by which the second is held back to come with it
  std::size_t mean;      // work samples, of either running mean of the energy
  std::size_t quiet;     // work samples after a lead came back

  std::size_t Work(double seconds) const;  // in work samples, at least 1
  // The sample that lies in the middle of what made the slope energy of work sample `work`.
  double Centre(std::uint64_t work) const;
};

// How high the energy of each band rises, and how high it lies between.
class Levels {
 public:
  explicit Levels(const WorkRate& work);

  void Observe(const Bands<float>& energy);

  // A usual beat's greatest energy: the middle one of the last few stretches' highest. 0 until known.
  double level(std::size_t band) const { return level_[band]; }
  // The middle of its energies in the last stretch: noise lifts it, and beats do not.
  double floor(std::size_t band) const { return floor_[band]; }

 private:
  static constexpr std::size_t kStretches = 5;
  void EndStretch();

  std::size_t length_, seen_ = 0;  // of a stretch, in work samples
  Bands<float> highest_{};         // of this stretch
  Bands<std::vector<float>> some_;
  Bands<std::array<float, kStretches>> highests_{};
  std::size_t stretches_ = 0;
  Bands<double> level_{}, floor_{};
};

// The slope energy of one lead.
class LeadSlope {
 public:
  LeadSlope(const WorkRate& work, double seconds_kept);

  // Takes samples from `number` on. NaN or absurd values count as missing.
  void Take(const float* millivolts, std::size_t samples, std::uint64_t number);
  // To be called where a work sample is complete, the `number`-th.
  void Work(std::uint64_t number);
  void Restart();

  bool on() const { return quiet_ == 0; }

  History<float> trace;                  // despiked, by sample number
  History<Bands<float>> shaped, energy;  // by work sample
  Levels levels;

 private:
  static constexpr std::size_t kNever = SIZE_MAX / 2;  // was there a sample

  void Return(float value);
  void Missing();
  double Triangle();
  void Slope(std::uint64_t number);

  const WorkRate* work_;
  RunningMedian despiked_;
  float held_ = 0;
  std::size_t missing_ = kNever;           // samples in a row
  double sum_ = 0, ramp_ = 0, risen_ = 0;  // of the triangle

  History<double> inputs_;  // by work sample
  Cascade<kBands> band_;
  RunningMeans first_, second_;
  std::size_t quiet_;  // work samples until the lead counts
};

}  // namespace uniecg

#endif  // UNIECG_LEAD_SLOPE_H_
