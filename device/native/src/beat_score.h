// How likely a peak of the slope energy is a QRS complex.
#ifndef UNIECG_BEAT_SCORE_H_
#define UNIECG_BEAT_SCORE_H_

#include <array>
#include <cstddef>

namespace uniecg {

// Heights are root mean squares of slope, compared as logarithms.
enum Feature : std::size_t {
  kHeight,     // to the usual beat
  kShape,      // correlation with the beats before, -1..1
  kSize,       // of the nearest of their shapes in it, to that shape
  kContrast,   // to the half second around
  kEarly,      // by how much of an RR before it was due
  kLate,       // and behind
  kOnTime,     // 1 where a steady rhythm says so, else towards 0
  kAfterBeat,  // to the beat less than a T wave before
  kBefore,     // to the greatest just before
  kAfter,      // to the greatest just behind
  kNoise,      // of what was no beat, to the usual beat; no logarithm
  kMotion,  // of what was no beat in the slow band, to that in the steep one: motion is slow, muscles are not
  kFeatures,
};
using Features = std::array<double, kFeatures>;

// Of a network of one hidden layer: a weight for every feature, the unit's bias, and its weight in the sum.
using Unit = std::array<float, kFeatures + 2>;

// 0..1; a beat from one half on.
double BeatScore(const Features& features, const Unit* units, std::size_t count, float bias);
// By the network that was fitted.
double BeatScore(const Features& features);

}  // namespace uniecg

#endif  // UNIECG_BEAT_SCORE_H_
