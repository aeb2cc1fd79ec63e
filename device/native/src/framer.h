// Finds frames in a byte stream and turns them into samples.
#ifndef UNIECG_FRAMER_H_
#define UNIECG_FRAMER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "grammar.h"
#include "ring.h"

namespace uniecg {

// A total that the producer alone writes and any thread reads.
class Total {
 public:
  void Add(std::uint64_t amount) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  std::uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// A valid frame that carries no samples.
struct Message {
  std::size_t length = 0;
  std::uint8_t bytes[UNIECG_MAX_MESSAGE] = {};
};

// After a false header the search goes on at the very next byte, so that a true frame inside what
// looked like another one is found. What is decided depends on the bytes alone, never on how they
// were divided between calls of Push.
class Framer {
 public:
  Framer(Grammar grammar, std::size_t ring_samples);

  void Push(const std::uint8_t* bytes, std::size_t size);
  std::size_t Available() const { return samples_.Available(); }
  std::size_t Pull(std::size_t max_samples, float* millivolts, std::int32_t* counts,
                   std::uint32_t* electrodes_off, std::uint64_t* positions);
  std::size_t PullMessage(std::uint8_t* bytes, std::size_t size);
  uniecg_counters Counters() const;

 private:
  enum class Verdict { kFrame, kUndecided, kNoHeader, kBadHeader, kBadFooter, kBadChecksum };

  Verdict Examine(const std::uint8_t* bytes, std::size_t size, std::size_t* length) const;
  Verdict ExamineWhole(const std::uint8_t* frame, std::size_t length) const;
  bool ChecksumHolds(const std::uint8_t* frame, std::size_t length) const;
  bool IsData(const std::uint8_t* frame, std::size_t length) const;
  void Scan();
  void Skip(Verdict why);
  void Accept(const std::uint8_t* frame, std::size_t length);
  void AcceptSamples(const std::uint8_t* frame, std::size_t length);
  void AcceptMessage(const std::uint8_t* frame, std::size_t length);

  const Grammar grammar_;
  std::vector<std::uint8_t> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool synchronised_ = true;  // no byte skipped since the last valid frame
  bool counting_ = false;     // a data frame has been seen, so that its counter can be compared
  std::int64_t last_counter_ = 0;
  std::uint64_t position_ = 0;

  SampleRing samples_;
  RingIndex message_index_{UNIECG_MESSAGE_QUEUE};
  std::vector<Message> messages_;

  Total bytes_, frames_, message_count_, sample_count_, skipped_, resyncs_, bad_headers_, bad_footers_,
      bad_checksums_, gaps_, lost_, overflowed_, dropped_messages_;
};

}  // namespace uniecg

#endif  // UNIECG_FRAMER_H_
