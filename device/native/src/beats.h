// QRS complexes of one or more leads as they come.
#ifndef UNIECG_BEATS_H_
#define UNIECG_BEATS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "beat_score.h"
#include "lead_slope.h"
#include "shapes.h"
#include "uniecg.h"

namespace uniecg {

// The leads' slope energy, each band of each lead weighed by how clear it is, has a peak in every QRS; a peak
// is a beat if its height, its shape, the rhythm and its neighbours say so. What is decided depends on the
// samples alone, never on how they were divided between pushes. Only the constructor allocates.
class BeatDetector {
 public:
  // Throws std::invalid_argument.
  BeatDetector(double rate, std::size_t leads);
  virtual ~BeatDetector() = default;
  BeatDetector(const BeatDetector&) = delete;
  BeatDetector& operator=(const BeatDetector&) = delete;

  std::size_t leads() const { return leads_.size(); }

  // Lead l, sample k at [l * row + k], mV; NaN where there is none.
  void Push(const float* millivolts, std::size_t samples, std::size_t row);
  // So many samples are missing on all leads: the detector begins anew behind them.
  void Skip(std::uint64_t samples);
  std::size_t Pull(uniecg_beat* beats, std::size_t most);

 protected:
  // How likely the peak at `sample` is a beat. Who fits the network looks on here.
  virtual double Judge(double sample, const Features& features);

 private:
  static constexpr std::size_t kCandidates = 64, kQueue = UNIECG_BEAT_QUEUE, kUsual = 8;
  using Recent = std::array<float, kUsual>;

  void Work();
  void Weigh(bool by_level);
  double Energy(std::size_t view, std::uint64_t work) const;
  double Height(std::uint64_t work) const;
  double UsualHeight() const;
  bool IsPeak(std::uint64_t work) const;
  void AddCandidate(std::uint64_t work);
  void Begin();
  void Decide(std::uint64_t work);
  Features Describe(std::uint64_t work, double usual);
  double Motion() const;
  void DescribeRhythm(double since, Features* features) const;
  void LearnRhythm(double seconds);
  void Accept(std::uint64_t work, double height, double certainty);
  void Remember(std::uint64_t work);
  std::uint64_t Place(std::uint64_t work);
  void Restart();

  const WorkRate work_;
  const std::size_t reach_, ahead_, learning_;  // work samples
  std::vector<LeadSlope> leads_;
  // Of band b of lead l at [l * kBands + b].
  std::vector<double> gains_;   // in the combined energy
  double share_ = 0;            // one over their sum
  std::vector<Recent> recent_;  // energies of the last beats
  std::vector<double> usual_;   // their usual energy
  std::vector<double> clear_;   // the same without what noise adds
  std::vector<double> other_;   // energy of the last peaks that were no beats
  std::vector<double> away_;    // by which each sample near a beat deviates
  History<float> envelope_;     // by work sample
  Shapes shapes_;

  std::uint64_t taken_ = 0;     // samples
  std::size_t phase_ = 0;       // of them since the last work sample
  std::uint64_t works_ = 0;     // work samples
  std::uint64_t skipped_ = 0;   // samples that no work sample was made of
  std::uint64_t on_since_ = 0;  // work sample since which some lead is on
  bool on_ = false;
  bool learnt_ = false;  // what a usual beat is

  std::array<std::uint64_t, kCandidates> candidates_{};  // work samples
  std::size_t first_candidate_ = 0, candidate_count_ = 0;

  std::size_t recent_count_ = 0;
  Recent intervals_{};  // s
  std::size_t interval_count_ = 0;
  double interval_ = 0, irregular_ = 0;  // the middle one, s; how far the others lie from it, to it
  double noise_ = 0;                     // height of what was no beat, to the usual one
  bool has_last_ = false;
  std::uint64_t last_ = 0;  // work sample of the last beat
  double last_height_ = 0;  // to the usual one

  std::array<uniecg_beat, kQueue> queue_{};
  std::size_t queue_first_ = 0, queue_count_ = 0;
};

}  // namespace uniecg

#endif  // UNIECG_BEATS_H_
