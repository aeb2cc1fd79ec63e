#include "frame_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace uniecg {

FrameReader::FrameReader(FrameGrammar grammar, const std::vector<Channel>& channels)
    : grammar_(std::move(grammar)),
      channels_(channels.size()),
      runs_(grammar_.fixed_length > 0 && grammar_.packets.size() == 1 && grammar_.samples == 1),
      constants_(grammar_.min_length),
      buffer_(std::max(4 * kMaxFrame, (grammar_.confirm + 2) * grammar_.max_length) + kPadding),
      counts_(grammar_.samples * channels_) {
  for (std::size_t p = 0; p < grammar_.packets.size(); ++p) {
    decoders_.emplace_back(channels, p, grammar_.min_length);
  }
  for (std::size_t k = 0; k < grammar_.sync.size(); ++k) {
    constants_.Add(Match{static_cast<std::int32_t>(k), 0xFF, grammar_.sync[k]});
  }
  for (const Match& match : grammar_.header) constants_.Add(match);
  for (const Match& match : grammar_.footer) constants_.Add(match);
  if (runs_) constants_.Add(grammar_.kind, static_cast<std::uint64_t>(grammar_.packets[0].kind));
  last_frame_.reserve(grammar_.max_length);
}

void FrameReader::Push(const std::uint8_t* bytes, std::size_t size, Output* output) {
  output->totals.bytes.Add(size);
  while (size > 0) {
    // What is undecided is shorter than the frames that decide it, so there is always room after moving
    // it to the front.
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    const std::size_t part = std::min(size, buffer_.size() - kPadding - end_);
    std::memcpy(buffer_.data() + end_, bytes, part);
    end_ += part;
    bytes += part;
    size -= part;
    Scan(output);
  }
}

void FrameReader::Scan(Output* output) {
  while (begin_ < end_) {
    TakeRun(output);
    Frame frame;
    Verdict verdict = Examine(buffer_.data() + begin_, end_ - begin_, &frame);
    if (verdict == Verdict::kFrame && !IsExpected(frame)) verdict = Confirm(frame, end_ - begin_);
    if (verdict == Verdict::kUndecided) return;
    if (verdict == Verdict::kFrame) {
      Accept(frame, output);
      begin_ += frame.length;
    } else {
      Skip(verdict, output);
    }
  }
}

FrameReader::Verdict FrameReader::Examine(const std::uint8_t* bytes, std::size_t size, Frame* frame) const {
  const std::size_t sync = std::min(size, grammar_.sync.size());
  if (!std::equal(bytes, bytes + sync, grammar_.sync.data())) return Verdict::kNoHeader;
  if (sync < grammar_.sync.size()) return Verdict::kUndecided;
  for (const Match& match : grammar_.header) {
    if (match.byte >= 0 && static_cast<std::size_t>(match.byte) < size && !match.Holds(bytes, size)) {
      return Verdict::kBadHeader;
    }
  }
  frame->bytes = bytes;
  frame->length = grammar_.fixed_length;
  if (grammar_.fixed_length == 0) {
    if (size < grammar_.length_end) return Verdict::kUndecided;
    const std::int64_t counted = grammar_.length.Read(bytes, size) + grammar_.length_adds;
    if (counted < static_cast<std::int64_t>(grammar_.min_length) ||
        counted > static_cast<std::int64_t>(grammar_.max_length)) {
      return Verdict::kBadHeader;
    }
    frame->length = static_cast<std::size_t>(counted);
  }
  return size < frame->length ? Verdict::kUndecided : ExamineWhole(frame);
}

FrameReader::Verdict FrameReader::ExamineWhole(Frame* frame) const {
  const auto holds = [frame](const Match& match) { return match.Holds(frame->bytes, frame->length); };
  if (!std::all_of(grammar_.header.begin(), grammar_.header.end(), holds)) return Verdict::kBadHeader;
  if (!std::all_of(grammar_.footer.begin(), grammar_.footer.end(), holds)) return Verdict::kBadFooter;
  if (!grammar_.checksum.Holds(frame->bytes, frame->length)) return Verdict::kBadChecksum;
  frame->packet = FindPacket(*frame);
  if (frame->packet == kMessage) return Verdict::kFrame;
  if (frame->length < grammar_.packets[frame->packet].needed) return Verdict::kBadHeader;
  if (grammar_.counter.present()) {
    frame->counter = grammar_.counter_field.Read(frame->bytes, frame->length);
    if (frame->counter >= grammar_.counter.modulus) return Verdict::kBadHeader;
  }
  return Verdict::kFrame;
}

