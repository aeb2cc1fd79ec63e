#include "shapes.h"

#include <algorithm>
#include <cmath>

namespace uniecg {
namespace {

constexpr double kSame = 0.75;  // correlation from which a beat belongs to a shape
constexpr std::uint64_t kRemember = 8, kRememberNoisy = 64;  // beats in a shape's mean

// Four sums side by side, which do not wait for each other.
double Dot(const double* a, const double* b, std::size_t length) {
  double sums[4] = {};
  std::size_t k = 0;
  for (; k + 4 <= length; k += 4) {
    for (std::size_t j = 0; j < 4; ++j) sums[j] += a[k + j] * b[k + j];
  }
  for (; k < length; ++k) sums[0] += a[k] * b[k];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace

Shapes::Shapes(std::size_t leads, std::size_t length)
    : length_(length),
      shapes_(kShapes),
      stretch_(length + 2 * kSlack),
      products_(kShapes * (2 * kSlack + 1)),
      own_(2 * kSlack + 1) {
  for (Shape& shape : shapes_) shape.values.resize(leads * WorkRate::kBands * length);
}

void Shapes::Match(const std::vector<LeadSlope>& leads, const std::vector<double>& gains,
                   std::uint64_t begin) {
  constexpr std::size_t kShifts = 2 * kSlack + 1;
  std::fill(products_.begin(), products_.end(), 0.0);
  std::fill(own_.begin(), own_.end(), 0.0);
  double known[kShapes] = {};
  for (std::size_t view = 0; view < gains.size(); ++view) {
    if (gains[view] <= 0) continue;
    const History<float>& shaped = leads[view / WorkRate::kBands].bands[view % WorkRate::kBands].shaped;
    for (std::size_t k = 0; k < stretch_.size(); ++k) stretch_[k] = shaped[begin - kSlack + k];
    for (std::size_t shift = 0; shift < kShifts; ++shift) {
      const double* const values = stretch_.data() + shift;
      own_[shift] += gains[view] * Dot(values, values, length_);
      for (std::size_t s = 0; s < kShapes; ++s) {
        if (shapes_[s].beats == 0) continue;
        const double* const shape = shapes_[s].values.data() + view * length_;
        products_[s * kShifts + shift] += gains[view] * Dot(values, shape, length_);
        if (shift == 0) known[s] += gains[view] * Dot(shape, shape, length_);
      }
    }
  }
  similarity_ = -1;
  size_ = 0;
  begin_ = begin;
  for (std::size_t s = 0; s < kShapes; ++s) {
    for (std::size_t shift = 0; shift < kShifts; ++shift) {
      const double product = products_[s * kShifts + shift];
      const double similarity = own_[shift] * known[s] > 0 ? product / std::sqrt(own_[shift] * known[s]) : -1;
      if (similarity <= similarity_) continue;
      similarity_ = similarity;
      size_ = product / known[s];
      nearest_ = s;
      begin_ = begin - kSlack + shift;
    }
  }
}

void Shapes::Learn(const std::vector<LeadSlope>& leads, bool noisy) {
  if (noisy && !empty() && similarity_ < kSame) return;
  ++learnt_;
  if (similarity_ < kSame) {
    nearest_ = shapes_[0].matched <= shapes_[1].matched ? 0 : 1;
    shapes_[nearest_].beats = 0;
  }
  Shape& shape = shapes_[nearest_];
  shape.matched = learnt_;
  ++shape.beats;
  const double share = 1 / static_cast<double>(std::min(shape.beats, noisy ? kRememberNoisy : kRemember));
  double* values = shape.values.data();
  for (const LeadSlope& lead : leads) {
    for (const BandSlope& band : lead.bands) {
      for (std::size_t k = 0; k < length_; ++k) values[k] += share * (band.shaped[begin_ + k] - values[k]);
      values += length_;
    }
  }
}

void Shapes::Clear() {
  for (Shape& shape : shapes_) shape.beats = shape.matched = 0;
  learnt_ = 0;
}

}  // namespace uniecg
