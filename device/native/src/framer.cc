#include "framer.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace uniecg {

namespace {

bool Matches(const uniecg_match& match, const std::uint8_t* frame, std::size_t length) {
  return (frame[At(match.byte, length)] & match.mask) == match.value;
}

}  // namespace

Framer::Framer(Grammar grammar, std::size_t ring_samples)
    : grammar_(std::move(grammar)),
      buffer_(4 * UNIECG_MAX_FRAME),
      samples_(grammar_.channels.size(), ring_samples),
      messages_(UNIECG_MESSAGE_QUEUE) {}

void Framer::Push(const std::uint8_t* bytes, std::size_t size) {
  bytes_.Add(size);
  while (size > 0) {
    // What is undecided is shorter than a frame, so there is always room after moving it to the front.
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    const std::size_t part = std::min(size, buffer_.size() - end_);
    std::memcpy(buffer_.data() + end_, bytes, part);
    end_ += part;
    bytes += part;
    size -= part;
    Scan();
  }
}

void Framer::Scan() {
  while (begin_ < end_) {
    std::size_t length = 0;
    const Verdict verdict = Examine(buffer_.data() + begin_, end_ - begin_, &length);
    if (verdict == Verdict::kUndecided) return;
    if (verdict == Verdict::kFrame) {
      Accept(buffer_.data() + begin_, length);
      begin_ += length;
    } else {
      Skip(verdict);
    }
  }
}

Framer::Verdict Framer::Examine(const std::uint8_t* bytes, std::size_t size, std::size_t* length) const {
  const std::size_t sync = std::min(size, grammar_.sync.size());
  if (std::memcmp(bytes, grammar_.sync.data(), sync) != 0) return Verdict::kNoHeader;
  if (sync < grammar_.sync.size()) return Verdict::kUndecided;
  for (const uniecg_match& match : grammar_.header) {
    if (match.byte >= 0 && static_cast<std::size_t>(match.byte) < size && !Matches(match, bytes, size)) {
      return Verdict::kBadHeader;
    }
  }
  *length = grammar_.fixed_length;
  if (grammar_.fixed_length == 0) {
    if (size < grammar_.length_end) return Verdict::kUndecided;
    const std::int64_t counted = grammar_.length.Read(bytes, size) + grammar_.length_adds;
    if (counted < static_cast<std::int64_t>(grammar_.min_length) ||
        counted > static_cast<std::int64_t>(grammar_.max_length)) {
      return Verdict::kBadHeader;
    }
    *length = static_cast<std::size_t>(counted);
  }
  return size < *length ? Verdict::kUndecided : ExamineWhole(bytes, *length);
}

Framer::Verdict Framer::ExamineWhole(const std::uint8_t* frame, std::size_t length) const {
  for (const uniecg_match& match : grammar_.header) {
    if (!Matches(match, frame, length)) return Verdict::kBadHeader;
  }
  for (const uniecg_match& match : grammar_.footer) {
    if (!Matches(match, frame, length)) return Verdict::kBadFooter;
  }
  if (!ChecksumHolds(frame, length)) return Verdict::kBadChecksum;
  if (grammar_.counter.present() && IsData(frame, length) &&
      grammar_.counter.Read(frame, length) >= grammar_.counter_modulus) {
    return Verdict::kBadHeader;
  }
  return Verdict::kFrame;
}

bool Framer::ChecksumHolds(const std::uint8_t* frame, std::size_t length) const {
  const uniecg_checksum& checksum = grammar_.checksum;
  if (checksum.kind == UNIECG_CHECKSUM_NONE) return true;
  const std::size_t last = At(checksum.last, length);
  unsigned total = 0;
  for (std::size_t i = At(checksum.first, length); i <= last; ++i) {
    total = checksum.kind == UNIECG_CHECKSUM_SUM8 ? total + frame[i] : total ^ frame[i];
  }
  if (checksum.invert != 0) total = ~total;
  return (total & 0xFF) == frame[At(checksum.byte, length)];
}

bool Framer::IsData(const std::uint8_t* frame, std::size_t length) const {
  return !grammar_.kind.present() || grammar_.kind.Read(frame, length) == grammar_.data_kind;
}

