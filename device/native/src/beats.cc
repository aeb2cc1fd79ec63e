#include "beats.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace uniecg {
namespace {

constexpr std::uint64_t kWeighEvery = 8;  // work samples
constexpr double kReach = 0.10;           // s each way in which a candidate is the highest
constexpr double kAhead = 0.14;           // s behind a candidate that are known when it is decided
constexpr double kLearning = 2.3;         // s after a start in which the usual beat is learnt
constexpr double kKept = kLearning + 0.9;
constexpr double kRefractory = 0.2;  // s
constexpr double kTWave = 0.40;      // s after a beat
constexpr double kCore = 0.09;       // s each way that belong to the candidate itself
constexpr double kAround = 0.3;      // s each way that it stands out from
constexpr double kShapeSeconds = 0.16;
constexpr double kPlace = 0.07;     // s each way of the energy's centre in which the fiducial lies
constexpr double kSmooth = 0.02;    // s whose mean is the deflection there
constexpr double kBaseline = 0.18;  // s whose mean it is measured from
constexpr double kMostLag = 0.3;    // s from a fiducial to its being found
constexpr double kCap = 2;          // times its level: what one lead of several adds without being damped
constexpr double kOtherShare = 4, kFloorShare = 2;  // of noise in a band, by which it loses weight
constexpr double kForget = 2.5;                     // s without a beat from which the usual height shrinks
constexpr double kLeast = 2e-4;                     // mV in two work samples: below it there is no beat
constexpr double kUsualShare = 0.4;                 // of the last beats that are lower than the usual one
constexpr double kNoiseShare = 0.15;
constexpr double kClearShare = 0.1, kClearShareNoisy = 0.01;
constexpr double kSlowPrior = 0.1;     // weight of the slow band, that of the steep one being 1
constexpr double kLittleNoise = 0.01;  // to the usual beat, below which its kind does not matter
constexpr double kNoisy = 0.35;        // height of what is no beat, from which shapes are only learnt again
constexpr double kLongest = 3.0;       // s, of an interval that says something about the rhythm

// The value below which `share` of the last ones lie; there is at least one.
double Quantile(const std::array<float, 8>& values, std::size_t count, double share) {
  std::array<float, 8> sorted = values;
  const std::size_t known = std::min(count, sorted.size());
  const auto place = static_cast<std::ptrdiff_t>(share * static_cast<double>(known));
  std::nth_element(sorted.begin(), sorted.begin() + place,
                   sorted.begin() + static_cast<std::ptrdiff_t>(known));
  return static_cast<double>(sorted[static_cast<std::size_t>(place)]);
}

// What one lead of several says above kCap times its level counts as a logarithm only.
double Damped(double energy, double level) {
  const double most = kCap * level;
  return energy > most && most > 0 ? most * (1 + std::log(energy / most)) : energy;
}

double LogRatio(double above, double below) { return std::log((above + 1e-9) / (below + 1e-9)); }

}  // namespace

BeatDetector::BeatDetector(double rate, std::size_t leads)
    : work_((CheckSignal(rate, leads), rate)),
      reach_(work_.Work(kReach)),
      ahead_(work_.Work(kAhead)),
      learning_(work_.Work(kLearning)),
      gains_(leads * kBands),
      recent_(gains_.size()),
      usual_(gains_.size()),
      clear_(gains_.size()),
      other_(gains_.size()),
      away_(2 * static_cast<std::size_t>(std::lround(kPlace * rate)) + 1),
      envelope_(work_.Work(kKept)),
      shapes_(leads, work_.Work(kShapeSeconds)) {
  leads_.reserve(leads);
  for (std::size_t l = 0; l < leads; ++l) leads_.emplace_back(work_, kKept);
}

void BeatDetector::Push(const float* millivolts, std::size_t samples, std::size_t row) {
  for (std::size_t done = 0; done < samples;) {
    const std::size_t part = std::min(samples - done, work_.decimate - phase_);
    for (std::size_t l = 0; l < leads_.size(); ++l) leads_[l].Take(millivolts + l * row + done, part, taken_);
    done += part;
    taken_ += part;
    phase_ += part;
    if (phase_ < work_.decimate) return;
    phase_ = 0;
    Work();
  }
}

