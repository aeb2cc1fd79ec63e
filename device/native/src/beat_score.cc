#include "beat_score.h"

#include <cmath>

namespace uniecg {
namespace {

// A network of one hidden layer, fitted to candidates of half of the shared MIT-BIH records (every second by
// number, first channel), as they are and with noise added: docs/signal.md.
constexpr std::size_t kUnits = 12;
// Each: a weight for every feature, its bias, and its weight in the sum.
constexpr float kWeights[kUnits][kFeatures + 2] = {
    {-0.539F, 1.489F, -0.6368F, -0.2959F, -0.8515F, -0.006688F, 0.02782F, 0.09121F, 0.109F, 0.1787F, -1.127F,
     -1.646F, -1.098F},
    {-0.6814F, 0.5109F, -0.5576F, -0.1118F, -0.3062F, -4.978F, 0.7839F, -0.03858F, -0.02757F, 0.3355F,
     -0.6234F, -1.314F, -0.6558F},
    {0.07467F, 2.722F, 0.1527F, 0.1362F, 0.1296F, -3.657F, 0.5266F, -0.1149F, -0.3714F, -0.1256F, 0.7917F,
     -2.983F, 0.4043F},
    {0.5188F, 3.267F, -0.298F, 0.04265F, 6.227F, -1.537F, -6.042F, 0.2928F, -0.06134F, -0.06816F, -1.55F,
     -1.75F, -0.639F},
    {-0.5601F, -2.42F, -0.0293F, -0.2471F, 1.061F, -0.6988F, -1.691F, -0.1573F, 0.2139F, -0.1096F, 9.092F,
     -0.001002F, -0.8593F},
    {-0.9016F, 1.927F, -0.7047F, -0.1743F, -1.369F, -0.1065F, 0.601F, -0.03014F, 0.1398F, 0.222F, -0.1921F,
     -2.616F, -0.8187F},
    {-0.1392F, -0.8796F, 0.08927F, -0.07527F, 0.4444F, -0.7354F, -1.56F, -0.08505F, 0.4705F, 0.4469F, 5.544F,
     1.081F, -0.484F},
    {0.06495F, 1.767F, -0.05753F, -0.6303F, 3.084F, 0.2789F, -3.835F, -0.03875F, -1.4F, 0.9446F, 1.867F,
     -1.377F, -0.7793F},
    {0.1846F, -2.992F, 0.2649F, -0.6774F, 0.0122F, -0.4461F, -3.439F, -0.04329F, -0.1925F, 1.291F, 4.052F,
     4.943F, -0.7162F},
    {0.02274F, 1.818F, 0.4691F, 0.1163F, -1.101F, 0.3933F, -0.1213F, -0.04098F, -0.9729F, -0.5127F, -0.01713F,
     -1.614F, 0.8394F},
    {0.3506F, 1.13F, 0.1349F, 0.4856F, -0.2952F, -7.236F, 0.02516F, 0.0969F, 0.09282F, 0.008346F, 3.745F,
     -1.139F, 0.7949F},
    {0.06861F, -3.158F, -0.1936F, -0.2767F, -0.2412F, -5.064F, -2.56F, 0.001333F, -0.5461F, -0.3987F,
     -0.2609F, 2.928F, -1.072F}};
constexpr float kBias = -0.1043F;

}  // namespace

double BeatScore(const Features& features) {
  double sum = static_cast<double>(kBias);
  for (const auto& unit : kWeights) {
    double inside = static_cast<double>(unit[kFeatures]);
    for (std::size_t k = 0; k < kFeatures; ++k) inside += static_cast<double>(unit[k]) * features[k];
    const double tanh = 1 - 2 / (1 + std::exp(2 * inside));  // several times as fast as std::tanh
    sum += static_cast<double>(unit[kFeatures + 1]) * tanh;
  }
  return 1 / (1 + std::exp(-sum));
}

}  // namespace uniecg
