#include "shapes.h"

#include <algorithm>
#include <cmath>

namespace uniecg {
namespace {

constexpr double kSame = 0.75;  // correlation from which a beat belongs to a shape
constexpr std::uint64_t kRemember = 8, kRememberNoisy = 64;  // beats in a shape's mean

}  // namespace

Shapes::Shapes(std::size_t leads, std::size_t length) : length_(length), stretch_(length + kShifts) {
  for (Shape& shape : shapes_) shape.values.resize(leads * kBands * length);
}

void Shapes::Match(const std::vector<LeadSlope>& leads, const std::vector<double>& gains,
                   std::uint64_t begin) {
  own_ = {};
  for (Shape& shape : shapes_) shape.own = 0, shape.products = {};
  for (std::size_t view = 0; view < gains.size(); ++view) {
    if (gains[view] <= 0) continue;
    const History<Bands<float>>& shaped = leads[view / kBands].shaped;
    for (std::size_t k = 0; k < stretch_.size(); ++k) stretch_[k] = shaped[begin - kSlack + k][view % kBands];
    AddOwn(gains[view]);
    for (Shape& shape : shapes_) {
      if (shape.beats > 0) AddProducts(gains[view], shape.values.data() + view * length_, &shape);
    }
  }
  similarity_ = -1;
  size_ = 0;
  begin_ = begin;
  for (std::size_t s = 0; s < kShapes; ++s) {
    for (std::size_t shift = 0; shift < kShifts; ++shift) {
      const double product = shapes_[s].products[shift], own = own_[shift] * shapes_[s].own;
      const double similarity = own > 0 ? product / std::sqrt(own) : -1;
      if (similarity <= similarity_) continue;
      similarity_ = similarity;
      size_ = product / shapes_[s].own;
      nearest_ = s;
      begin_ = begin - kSlack + shift;
    }
  }
}

// The stretch's energy at each shift: what comes in at one end less what goes out at the other.
void Shapes::AddOwn(double gain) {
  const auto square = [&](std::size_t k) { return gain * static_cast<double>(stretch_[k] * stretch_[k]); };
  double sum = 0;
  for (std::size_t k = 0; k < length_; ++k) sum += square(k);
  for (std::size_t shift = 0; shift < kShifts; ++shift) {
    own_[shift] += sum;
    sum += square(shift + length_) - square(shift);
  }
}

void Shapes::AddProducts(double gain, const float* values, Shape* shape) const {
  std::array<float, kShifts> products{};
  float own = 0;
  for (std::size_t k = 0; k < length_; ++k) {
    for (std::size_t shift = 0; shift < kShifts; ++shift) products[shift] += values[k] * stretch_[k + shift];
    own += values[k] * values[k];
  }
  for (std::size_t shift = 0; shift < kShifts; ++shift) {
    shape->products[shift] += gain * static_cast<double>(products[shift]);
  }
  shape->own += gain * static_cast<double>(own);
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
  const float share = 1 / static_cast<float>(std::min(shape.beats, noisy ? kRememberNoisy : kRemember));
  float* values = shape.values.data();
  for (const LeadSlope& lead : leads) {
    for (std::size_t b = 0; b < kBands; ++b) {
      for (std::size_t k = 0; k < length_; ++k) values[k] += share * (lead.shaped[begin_ + k][b] - values[k]);
      values += length_;
    }
  }
}

}  // namespace uniecg