void BeatDetector::Work() {
  bool on = false;
  for (LeadSlope& lead : leads_) {
    lead.Work(works_);
    on = on || lead.on();
  }
  if (on && !on_) Restart();
  on_ = on;
  if (works_ % kWeighEvery == 0) Weigh(learnt_);
  envelope_[works_] = static_cast<float>(Height(works_));
  ++works_;
  if (!on_) return;
  const std::uint64_t known = works_ - on_since_;
  if (known > 2 * reach_ && IsPeak(works_ - 1 - reach_)) AddCandidate(works_ - 1 - reach_);
  if (!learnt_ && known >= learning_) Begin();
  while (learnt_ && candidate_count_ > 0 && works_ - 1 - candidates_[first_candidate_] >= ahead_) {
    const std::uint64_t candidate = candidates_[first_candidate_];
    first_candidate_ = (first_candidate_ + 1) % kCandidates;
    --candidate_count_;
    Decide(candidate);
  }
}

// Each band of each lead counts against its own usual beat, and by how far it can be believed. While beats
// are still being learnt all count alike.
void BeatDetector::Weigh(bool by_level) {
  bool known = false;
  for (std::size_t view = 0; view < gains_.size(); ++view) {
    const LeadSlope& lead = leads_[view / kBands];
    const std::size_t band = view % kBands;
    const double usual = learnt_ && clear_[view] > 0 ? clear_[view] : lead.levels.level(band);
    const double floor = lead.levels.floor(band);
    const double noise = (kFloorShare * floor + kOtherShare * other_[view]) / (usual + 1e-12);
    const double square = noise * noise;
    const double prior = band == 0 ? kSlowPrior : 1;
    gains_[view] = by_level && lead.on() && usual > 0 ? prior / ((1 + square * square * square) * usual) : 0;
    known = known || gains_[view] > 0;
  }
  for (std::size_t view = 0; view < gains_.size() && !known; ++view) {
    gains_[view] = leads_[view / kBands].on() ? 1 : 0;
  }
  const double total = std::accumulate(gains_.begin(), gains_.end(), 0.0);
  share_ = total > 0 ? 1 / total : 0;
}

double BeatDetector::Energy(std::size_t view, std::uint64_t work) const {
  return static_cast<double>(leads_[view / kBands].energy[work][view % kBands]);
}

double BeatDetector::Height(std::uint64_t work) const {
  double sum = 0;
  const double* gain = gains_.data();
  for (const LeadSlope& lead : leads_) {
    const Bands<float>& energies = lead.energy[work];
    for (std::size_t b = 0; b < kBands; ++b) {
      const double energy = static_cast<double>(energies[b]);
      sum += *gain++ * (leads_.size() > 1 ? Damped(energy, lead.levels.level(b)) : energy);
    }
  }
  return std::sqrt(sum * share_);
}

// The same of the usual beat, so that the two compare whatever the gains are now.
double BeatDetector::UsualHeight() const {
  double sum = 0;
  for (std::size_t view = 0; view < gains_.size(); ++view) sum += gains_[view] * usual_[view];
  return std::sqrt(sum * share_);
}

bool BeatDetector::IsPeak(std::uint64_t work) const {
  const float height = envelope_[work];
  if (height < static_cast<float>(kLeast)) return false;
  for (std::uint64_t k = 1; k <= reach_; ++k) {
    if (envelope_[work - k] >= height || envelope_[work + k] > height) return false;
  }
  return true;
}

void BeatDetector::AddCandidate(std::uint64_t work) {
  if (candidate_count_ == kCandidates) {  // an age without a beat to learn from
    first_candidate_ = (first_candidate_ + 1) % kCandidates;
    --candidate_count_;
  }
  candidates_[(first_candidate_ + candidate_count_++) % kCandidates] = work;
}

// Learns the usual beat from the candidates since the start: those that are tall are beats.
void BeatDetector::Begin() {
  if (candidate_count_ == 0) return;
  Weigh(true);
  for (std::uint64_t work = works_ - learning_; work != works_; ++work) {
    envelope_[work] = static_cast<float>(Height(work));  // with the gains that are known now
  }
  std::array<double, kCandidates> heights{};
  for (std::size_t k = 0; k < candidate_count_; ++k) {
    heights[k] = Height(candidates_[(first_candidate_ + k) % kCandidates]);
  }
  std::array<double, kCandidates> sorted = heights;
  std::sort(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(candidate_count_), std::greater<>());
  const double bound = 0.5 * sorted[std::min<std::size_t>(1, candidate_count_ - 1)];
  std::size_t tall = 0;
  for (std::size_t k = 0; k < candidate_count_; ++k) {
    if (heights[k] < bound || tall == kUsual / 2) continue;
    Remember(candidates_[(first_candidate_ + k) % kCandidates]);
    ++tall;
  }
  const double low = sorted[(candidate_count_ + tall) / 2 < candidate_count_ ? (candidate_count_ + tall) / 2
                                                                             : candidate_count_ - 1];
  noise_ = std::min(0.4, low / UsualHeight());
  clear_ = usual_;
  learnt_ = true;
}

