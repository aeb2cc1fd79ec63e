#include "beat_score.h"

#include <cmath>
#include <iterator>

#include "beat_weights.h"

namespace uniecg {

double BeatScore(const Features& features, const Unit* units, std::size_t count, float bias) {
  double sum = static_cast<double>(bias);
  for (std::size_t u = 0; u < count; ++u) {
    double inside = static_cast<double>(units[u][kFeatures]);
    for (std::size_t k = 0; k < kFeatures; ++k) inside += static_cast<double>(units[u][k]) * features[k];
    const double tanh = 1 - 2 / (1 + std::exp(2 * inside));  // several times as fast as std::tanh
    sum += static_cast<double>(units[u][kFeatures + 1]) * tanh;
  }
  return 1 / (1 + std::exp(-sum));
}

double BeatScore(const Features& features) {
  return BeatScore(features, kWeights, std::size(kWeights), kBias);
}

}  // namespace uniecg
