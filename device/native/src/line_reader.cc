#include "line_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace uniecg {
namespace {

bool TakeSpaces(std::string_view* text) {
  const std::size_t size = std::min(text->find_first_not_of(' '), text->size());
  text->remove_prefix(size);
  return size > 0;
}

// A decimal integer of 32 bits with an optional sign.
bool TakeInteger(std::string_view* text, std::int32_t* value) {
  const bool negative = !text->empty() && text->front() == '-';
  if (negative || (!text->empty() && text->front() == '+')) text->remove_prefix(1);
  std::int64_t total = 0;
  std::size_t digits = 0;
  for (; digits < text->size() && (*text)[digits] >= '0' && (*text)[digits] <= '9'; ++digits) {
    total = 10 * total + ((*text)[digits] - '0');
    if (total > std::int64_t{1} << 31) return false;
  }
  text->remove_prefix(digits);
  if (negative) total = -total;
  if (digits == 0 || total > std::numeric_limits<std::int32_t>::max()) return false;
  *value = static_cast<std::int32_t>(total);
  return true;
}

}  // namespace

LineReader::LineReader(LineGrammar grammar, std::vector<Channel> channels)
    : grammar_(std::move(grammar)), channels_(std::move(channels)), columns_(grammar_.columns) {
  line_.reserve(grammar_.max_length);
  last_line_.reserve(grammar_.max_length);
}

void LineReader::Push(const std::uint8_t* bytes, std::size_t size, Output* output) {
  output->totals.bytes.Add(size);
  for (std::size_t i = 0; i < size; ++i) {
    if (bytes[i] == '\n') {
      EndLine(output);
    } else if (overlong_) {
      output->totals.skipped_bytes.Add(1);
    } else if (line_.size() == grammar_.max_length) {
      SkipLine(line_.size() + 1, output);
      overlong_ = true;
    } else {
      line_.push_back(static_cast<char>(bytes[i]));
    }
  }
}

void LineReader::EndLine(Output* output) {
  std::string_view line = line_;
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  const bool off = grammar_.has_off && line == grammar_.off;
  if (overlong_) {
    output->totals.skipped_bytes.Add(1);  // its \n
  } else if (!(off || ParseColumns(line)) || !Accept(line, off, output)) {
    SkipLine(line_.size() + 1, output);
  }
  line_.clear();
  overlong_ = joining_ = false;
}

void LineReader::SkipLine(std::size_t bytes, Output* output) {
  output->totals.skipped_bytes.Add(bytes);
  if (!joining_) output->totals.bad_headers.Add(1);  // otherwise it is the end of one that began before us
  skipping_ = true;
}

bool LineReader::ParseColumns(std::string_view line) {
  for (std::size_t k = 0; k < columns_.size(); ++k) {
    bool separated = TakeSpaces(&line) && grammar_.separator == ' ';
    if (grammar_.separator != ' ' && k > 0) {
      separated = !line.empty() && line.front() == grammar_.separator;
      if (separated) line.remove_prefix(1);
      TakeSpaces(&line);
    }
    if ((k > 0 && !separated) || !TakeInteger(&line, &columns_[k])) return false;
  }
  TakeSpaces(&line);
  return line.empty();
}

// False, and nothing has happened, where the line's counter cannot be.
bool LineReader::Accept(std::string_view line, bool off, Output* output) {
  const Counter& counter = grammar_.counter;
  const bool counts = counter.present() && !off;
  const std::int64_t now = counts ? columns_[grammar_.counter_column] : (last_counter_ + counter.step);
  if (counts && (now < 0 || now >= counter.modulus)) return false;
  if (found_ && skipping_) output->totals.resyncs.Add(1);
  skipping_ = false;
  if (counts && counting_ && now == last_counter_ && line == last_line_) {
    output->totals.duplicates.Add(1);
    return true;
  }
  output->totals.frames.Add(1);
  if (found_) position_ += counts && counting_ ? counter.Advance(last_counter_, now) : 1;
  const auto all = static_cast<std::uint32_t>((std::uint64_t{1} << channels_.size()) - 1);
  output->Samples(1, position_, [&](std::size_t, const Slots& slots) {
    for (std::size_t c = 0; c < channels_.size(); ++c) {
      slots.counts[c * slots.row] = off ? 0 : columns_[channels_[c].column];
    }
    *slots.electrodes_off = off ? all : 0;
  });
  found_ = true;
  counting_ = counting_ || counts;
  last_counter_ = counter.present() ? now % counter.modulus : 0;
  if (counts) last_line_.assign(line);
  return true;
}

}  // namespace uniecg