std::size_t FrameReader::FindPacket(const Frame& frame) const {
  if (!grammar_.kind.present()) return 0;
  const std::int64_t kind = grammar_.kind.Read(frame.bytes, frame.length);
  for (std::size_t p = 0; p < grammar_.packets.size(); ++p) {
    if (grammar_.packets[p].kind == kind) return p;
  }
  return kMessage;
}

// How many frames after the last valid one a frame at this place is if none in between changed its
// length: 1 next to it, 0 where that is no whole number.
std::uint64_t FrameReader::Grid() const {
  if (!found_) return 0;
  if (skipped_ == 0) return 1;
  if (grammar_.fixed_length == 0 || skipped_ % grammar_.fixed_length != 0) return 0;
  return skipped_ / grammar_.fixed_length + 1;
}

bool FrameReader::IsDuplicate(const Frame& frame) const {
  return counting_ && grammar_.counter.present() && frame.counter == last_counter_ &&
         frame.length == last_frame_.size() &&
         std::memcmp(frame.bytes, last_frame_.data(), frame.length) == 0;
}

// Whether a frame is believed without looking at those that follow.
bool FrameReader::IsExpected(const Frame& frame) const {
  if (grammar_.confirm == 0) return true;
  const std::uint64_t grid = Grid();
  if (frame.packet == kMessage || !grammar_.counter.present() || !counting_) return grid == 1;
  return IsDuplicate(frame) || (grid > 0 && grammar_.counter.InStep(last_counter_, frame.counter, grid));
}

// Looks at the `confirm` frames behind one: valid, next to each other, and their counters in step. Next to
// the last valid frame, where nothing was skipped, it is enough that all together go on by less than half a
// turn: so whole frames can be missing before any of them, but no single counter can have been damaged.
FrameReader::Verdict FrameReader::Confirm(const Frame& frame, std::size_t size) const {
  const Counter& counter = grammar_.counter;
  const bool adjoins = counting_ && skipped_ == 0 && counter.present() && frame.packet != kMessage;
  std::uint64_t gone_on = adjoins ? counter.Advance(last_counter_, frame.counter) : 0;
  Frame last_data = frame;
  std::size_t offset = 0, length = frame.length;
  for (std::size_t k = 0; k < grammar_.confirm; ++k) {
    offset += length;
    if (offset >= size) return Verdict::kUndecided;
    Frame next;
    const Verdict verdict = Examine(frame.bytes + offset, size - offset, &next);
    if (verdict == Verdict::kUndecided) return verdict;
    if (verdict != Verdict::kFrame) return Verdict::kBadHeader;
    length = next.length;
    if (next.packet == kMessage) continue;
    if (counter.present() && last_data.packet != kMessage) {
      gone_on += counter.Advance(last_data.counter, next.counter);
      const bool onward = adjoins && gone_on < counter.HalfTurn();
      if (!onward && !counter.InStep(last_data.counter, next.counter, 1)) return Verdict::kBadHeader;
    }
    last_data = next;
  }
  return Verdict::kFrame;
}

void FrameReader::Skip(Verdict why, Output* output) {
  // Where nothing marks a frame's start every byte could be one; only those where one is due are counted.
  const bool counted = !grammar_.sync.empty() || Grid() > 0;
  if (counted && why == Verdict::kBadHeader) output->totals.bad_headers.Add(1);
  if (counted && why == Verdict::kBadFooter) output->totals.bad_footers.Add(1);
  if (counted && why == Verdict::kBadChecksum) output->totals.bad_checksums.Add(1);
  output->totals.skipped_bytes.Add(1);
  ++skipped_;
  ++begin_;
}

void FrameReader::Accept(const Frame& frame, Output* output) {
  // Joining a stream in the middle of a frame is no resynchronisation.
  if (found_ && skipped_ > 0) output->totals.resyncs.Add(1);
  if (frame.packet == kMessage) {
    output->AddMessage(frame.bytes, frame.length);
  } else if (IsDuplicate(frame)) {
    output->totals.duplicates.Add(1);
  } else {
    AcceptSamples(frame, output);
  }
  found_ = true;
  skipped_ = 0;
}

void FrameReader::AcceptSamples(const Frame& frame, Output* output) {
  output->totals.frames.Add(1);
  Place(frame);
  Decode(frame);
  const std::uint32_t all = (1U << grammar_.packets.size()) - 1;
  if (arrived_ == all && group_ >= first_group_) {
    output->Samples(grammar_.samples, (group_ - first_group_) * grammar_.samples,
                    [this](std::size_t first, const Slots& slots) {
                      for (std::size_t c = 0; c < channels_; ++c) {
                        std::copy_n(&counts_[c * grammar_.samples + first], slots.count,
                                    slots.counts + c * slots.row);
                      }
                      std::fill_n(slots.electrodes_off, slots.count, electrodes_off_);
                    });
  }
  counting_ = true;
  last_counter_ = frame.counter;
  if (grammar_.counter.present()) last_frame_.assign(frame.bytes, frame.bytes + frame.length);
}

