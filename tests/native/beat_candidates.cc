// What the beat detector judges, for who fits its network: uniecg_beat_candidates RATE LEADS [NETWORK]
//
// Reads float32 mV from its input, all samples of a lead before the next lead's, and writes a row of float64
// for every peak that was judged: its sample, the sample of the beat it was found to be or -1, and its
// features. NETWORK: a file of float32, the bias and then each unit's weights; without it the detector's own
// judges.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <tuple>
#include <vector>

#include "beats.h"

namespace {

using uniecg::Features;
using uniecg::Unit;

std::vector<float> ReadAll(std::FILE* file) {
  std::vector<float> values;
  float part[4096];
  for (std::size_t count; (count = std::fread(part, sizeof(float), 4096, file)) > 0;) {
    values.insert(values.end(), part, part + count);
  }
  return values;
}

struct Network {
  float bias = 0;
  std::vector<Unit> units;
};

Network ReadNetwork(const char* path) {
  Network network;
  std::FILE* const file = std::fopen(path, "rb");
  if (file == nullptr) return network;
  const std::vector<float> values = ReadAll(file);
  std::fclose(file);
  if (!values.empty()) network.bias = values[0];
  for (std::size_t k = 1; k + std::tuple_size<Unit>::value <= values.size();
       k += std::tuple_size<Unit>::value) {
    network.units.emplace_back();
    std::copy_n(&values[k], std::tuple_size<Unit>::value, network.units.back().begin());
  }
  return network;
}

struct Row {
  double sample, beat;
  Features features;
};

class Onlooker : public uniecg::BeatDetector {
 public:
  Onlooker(double rate, std::size_t leads, Network network)
      : BeatDetector(rate, leads), network_(std::move(network)) {}

  // As Push, and writes what was judged.
  void PushAndWrite(const float* millivolts, std::size_t samples, std::size_t row) {
    Push(millivolts, samples, row);
    uniecg_beat beats[UNIECG_BEAT_QUEUE];
    Pull(beats, UNIECG_BEAT_QUEUE);
    const uniecg_beat* beat = beats;
    for (Row& one : judged_) {
      if (one.beat > 0) one.beat = static_cast<double>((beat++)->position);
    }
    std::fwrite(judged_.data(), sizeof(Row), judged_.size(), stdout);
    judged_.clear();
  }

 protected:
  double Judge(double sample, const Features& features) override {
    const double score = network_.units.empty() ? BeatDetector::Judge(sample, features)
                                                : uniecg::BeatScore(features, network_.units.data(),
                                                                    network_.units.size(), network_.bias);
    judged_.push_back({sample, score >= 0.5 ? 1.0 : -1.0, features});
    return score;
  }

 private:
  const Network network_;
  std::vector<Row> judged_;
};

}  // namespace

int main(int argc, char** argv) {
  const double rate = argc > 1 ? std::atof(argv[1]) : 0;
  const long leads = argc > 2 ? std::atol(argv[2]) : 0;
  const Network network = argc > 3 ? ReadNetwork(argv[3]) : Network();
  if (argc > 4 || !(rate >= 50 && rate <= 10000) || leads < 1 || leads > 32 ||
      (argc > 3 && network.units.empty())) {
    std::fputs("usage: uniecg_beat_candidates RATE LEADS [NETWORK] < float32 > float64\n", stderr);
    return 2;
  }
  const std::vector<float> signal = ReadAll(stdin);
  const auto width = static_cast<std::size_t>(leads);
  const std::size_t samples = signal.size() / width;
  const auto part = static_cast<std::size_t>(5 * rate);  // short enough that the queue holds its beats
  Onlooker onlooker(rate, width, network);
  for (std::size_t first = 0; first < samples; first += part) {
    onlooker.PushAndWrite(signal.data() + first, std::min(part, samples - first), samples);
  }
  return 0;
}
