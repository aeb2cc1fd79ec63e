#include "grammar.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace uniecg {
namespace {

[[noreturn]] void Refuse(const std::string& sentence) { throw std::invalid_argument(sentence); }

void CheckByte(const std::string& what, std::int32_t byte, std::size_t extra, std::size_t min_length) {
  const std::int64_t frame = static_cast<std::int64_t>(min_length);
  const std::int64_t last = static_cast<std::int64_t>(byte) + static_cast<std::int64_t>(extra);
  const bool inside = byte >= 0 ? last < frame : byte >= -frame && last < 0;
  if (!inside) {
    Refuse(what + " reads byte " + std::to_string(byte) + (extra ? " and on" : "") + ", outside a frame of " +
           std::to_string(min_length) + " bytes");
  }
}

void CheckField(const std::string& what, const Field& field, std::size_t extra, std::size_t min_length) {
  for (const uniecg_bits& run : field.runs()) CheckByte(what, run.byte, extra, min_length);
}

void CheckUnsigned(const std::string& what, const Field& field, unsigned max_width) {
  if (field.width() > max_width) {
    Refuse(what + " has " + std::to_string(field.width()) + " bits, at most " + std::to_string(max_width) +
           " are possible");
  }
}

void CheckChannel(const Grammar& grammar, std::size_t number, const uniecg_channel& channel) {
  const std::string what = "channel " + std::to_string(number);
  const Channel& copy = grammar.channels[number];
  if (!copy.value.present()) Refuse(what + " has no bits");
  if (!channel.value.is_signed) CheckUnsigned(what, copy.value, 31);
  CheckField(what, copy.value, (grammar.samples_per_frame - 1) * grammar.sample_stride, grammar.min_length);
  CheckUnsigned(what + "'s electrode flag", copy.electrode, 1);
  CheckField(what + "'s electrode flag", copy.electrode, 0, grammar.min_length);
  if (!std::isfinite(copy.offset) || !std::isfinite(copy.mv_per_count) || copy.mv_per_count == 0) {
    Refuse(what + " needs a finite offset and a finite scale other than 0");
  }
}

void CheckLength(Grammar* grammar, const uniecg_grammar& source) {
  if (grammar->fixed_length != 0) {
    grammar->min_length = grammar->max_length = grammar->fixed_length;
  } else {
    if (!grammar->length.present()) Refuse("the frame has neither a fixed length nor a length field");
    CheckUnsigned("the length field", grammar->length, 16);
    for (const uniecg_bits& run : grammar->length.runs()) {
      if (run.byte < 0) Refuse("the length field must count its bytes from the start of the frame");
      const std::size_t end = static_cast<std::size_t>(run.byte) + 1;
      if (end > grammar->length_end) grammar->length_end = end;
    }
    grammar->min_length = source.min_length;
    grammar->max_length = source.max_length;
    CheckField("the length field", grammar->length, 0, grammar->min_length);
  }
  if (grammar->max_length > UNIECG_MAX_FRAME || grammar->min_length > grammar->max_length ||
      grammar->min_length < grammar->sync.size()) {
    Refuse("frames of " + std::to_string(grammar->min_length) + " to " + std::to_string(grammar->max_length) +
           " bytes are not possible; they must hold the sync bytes and at most " +
           std::to_string(UNIECG_MAX_FRAME));
  }
}

void CheckChecksum(const Grammar& grammar) {
  const uniecg_checksum& checksum = grammar.checksum;
  if (checksum.kind == UNIECG_CHECKSUM_NONE) return;
  if (checksum.kind != UNIECG_CHECKSUM_SUM8 && checksum.kind != UNIECG_CHECKSUM_XOR8) {
    Refuse("checksum kind " + std::to_string(checksum.kind) + " is unknown");
  }
  for (const std::int32_t byte : {checksum.byte, checksum.first, checksum.last}) {
    CheckByte("the checksum", byte, 0, grammar.min_length);
  }
  if (At(checksum.first, grammar.min_length) > At(checksum.last, grammar.min_length)) {
    Refuse("the checksum's first byte lies after its last");
  }
}

template <typename Item>
std::vector<Item> Copy(const Item* items, std::size_t count) {
  return count == 0 ? std::vector<Item>() : std::vector<Item>(items, items + count);
}

}  // namespace

Field::Field(const uniecg_field& field)
    : runs_(Copy(field.runs, field.run_count)), is_signed_(field.is_signed != 0) {
  for (const uniecg_bits& run : runs_) {
    if (run.high > 7 || run.low > run.high) Refuse("bits run from high to low within 7..0");
    width_ += static_cast<unsigned>(run.high - run.low) + 1;
    if (width_ > 32) Refuse("a field has more than 32 bits");
  }
}

std::int64_t Field::Read(const std::uint8_t* frame, std::size_t length, std::size_t shift) const {
  std::uint64_t value = 0;
  for (const uniecg_bits& run : runs_) {
    const unsigned bits = static_cast<unsigned>(run.high - run.low) + 1;
    const unsigned byte = frame[At(run.byte, length) + shift];
    value = (value << bits) | ((byte >> run.low) & ((1U << bits) - 1));
  }
  const bool negative = is_signed_ && width_ > 0 && ((value >> (width_ - 1)) & 1) != 0;
  return static_cast<std::int64_t>(value) - (negative ? std::int64_t{1} << width_ : 0);
}

Grammar::Grammar(const uniecg_grammar& grammar)
    : sync(Copy(grammar.sync, grammar.sync_length)),
      fixed_length(grammar.fixed_length),
      length(grammar.length),
      length_adds(grammar.length_adds),
      header(Copy(grammar.header, grammar.header_count)),
      footer(Copy(grammar.footer, grammar.footer_count)),
      checksum(grammar.checksum),
      kind(grammar.kind),
      data_kind(grammar.data_kind),
      counter(grammar.counter),
      counter_modulus(grammar.counter_modulus),
      samples_per_frame(grammar.samples_per_frame),
      sample_stride(grammar.sample_stride) {
  if (sync.empty() || sync.size() > UNIECG_MAX_SYNC) Refuse("a frame starts with 1 to 8 sync bytes");
  CheckLength(this, grammar);
  for (const uniecg_match& match : header) CheckByte("a header byte", match.byte, 0, min_length);
  for (const uniecg_match& match : footer) CheckByte("a footer byte", match.byte, 0, min_length);
  CheckChecksum(*this);
  CheckUnsigned("the kind field", kind, 32);
  CheckField("the kind field", kind, 0, min_length);
  CheckUnsigned("the counter", counter, 31);
  CheckField("the counter", counter, 0, min_length);
  if (counter.present() && (counter_modulus < 2 || counter_modulus > std::int64_t{1} << counter.width())) {
    Refuse("the counter's modulus " + std::to_string(counter_modulus) + " does not fit its " +
           std::to_string(counter.width()) + " bits");
  }
  if (grammar.channel_count == 0 || grammar.channel_count > UNIECG_MAX_CHANNELS) {
    Refuse("a frame carries 1 to 32 channels");
  }
  if (samples_per_frame == 0 || samples_per_frame > max_length || sample_stride > max_length) {
    Refuse("a frame carries at least one sample, and no more than it has bytes");
  }
  for (std::size_t c = 0; c < grammar.channel_count; ++c) {
    const uniecg_channel& source = grammar.channels[c];
    channels.push_back({Field(source.value), Field(source.electrode), source.electrode_on != 0 ? 1 : 0,
                        source.offset, source.mv_per_count});
    CheckChannel(*this, c, source);
  }
}

}  // namespace uniecg