void BeatDetector::Remember(std::uint64_t work) {
  for (std::size_t view = 0; view < recent_.size(); ++view) {
    recent_[view][recent_count_ % kUsual] = leads_[view / kBands].energy[work][view % kBands];
  }
  ++recent_count_;
  for (std::size_t view = 0; view < recent_.size(); ++view) {
    usual_[view] = Quantile(recent_[view], recent_count_, kUsualShare);
  }
}

void BeatDetector::Decide(std::uint64_t work) {
  if (has_last_ && work - last_ < work_.Work(kRefractory)) return;
  const double usual = UsualHeight(), height = Height(work);
  const double score = Judge(static_cast<double>(skipped_) + work_.Centre(work), Describe(work, usual));
  if (score >= 0.5) {
    Accept(work, height / (usual + 1e-9), score);
  } else {
    noise_ += kNoiseShare * (std::min(height / (usual + 1e-9), 2.0) - noise_);
    for (std::size_t view = 0; view < other_.size(); ++view) {
      other_[view] += kNoiseShare * (Energy(view, work) - other_[view]);
    }
  }
}

double BeatDetector::Judge(double, const Features& features) { return BeatScore(features); }

Features BeatDetector::Describe(std::uint64_t work, double usual) {
  Features features{};
  const double height = Height(work);
  const double since = static_cast<double>(work - (has_last_ ? last_ : on_since_)) / work_.hz;
  if (since > kForget) usual *= std::exp2((kForget - since) / 2);
  features[kHeight] = std::clamp(LogRatio(height, usual), -4.0, 3.0);
  features[kNoise] = std::min(noise_, 1.5);
  features[kMotion] = Motion();
  features[kShape] = 0.7;
  if (!shapes_.empty()) {
    shapes_.Match(leads_, gains_, work - (work_.mean - 1) - shapes_.length() / 2);
    features[kShape] = shapes_.similarity();
    features[kSize] = std::clamp(LogRatio(std::max(shapes_.size(), 0.0), 1), -3.0, 2.0);
  }
  const std::uint64_t around = work_.Work(kAround);
  double sum = 0, before = 0, after = 0;
  std::size_t count = 0;
  for (std::uint64_t k = work_.Work(kCore); k <= around; ++k) {
    if (work - k >= on_since_) sum += static_cast<double>(envelope_[work - k]), ++count;
    if (k <= ahead_) sum += static_cast<double>(envelope_[work + k]), ++count;
  }
  for (std::uint64_t k = reach_; k <= ahead_; ++k) {
    before = std::max(before, static_cast<double>(envelope_[work - k]));
    after = std::max(after, static_cast<double>(envelope_[work + k]));
  }
  features[kContrast] = std::min(LogRatio(height, sum / static_cast<double>(count)), 4.0);
  features[kBefore] = std::clamp(LogRatio(before, height), -1.5, 2.0);
  features[kAfter] = std::clamp(LogRatio(after, height), -1.5, 2.0);
  if (has_last_ && since < kTWave) {
    features[kAfterBeat] = std::clamp(LogRatio(height, last_height_ * usual), -3.0, 0.0);
  }
  if (has_last_ && interval_count_ >= 3) DescribeRhythm(since, &features);
  return features;
}

double BeatDetector::Motion() const {
  Bands<double> noise{};
  for (std::size_t view = 0; view < gains_.size(); ++view) {
    if (gains_[view] > 0 && clear_[view] > 0) noise[view % kBands] += other_[view] / clear_[view];
  }
  return std::clamp(LogRatio(noise[0] + kLittleNoise, noise[1] + kLittleNoise), -3.0, 3.0);
}

void BeatDetector::DescribeRhythm(double since, Features* features) const {
  const double phase = since / interval_, off = (phase - 1) / 0.12;
  (*features)[kEarly] = std::clamp(0.9 - phase, 0.0, 0.7);
  (*features)[kLate] = std::clamp(phase - 1.1, 0.0, 2.0);
  (*features)[kOnTime] = std::exp(-off * off - irregular_ / 0.1);
}

