// Sampling at another rate, a ratio of whole numbers: a polyphase low-pass of finite length.
#ifndef UNIECG_RESAMPLER_H_
#define UNIECG_RESAMPLER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace uniecg {

// Output m is the signal at the time of input m * down / up, so nothing is shifted; it comes once the input
// Latency() samples later has arrived. Before its first and behind its last sample the signal stands still.
class Resampler {
 public:
  static constexpr std::uint32_t kMaxFactor = 4096;

  // Throws std::invalid_argument for factors outside 1..kMaxFactor or no channels.
  Resampler(std::uint32_t up, std::uint32_t down, std::size_t channels);

  std::size_t channels() const { return channels_; }
  std::size_t Latency() const { return half_; }  // input samples
  // Outputs that Push of so many samples, or Finish, has for all channels.
  std::size_t Due(std::size_t samples) const { return OutputsBelow(taken_ + samples, half_) - given_; }
  std::size_t DueAtEnd() const { return taken_ == 0 ? 0 : OutputsBelow(taken_, 0) - given_; }

  // in: channel c, sample k at [c * samples + k]; out: [c * Due(samples) + k]. A sample that is not finite
  // makes the outputs that depend on it NaN.
  void Push(const float* in, std::size_t samples, float* out);
  void Finish(float* out);  // out: [c * DueAtEnd() + k]; the next Push begins a new signal

 private:
  static constexpr std::size_t kPart = 256;  // inputs taken at once

  std::size_t OutputsBelow(std::uint64_t inputs, std::size_t reach) const;
  template <typename Fill>
  void Take(std::size_t count, float* out, std::size_t row, std::size_t* column, const Fill& fill);
  double* Row(std::size_t channel) { return buffer_.data() + channel * row_; }

  std::uint32_t up_, down_;
  std::size_t channels_;
  std::size_t half_;          // inputs that an output needs on each side
  std::vector<double> taps_;  // of phase p: [p * 2 half_ + j]
  std::size_t row_;
  std::vector<double> buffer_;  // the last 2 half_ inputs, then the part being taken
  std::uint64_t taken_ = 0, given_ = 0;
};

}  // namespace uniecg

#endif  // UNIECG_RESAMPLER_H_