// Frames from the last data frame to this one.
std::uint64_t FrameReader::Advance(const Frame& frame) const {
  if (!grammar_.counter.present()) return 1;
  const std::uint64_t grid = Grid();
  // Damaged frames that still lie in their places count also beyond the counter's modulus.
  if (grid > 0 && grammar_.counter.InStep(last_counter_, frame.counter, grid)) return grid;
  return grammar_.counter.Advance(last_counter_, frame.counter);
}

void FrameReader::Place(const Frame& frame) {
  const std::uint64_t packets = grammar_.packets.size();
  if (!counting_) {
    number_ = frame.packet;
    first_group_ = frame.packet == 0 ? 0 : 1;  // a sample whose first packets came before we did is not lost
  } else {
    number_ += Advance(frame);
    number_ += (frame.packet + packets - number_ % packets) % packets;
  }
  if (number_ / packets != group_) arrived_ = 0;
  group_ = number_ / packets;
  if (arrived_ == 0) electrodes_off_ = 0;
  arrived_ |= 1U << frame.packet;
}

void FrameReader::Decode(const Frame& frame) {
  const Decoder& decoder = decoders_[frame.packet];
  electrodes_off_ |= decoder.ElectrodesOff(frame.bytes, frame.length);
  for (std::size_t k = 0; k < grammar_.samples; ++k) {
    decoder.Read(frame.bytes + k * grammar_.stride, frame.length, 1, &counts_[k], grammar_.samples);
  }
}

// Takes the frames that follow the last one without a fault and in step, as almost all do, at once: what
// could be said of each of them, and would be by the long way, is known beforehand.
void FrameReader::TakeRun(Output* output) {
  if (!runs_ || !counting_ || skipped_ > 0) return;
  const std::uint8_t* frames = buffer_.data() + begin_;
  const std::size_t count = CountRun(frames), length = grammar_.fixed_length;
  if (count == 0) return;
  output->totals.frames.Add(count);
  output->Samples(count, number_ + 1 - first_group_, [&](std::size_t first, const Slots& slots) {
    decoders_[0].ElectrodesOff(frames + first * length, slots.count, slots.electrodes_off);
    decoders_[0].Read(frames + first * length, length, slots.count, slots.counts, slots.row);
  });
  number_ += count;
  group_ = number_;
  begin_ += count * length;
  if (!grammar_.counter.present()) return;
  const std::uint8_t* last = frames + (count - 1) * length;
  last_counter_ = grammar_.counter_field.Read(last, length);
  last_frame_.assign(last, last + length);
}

std::size_t FrameReader::CountRun(const std::uint8_t* frames) const {
  const std::size_t length = grammar_.fixed_length;
  std::size_t count = constants_.CountHolding(frames, (end_ - begin_) / length);
  if (grammar_.counter.present()) count = CountInStep(frames, count);
  if (grammar_.checksum.kind == Checksum::Kind::kNone) return count;
  std::size_t sealed = 0;
  while (sealed < count && grammar_.checksum.Holds(frames + sealed * length, length)) ++sealed;
  return sealed;
}

std::size_t FrameReader::CountInStep(const std::uint8_t* frames, std::size_t most) const {
  const std::vector<Field::Part>& parts = grammar_.counter_field.parts();
  if (parts.size() == 1 && grammar_.counter_field.sign() == 0) {  // as almost all are
    return CountInStep(frames, most, parts[0]);
  }
  return CountInStep(frames, most, grammar_.counter_field);
}

template <typename Number>
std::size_t FrameReader::CountInStep(const std::uint8_t* frames, std::size_t most,
                                     const Number& number) const {
  const std::size_t length = grammar_.fixed_length;
  const std::int64_t step = grammar_.counter.step, modulus = grammar_.counter.modulus;
  std::int64_t before = last_counter_;
  return CountRight(most, [&](std::size_t first, std::size_t last) {
    std::int64_t wrong = 0, previous = before;
    for (std::size_t k = first; k < last; ++k) {
      const std::int64_t due = previous + step;
      previous = static_cast<std::int64_t>(number.Read(frames + k * length, length));
      wrong |= previous ^ (due < modulus ? due : due - modulus);
    }
    if (wrong == 0) before = previous;
    return wrong == 0;
  });
}

}  // namespace uniecg
