// Finds frames in a byte stream and turns them into samples.
#ifndef UNIECG_FRAME_READER_H_
#define UNIECG_FRAME_READER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "decoder.h"
#include "grammar.h"
#include "output.h"

namespace uniecg {

// After a false header the search goes on at the very next byte, so that a true frame inside what
// looked like another one is found. What is decided depends on the bytes alone, never on how they
// were divided between calls of Push.
class FrameReader {
 public:
  FrameReader(FrameGrammar grammar, const std::vector<Channel>& channels);

  void Push(const std::uint8_t* bytes, std::size_t size, Output* output);

 private:
  enum class Verdict { kFrame, kUndecided, kNoHeader, kBadHeader, kBadFooter, kBadChecksum };
  static constexpr std::size_t kMessage = ~std::size_t{0};

  // A stretch of bytes that obeys the grammar.
  struct Frame {
    const std::uint8_t* bytes = nullptr;
    std::size_t length = 0;
    std::size_t packet = 0;  // or kMessage
    std::int64_t counter = 0;
  };

  Verdict Examine(const std::uint8_t* bytes, std::size_t size, Frame* frame) const;
  Verdict ExamineWhole(Frame* frame) const;
  std::size_t FindPacket(const Frame& frame) const;
  std::uint64_t Grid() const;
  bool IsExpected(const Frame& frame) const;
  bool IsDuplicate(const Frame& frame) const;
  Verdict Confirm(const Frame& frame, std::size_t size) const;
  void Scan(Output* output);
  void Skip(Verdict why, Output* output);
  void Accept(const Frame& frame, Output* output);
  void AcceptSamples(const Frame& frame, Output* output);
  std::uint64_t Advance(const Frame& frame) const;
  void Place(const Frame& frame);
  void Decode(const Frame& frame);
  void TakeRun(Output* output);
  std::size_t CountRun(const std::uint8_t* frames) const;
  std::size_t CountInStep(const std::uint8_t* frames, std::size_t most) const;
  // `number`: what Reads the counter.
  template <typename Number>
  std::size_t CountInStep(const std::uint8_t* frames, std::size_t most, const Number& number) const;

  const FrameGrammar grammar_;
  const std::size_t channels_;
  std::vector<Decoder> decoders_;  // one a packet
  const bool runs_;                // whether frames are alike and one makes one sample
  Pattern constants_;              // of such frames
  std::vector<std::uint8_t> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;

  bool found_ = false;         // a valid frame has been seen
  std::uint64_t skipped_ = 0;  // bytes since the last valid frame
  // The last data frame.
  bool counting_ = false;
  std::int64_t last_counter_ = 0;
  std::vector<std::uint8_t> last_frame_;

  // The sample being put together. Frames are numbered by their counter so that number = packet
  // modulo the number of packets; a group of as many frames makes the samples.
  std::uint64_t number_ = 0;
  std::uint64_t first_group_ = 0;
  std::uint64_t group_ = 0;
  std::uint32_t arrived_ = 0;         // packets of the group, as bits
  std::vector<std::int32_t> counts_;  // of channel c, sample k at [c * samples + k]
  std::uint32_t electrodes_off_ = 0;
};

}  // namespace uniecg

#endif  // UNIECG_FRAME_READER_H_
