// The shapes of the last beats, to compare a candidate with.
#ifndef UNIECG_SHAPES_H_
#define UNIECG_SHAPES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lead_slope.h"

namespace uniecg {

// A shape is a short stretch of the band-passed traces of all leads, the mean of the beats that resembled it.
// Two are kept: a heart with ectopic beats has two.
class Shapes {
 public:
  Shapes(std::size_t leads, std::size_t length);

  std::size_t length() const { return length_; }
  bool empty() const { return learnt_ == 0; }
  // Looks for the shapes in what begins within kSlack work samples of `begin`; gains: of band b of lead l at
  // [l * kBands + b], 0 where it does not count.
  void Match(const std::vector<LeadSlope>& leads, const std::vector<double>& gains, std::uint64_t begin);
  double similarity() const { return similarity_; }  // greatest correlation found, -1..1
  double size() const { return size_; }              // how much of that shape was there, 1 as much as usual
  // Takes what Match found for a beat's. What is noisy makes no new shape and changes a known one little.
  void Learn(const std::vector<LeadSlope>& leads, bool noisy);

 private:
  static constexpr std::size_t kShapes = 2;
  static constexpr std::size_t kSlack = 8, kShifts = 2 * kSlack + 1;
  struct Shape {
    std::uint64_t matched = 0;  // the number of the beat that did last
    std::uint64_t beats = 0;
    std::vector<float> values;               // of band b of lead l: [(l * kBands + b) * length + k]
    double own = 0;                          // gains times squares
    std::array<double, kShifts> products{};  // with the stretch, of every shift
  };

  void AddOwn(double gain);
  void AddProducts(double gain, const float* values, Shape* shape) const;

  std::size_t length_;
  std::array<Shape, kShapes> shapes_;
  std::vector<float> stretch_;         // of one band, with slack on both sides
  std::array<double, kShifts> own_{};  // of the stretch, of every shift
  std::uint64_t learnt_ = 0;
  std::size_t nearest_ = 0;
  double similarity_ = 0, size_ = 1;
  std::uint64_t begin_ = 0;
};

}  // namespace uniecg

#endif  // UNIECG_SHAPES_H_
