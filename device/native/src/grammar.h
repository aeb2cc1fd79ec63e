// What a device sends, read from a profile's JSON form and checked: every byte that a grammar names
// exists in every frame that it accepts.
#ifndef UNIECG_GRAMMAR_H_
#define UNIECG_GRAMMAR_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "checksum.h"
#include "field.h"

namespace uniecg {

constexpr std::size_t kMaxFrame = 4096;  // bytes
constexpr std::size_t kMaxLine = 4096;

// How the counter of data frames goes on.
struct Counter {
  std::int64_t modulus = 0;  // 0: there is none
  std::int64_t step = 1;     // from one frame to the next

  bool present() const { return modulus != 0; }
  // Frames from the one that counted `from` to the one that counts `to`, at least 1.
  std::uint64_t Advance(std::int64_t from, std::int64_t to) const;
  // Frames after which back and forth cannot be told apart.
  std::uint64_t HalfTurn() const { return static_cast<std::uint64_t>(modulus / step / 2); }
  // Whether `to` is what stands `frames` after `from`, to within half a step.
  bool InStep(std::int64_t from, std::int64_t to, std::uint64_t frames) const;
};

// One kind of data frame. A sample is made of one frame of each.
struct Packet {
  std::int64_t kind = 0;
  std::size_t needed = 0;  // bytes that its fields reach to
};

struct FrameGrammar {
  std::vector<std::uint8_t> sync;
  std::size_t fixed_length = 0;  // 0: counted
  Field length;
  std::size_t length_end = 0;  // bytes needed to read `length`
  std::int64_t length_adds = 0;
  std::size_t min_length = 0;
  std::size_t max_length = 0;
  std::vector<Match> header;
  std::vector<Match> footer;
  Checksum checksum;
  Field kind;  // absent: all frames are of the only packet
  std::vector<Packet> packets;
  Field counter_field;
  Counter counter;
  std::size_t samples = 1;  // per frame
  std::size_t stride = 0;   // bytes from one sample of a frame to the next
  std::size_t confirm = 0;  // frames that must follow before one out of step is believed
};

struct LineGrammar {
  char separator = ',';
  std::size_t columns = 1;
  std::size_t max_length = 0;  // of a line without its \n
  bool has_off = false;
  std::string off;
  std::size_t counter_column = 0;
  Counter counter;
};

struct Channel {
  std::string lead;
  double offset = 0;  // counts
  double mv_per_count = 0;
  Field value;                   // in frames
  std::vector<Match> electrode;  // on while all hold
  std::size_t packet = 0;
  std::size_t column = 0;  // in lines
};

struct Grammar {
  double fs = 0;  // Hz
  std::variant<FrameGrammar, LineGrammar> layout;
  std::vector<Channel> channels;
};

// Throws std::invalid_argument with one sentence that begins with the path of what is wrong.
Grammar ReadGrammar(std::string_view json);

}  // namespace uniecg

#endif  // UNIECG_GRAMMAR_H_