void Framer::Skip(Verdict why) {
  ++begin_;
  skipped_.Add(1);
  synchronised_ = false;
  if (why == Verdict::kBadHeader) bad_headers_.Add(1);
  if (why == Verdict::kBadFooter) bad_footers_.Add(1);
  if (why == Verdict::kBadChecksum) bad_checksums_.Add(1);
}

void Framer::Accept(const std::uint8_t* frame, std::size_t length) {
  // Joining a stream in the middle of a frame is no resynchronisation.
  const bool first = frames_.Get() + message_count_.Get() == 0;
  if (!synchronised_ && !first) resyncs_.Add(1);
  synchronised_ = true;
  if (IsData(frame, length)) {
    AcceptSamples(frame, length);
  } else {
    AcceptMessage(frame, length);
  }
}

void Framer::AcceptSamples(const std::uint8_t* frame, std::size_t length) {
  frames_.Add(1);
  if (grammar_.counter.present()) {
    const std::int64_t counter = grammar_.counter.Read(frame, length);
    const std::int64_t modulus = grammar_.counter_modulus;
    const std::int64_t missing = counting_ ? (counter - last_counter_ - 1 + modulus) % modulus : 0;
    if (missing > 0) {
      const std::uint64_t lost = static_cast<std::uint64_t>(missing) * grammar_.samples_per_frame;
      gaps_.Add(1);
      lost_.Add(lost);
      position_ += lost;
    }
    last_counter_ = counter;
    counting_ = true;
  }
  std::uint32_t electrodes_off = 0;
  for (std::size_t c = 0; c < grammar_.channels.size(); ++c) {
    const Channel& channel = grammar_.channels[c];
    if (channel.electrode.present() && channel.electrode.Read(frame, length) != channel.electrode_on) {
      electrodes_off |= std::uint32_t{1} << c;
    }
  }
  std::int32_t counts[UNIECG_MAX_CHANNELS];
  for (std::size_t k = 0; k < grammar_.samples_per_frame; ++k) {
    for (std::size_t c = 0; c < grammar_.channels.size(); ++c) {
      const Field& value = grammar_.channels[c].value;
      counts[c] = static_cast<std::int32_t>(value.Read(frame, length, k * grammar_.sample_stride));
    }
    if (!samples_.Write(counts, electrodes_off, position_)) overflowed_.Add(1);
    ++position_;
  }
  sample_count_.Add(grammar_.samples_per_frame);
}

void Framer::AcceptMessage(const std::uint8_t* frame, std::size_t length) {
  message_count_.Add(1);
  if (message_index_.Full()) {
    dropped_messages_.Add(1);
    return;
  }
  Message& message = messages_[message_index_.WriteSlot()];
  message.length = std::min<std::size_t>(length, UNIECG_MAX_MESSAGE);
  std::memcpy(message.bytes, frame, message.length);
  message_index_.Publish();
}

std::size_t Framer::Pull(std::size_t max_samples, float* millivolts, std::int32_t* counts,
                         std::uint32_t* electrodes_off, std::uint64_t* positions) {
  return samples_.Read(
      max_samples, [&](std::size_t k, const std::int32_t* values, std::uint32_t off, std::uint64_t position) {
        for (std::size_t c = 0; c < grammar_.channels.size(); ++c) {
          const Channel& channel = grammar_.channels[c];
          if (counts != nullptr) counts[c * max_samples + k] = values[c];
          if (millivolts != nullptr) {
            millivolts[c * max_samples + k] =
                static_cast<float>((values[c] - channel.offset) * channel.mv_per_count);
          }
        }
        if (electrodes_off != nullptr) electrodes_off[k] = off;
        if (positions != nullptr) positions[k] = position;
      });
}

std::size_t Framer::PullMessage(std::uint8_t* bytes, std::size_t size) {
  if (message_index_.Available() == 0) return 0;
  const Message& message = messages_[message_index_.ReadSlot(0)];
  const std::size_t length = message.length;
  if (bytes != nullptr) std::memcpy(bytes, message.bytes, std::min(length, size));
  message_index_.Release(1);
  return length;
}

uniecg_counters Framer::Counters() const {
  return {bytes_.Get(),   frames_.Get(),      message_count_.Get(),   sample_count_.Get(),  skipped_.Get(),
          resyncs_.Get(), bad_headers_.Get(), bad_footers_.Get(),     bad_checksums_.Get(), gaps_.Get(),
          lost_.Get(),    overflowed_.Get(),  dropped_messages_.Get()};
}

}  // namespace uniecg
