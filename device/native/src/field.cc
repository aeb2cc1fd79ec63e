#include "field.h"

namespace uniecg {

Field::Field(const std::vector<Bits>& runs, bool is_signed) {
  // From the least significant run, so that the place of each is known when it is reached.
  for (std::size_t k = runs.size(); k > 0;) {
    Bits first = runs[--k];
    unsigned width = first.high - first.low + 1;
    while (k > 0 && first.high == 7 && runs[k - 1].low == 0 && runs[k - 1].byte == first.byte - 1 &&
           (first.byte < 0) == (runs[k - 1].byte < 0)) {
      first = runs[--k];
      width += first.high - first.low + 1;
    }
    const unsigned lowest =
        57 + first.high - width;  // where the part ends in the word loaded at its first byte
    parts_.push_back({first.byte, (lowest - width_) & 63U, ((std::uint64_t{1} << width) - 1) << width_});
    width_ += width;
  }
  if (is_signed && width_ > 0) sign_ = std::uint64_t{1} << (width_ - 1);
}

}  // namespace uniecg