void BeatDetector::LearnRhythm(double seconds) {
  intervals_[interval_count_++ % kUsual] = static_cast<float>(seconds);
  interval_ = Quantile(intervals_, interval_count_, 0.5);
  const std::size_t known = std::min(interval_count_, kUsual);
  double away = 0;
  for (std::size_t k = 0; k < known; ++k) away += std::abs(static_cast<double>(intervals_[k]) - interval_);
  irregular_ = away / static_cast<double>(known) / interval_;
}

void BeatDetector::Accept(std::uint64_t work, double height, double certainty) {
  if (shapes_.empty()) shapes_.Match(leads_, gains_, work - (work_.mean - 1) - shapes_.length() / 2);
  const bool noisy = noise_ > kNoisy;
  shapes_.Learn(leads_, noisy);
  if (has_last_) {
    const double interval = static_cast<double>(work - last_) / work_.hz;
    if (interval < kLongest) LearnRhythm(interval);
  }
  Remember(work);
  // What noise adds to a beat must not speak for the band that it comes in.
  const double share = noisy ? kClearShareNoisy : kClearShare;
  for (std::size_t view = 0; view < clear_.size(); ++view) {
    if (gains_[view] <= 0) continue;
    clear_[view] += (clear_[view] > 0 ? share : 1) * (Energy(view, work) - clear_[view]);
  }
  last_ = work;
  last_height_ = height;
  has_last_ = true;
  if (queue_count_ == kQueue) {  // nobody pulls: the newest are kept
    queue_first_ = (queue_first_ + 1) % kQueue;
    --queue_count_;
  }
  const std::uint64_t position = Place(work);
  const auto lag = static_cast<std::uint32_t>(taken_ - 1 - position);
  queue_[(queue_first_ + queue_count_++) % kQueue] = {position, lag, static_cast<float>(certainty)};
}

// The main deflection: where a short mean of the leads is farthest from a long one.
std::uint64_t BeatDetector::Place(std::uint64_t work) {
  const auto samples = [this](double seconds) {
    return static_cast<std::uint64_t>(std::lround(seconds * work_.rate));
  };
  const std::uint64_t reach = samples(kPlace);
  const auto middle = skipped_ + static_cast<std::uint64_t>(std::max(0.0, std::round(work_.Centre(work))));
  const std::uint64_t half = samples(kSmooth / 2), wide = std::max(samples(kBaseline / 2), half + 1);
  std::fill(away_.begin(), away_.end(), 0.0);
  for (std::size_t l = 0; l < leads_.size(); ++l) {
    const double scale = std::sqrt(gains_[l * kBands]);
    if (scale <= 0) continue;
    const auto at = [&](std::uint64_t number) { return static_cast<double>(leads_[l].trace[number]); };
    double near = 0, far = 0;
    for (std::uint64_t k = 0; k <= 2 * half; ++k) near += at(middle - reach - half + k);
    for (std::uint64_t k = 0; k <= 2 * wide; ++k) far += at(middle - reach - wide + k);
    for (std::uint64_t k = 0; k <= 2 * reach; ++k) {
      const std::uint64_t here = middle - reach + k;
      away_[k] += scale * std::abs(near / static_cast<double>(2 * half + 1) -
                                   far / static_cast<double>(2 * wide + 1));
      near += at(here + half + 1) - at(here - half);
      far += at(here + wide + 1) - at(here - wide);
    }
  }
  // What is decided without having waited to learn is no further behind than promised.
  const std::uint64_t oldest = taken_ - 1 - static_cast<std::uint64_t>(kMostLag * work_.rate);
  const bool prompt = works_ - 1 - work == ahead_ && oldest > middle - reach;
  const auto first = static_cast<std::ptrdiff_t>(prompt ? oldest - (middle - reach) : 0);
  const auto best = std::max_element(away_.begin() + first, away_.end());
  return middle - reach + static_cast<std::uint64_t>(best - away_.begin());
}

void BeatDetector::Restart() {
  on_since_ = works_;
  learnt_ = has_last_ = false;
  std::fill(other_.begin(), other_.end(), 0.0);
  candidate_count_ = recent_count_ = interval_count_ = 0;
}

void BeatDetector::Skip(std::uint64_t samples) {
  for (LeadSlope& lead : leads_) lead.Restart();
  on_ = false;
  skipped_ += samples;
  taken_ += samples;
}

std::size_t BeatDetector::Pull(uniecg_beat* beats, std::size_t most) {
  const std::size_t count = std::min(most, queue_count_);
  for (std::size_t k = 0; k < count; ++k) beats[k] = queue_[(queue_first_ + k) % kQueue];
  queue_first_ = (queue_first_ + count) % kQueue;
  queue_count_ -= count;
  return count;
}

}  // namespace uniecg
