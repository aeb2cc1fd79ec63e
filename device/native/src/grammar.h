// A frame grammar that has been copied and checked: every byte it names exists in every frame it accepts.
#ifndef UNIECG_GRAMMAR_H_
#define UNIECG_GRAMMAR_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "uniecg.h"

namespace uniecg {

// Bit runs of a frame, joined most significant first.
class Field {
 public:
  Field() = default;
  explicit Field(const uniecg_field& field);

  bool present() const { return !runs_.empty(); }
  unsigned width() const { return width_; }
  const std::vector<uniecg_bits>& runs() const { return runs_; }

  // Reads from a frame of `length` bytes; `shift` moves every byte on, for later samples of a frame.
  std::int64_t Read(const std::uint8_t* frame, std::size_t length, std::size_t shift = 0) const;

 private:
  std::vector<uniecg_bits> runs_;
  unsigned width_ = 0;
  bool is_signed_ = false;
};

struct Channel {
  Field value;
  Field electrode;
  std::int64_t electrode_on = 1;
  double offset = 0;
  double mv_per_count = 0;
};

struct Grammar {
  // Throws std::invalid_argument with one sentence where `grammar` contradicts itself.
  explicit Grammar(const uniecg_grammar& grammar);

  std::vector<std::uint8_t> sync;
  std::size_t fixed_length = 0;
  Field length;
  std::size_t length_end = 0;  // bytes needed to read `length`
  std::int64_t length_adds = 0;
  std::size_t min_length = 0;
  std::size_t max_length = 0;
  std::vector<uniecg_match> header;
  std::vector<uniecg_match> footer;
  uniecg_checksum checksum{};
  Field kind;
  std::int64_t data_kind = 0;
  Field counter;
  std::int64_t counter_modulus = 0;
  std::vector<Channel> channels;
  std::size_t samples_per_frame = 1;
  std::size_t sample_stride = 0;
};

// Index of `byte` in a frame of `length` bytes; negative ones count from the end.
inline std::size_t At(std::int32_t byte, std::size_t length) {
  return byte >= 0 ? static_cast<std::size_t>(byte) : length - static_cast<std::size_t>(-byte);
}

}  // namespace uniecg

#endif  // UNIECG_GRAMMAR_H_
