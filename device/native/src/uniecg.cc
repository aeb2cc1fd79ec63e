// The C ABI over the readers; no exception crosses it.
#include "uniecg.h"

#include <cstdio>
#include <exception>
#include <new>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <variant>

#include "frame_reader.h"
#include "grammar.h"
#include "json.h"
#include "line_reader.h"
#include "output.h"

namespace {

using Reader = std::variant<uniecg::FrameReader, uniecg::LineReader>;

Reader MakeReader(const uniecg::Grammar& grammar) {
  if (const auto* frame = std::get_if<uniecg::FrameGrammar>(&grammar.layout)) {
    return uniecg::FrameReader(*frame, grammar.channels);
  }
  return uniecg::LineReader(std::get<uniecg::LineGrammar>(grammar.layout), grammar.channels);
}

}  // namespace

struct uniecg_framer {
  uniecg_framer(uniecg::Grammar read, std::size_t ring_samples)
      : grammar(std::move(read)), reader(MakeReader(grammar)), output(grammar.channels, ring_samples) {}

  const uniecg::Grammar grammar;
  Reader reader;
  uniecg::Output output;
};

extern "C" {

int uniecg_abi_version(void) { return UNIECG_ABI_VERSION; }

uniecg_framer* uniecg_framer_create(const char* profile_json, uint32_t ring_samples, char* error,
                                    size_t error_size) {
  try {
    if (profile_json == nullptr) throw std::invalid_argument("a framer needs a profile");
    if (ring_samples == 0) throw std::invalid_argument("a framer needs a ring of at least one sample");
    std::size_t length = 0;
    while (length <= uniecg::kMaxJsonText && profile_json[length] != 0) ++length;
    const std::string_view json(profile_json, length);
    return new uniecg_framer(uniecg::ReadGrammar(json), ring_samples);
  } catch (const std::bad_alloc&) {
    if (error != nullptr && error_size > 0) {
      std::snprintf(error, error_size, "a ring of %u samples does not fit in memory", ring_samples);
    }
  } catch (const std::exception& problem) {
    if (error != nullptr && error_size > 0) std::snprintf(error, error_size, "%s", problem.what());
  }
  return nullptr;
}

void uniecg_framer_destroy(uniecg_framer* framer) { delete framer; }

double uniecg_framer_rate(const uniecg_framer* framer) { return framer->grammar.fs; }

size_t uniecg_framer_channels(const uniecg_framer* framer) { return framer->grammar.channels.size(); }

const char* uniecg_framer_lead(const uniecg_framer* framer, size_t channel) {
  const auto& channels = framer->grammar.channels;
  return channel < channels.size() ? channels[channel].lead.c_str() : nullptr;
}

void uniecg_framer_push(uniecg_framer* framer, const uint8_t* bytes, size_t size) {
  std::visit([&](auto& reader) { reader.Push(bytes, size, &framer->output); }, framer->reader);
}

size_t uniecg_framer_available(const uniecg_framer* framer) { return framer->output.Available(); }

size_t uniecg_framer_pull(uniecg_framer* framer, size_t max_samples, float* millivolts, int32_t* counts,
                          uint32_t* electrodes_off, uint64_t* positions) {
  return framer->output.Pull(max_samples, millivolts, counts, electrodes_off, positions);
}

size_t uniecg_framer_pull_message(uniecg_framer* framer, uint8_t* bytes, size_t size) {
  return framer->output.PullMessage(bytes, size);
}

void uniecg_framer_counters(const uniecg_framer* framer, uniecg_counters* counters) {
  *counters = framer->output.Counters();
}

}  // extern "C"
