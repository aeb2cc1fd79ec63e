// The filters of electrocardiographs: second-order sections designed for any rate, causal and zero phase.
#ifndef UNIECG_FILTERS_H_
#define UNIECG_FILTERS_H_

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace uniecg {

constexpr double kMinRate = 50, kMaxRate = 10000;  // Hz

// Throws std::invalid_argument unless a signal of this rate and width can be worked on.
void CheckSignal(double rate, std::size_t channels);

// (b0 + b1/z + b2/z2) / (1 + a1/z + a2/z2)
struct Section {
  double b0, b1, b2, a1, a2;
};
using Sections = std::vector<Section>;

enum class Pass { kLow, kHigh };

// Butterworth by the bilinear transform, its edge of -3 dB exactly at `hz`.
Sections Butterworth(Pass pass, std::size_t order, double hz, double rate);
// Zero at `hz`, `hz / quality` wide at -3 dB.
Section Notch(double hz, double quality, double rate);
// Seconds by which a cascade delays a component of `hz`.
double GroupDelay(const Sections& sections, double hz, double rate);

// Cascades of equal length at work side by side, each on a signal of its own (transposed direct form II).
template <std::size_t kLanes>
class Cascade {
 public:
  using Values = std::array<double, kLanes>;

  explicit Cascade(const std::array<Sections, kLanes>& sections) : stages_(sections[0].size()) {
    for (std::size_t k = 0; k < stages_.size(); ++k) {
      for (std::size_t i = 0; i < kLanes; ++i) stages_[k].Take(sections[i][k], i);
    }
  }

  // As if the input had been `values` for ever.
  void Settle(Values values) {
    for (Stage& s : stages_) {
      for (std::size_t i = 0; i < kLanes; ++i) {
        const double out = values[i] * (s.b0[i] + s.b1[i] + s.b2[i]) / (1 + s.a1[i] + s.a2[i]);
        s.first[i] = out - s.b0[i] * values[i];
        s.second[i] = s.b2[i] * values[i] - s.a2[i] * out;
        values[i] = out;
      }
    }
  }
  Values Next(Values values) {
    for (Stage& s : stages_) {
      for (std::size_t i = 0; i < kLanes; ++i) {
        const double in = values[i], out = s.b0[i] * in + s.first[i];
        s.first[i] = s.b1[i] * in - s.a1[i] * out + s.second[i];
        s.second[i] = s.b2[i] * in - s.a2[i] * out;
        values[i] = out;
      }
    }
    return values;
  }

 private:
  struct Stage {
    Values b0, b1, b2, a1, a2, first{}, second{};
    void Take(const Section& s, std::size_t i) {
      b0[i] = s.b0, b1[i] = s.b1, b2[i] = s.b2, a1[i] = s.a1, a2[i] = s.a2;
    }
  };
  std::vector<Stage> stages_;
};

// One of the named filters, for a number of channels. Push continues a stream; Window takes a finished one.
class Filter {
 public:
  // band: "monitor" 0.5-40 Hz, "diagnostic" 0.05-150 Hz or "st" 0.05-40 Hz, the upper edge at most
  // kHighestShare of the rate; mains: 0, 50 or 60 Hz. Throws std::invalid_argument.
  Filter(std::string_view band, int mains, double rate, std::size_t channels);
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  std::size_t channels() const { return channels_.size(); }
  const std::string& Label(bool zero_phase) const { return zero_phase ? zero_phase_label_ : label_; }
  // Whether ST levels may be read from the result: not behind a causal high-pass above 0.05 Hz.
  bool StSafe(bool zero_phase) const { return zero_phase || low_ <= 0.05; }
  // Of one pass: zero phase takes two.
  const Sections& Design(bool zero_phase) const { return zero_phase ? half_ : whole_; }
  double Delay(double hz) const { return GroupDelay(whole_, hz, rate_); }

  // Channel c, sample k at [c * samples + k]; `out` may be `in`. What is not finite comes out as NaN, and the
  // first sample after it finds the filter settled at its level.
  void Push(const float* in, std::size_t samples, float* out);
  void Restart();
  // Forwards and backwards, with the signal continued at both ends. NaN is bridged by straight lines for
  // its neighbours' sake, and NaN again in the result.
  void Window(const float* in, std::size_t samples, float* out) const;

 private:
  struct Channel {
    Cascade<1> cascade;
    bool settled = false;
  };
  void WindowOf(const float* in, std::size_t samples, float* out, std::vector<double>* work) const;

  double rate_, low_;
  std::string label_, zero_phase_label_;
  Sections whole_, half_;  // the causal filter, and the one that passes twice
  std::vector<Channel> channels_;
};

}  // namespace uniecg

#endif  // UNIECG_FILTERS_H_
