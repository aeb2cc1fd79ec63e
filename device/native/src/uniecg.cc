// The C ABI over the readers; no exception crosses it.
#include "uniecg.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <iterator>
#include <new>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <variant>

#include "beats.h"
#include "filters.h"
#include "frame_reader.h"
#include "grammar.h"
#include "json.h"
#include "line_reader.h"
#include "output.h"
#include "resampler.h"

namespace {

constexpr char kNoMemory[] = "memory is short";

using Reader = std::variant<uniecg::FrameReader, uniecg::LineReader>;

Reader MakeReader(const uniecg::Grammar& grammar) {
  if (const auto* frame = std::get_if<uniecg::FrameGrammar>(&grammar.layout)) {
    return uniecg::FrameReader(*frame, grammar.channels);
  }
  return uniecg::LineReader(std::get<uniecg::LineGrammar>(grammar.layout), grammar.channels);
}

// What `make` makes, or NULL and why.
template <typename Make>
auto Try(const char* too_large, char* error, std::size_t error_size, Make make) -> decltype(make()) {
  try {
    return make();
  } catch (const std::bad_alloc&) {
    if (error != nullptr && error_size > 0) std::snprintf(error, error_size, "%s", too_large);
  } catch (const std::exception& problem) {
    if (error != nullptr && error_size > 0) std::snprintf(error, error_size, "%s", problem.what());
  }
  return nullptr;
}

}  // namespace

struct uniecg_framer {
  uniecg_framer(uniecg::Grammar read, std::size_t ring_samples)
      : grammar(std::move(read)), reader(MakeReader(grammar)), output(grammar.channels, ring_samples) {}

  const uniecg::Grammar grammar;
  Reader reader;
  uniecg::Output output;
};

struct uniecg_filter : uniecg::Filter {
  using Filter::Filter;
};
struct uniecg_resampler : uniecg::Resampler {
  using Resampler::Resampler;
};
struct uniecg_beats : uniecg::BeatDetector {
  using BeatDetector::BeatDetector;
};

extern "C" {

int uniecg_abi_version(void) { return UNIECG_ABI_VERSION; }

uniecg_framer* uniecg_framer_create(const char* profile_json, uint32_t ring_samples, char* error,
                                    size_t error_size) {
  char too_large[64];
  std::snprintf(too_large, sizeof(too_large), "a ring of %u samples does not fit in memory", ring_samples);
  return Try(too_large, error, error_size, [&] {
    if (profile_json == nullptr) throw std::invalid_argument("a framer needs a profile");
    if (ring_samples == 0) throw std::invalid_argument("a framer needs a ring of at least one sample");
    std::size_t length = 0;
    while (length <= uniecg::kMaxJsonText && profile_json[length] != 0) ++length;
    const std::string_view json(profile_json, length);
    return new uniecg_framer(uniecg::ReadGrammar(json), ring_samples);
  });
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

uniecg_filter* uniecg_filter_create(const char* band, int mains, double rate, size_t channels, char* error,
                                    size_t error_size) {
  return Try(kNoMemory, error, error_size,
             [&] { return new uniecg_filter(band == nullptr ? "" : band, mains, rate, channels); });
}

void uniecg_filter_destroy(uniecg_filter* filter) { delete filter; }

void uniecg_filter_push(uniecg_filter* filter, const float* in, size_t samples, float* out) {
  filter->Push(in, samples, out);
}

void uniecg_filter_restart(uniecg_filter* filter) { filter->Restart(); }

int uniecg_filter_window(const uniecg_filter* filter, const float* in, size_t samples, float* out) {
  try {
    filter->Window(in, samples, out);
    return 1;
  } catch (const std::exception&) {
    return 0;
  }
}

const char* uniecg_filter_label(const uniecg_filter* filter, int zero_phase) {
  return filter->Label(zero_phase != 0).c_str();
}

int uniecg_filter_st_safe(const uniecg_filter* filter, int zero_phase) {
  return filter->StSafe(zero_phase != 0) ? 1 : 0;
}

double uniecg_filter_delay(const uniecg_filter* filter, double hz) { return filter->Delay(hz); }

size_t uniecg_filter_sections(const uniecg_filter* filter, int zero_phase, double* sections) {
  const uniecg::Sections& design = filter->Design(zero_phase != 0);
  for (std::size_t k = 0; k < design.size() && sections != nullptr; ++k) {
    const uniecg::Section& s = design[k];
    const double row[] = {s.b0, s.b1, s.b2, s.a1, s.a2};
    std::copy(std::begin(row), std::end(row), sections + k * std::size(row));
  }
  return design.size();
}

uniecg_resampler* uniecg_resampler_create(uint32_t up, uint32_t down, size_t channels, char* error,
                                          size_t error_size) {
  return Try(kNoMemory, error, error_size, [&] { return new uniecg_resampler(up, down, channels); });
}

void uniecg_resampler_destroy(uniecg_resampler* resampler) { delete resampler; }

size_t uniecg_resampler_latency(const uniecg_resampler* resampler) { return resampler->Latency(); }

size_t uniecg_resampler_due(const uniecg_resampler* resampler, size_t samples) {
  return resampler->Due(samples);
}

size_t uniecg_resampler_due_at_end(const uniecg_resampler* resampler) { return resampler->DueAtEnd(); }

void uniecg_resampler_push(uniecg_resampler* resampler, const float* in, size_t samples, float* out) {
  resampler->Push(in, samples, out);
}

void uniecg_resampler_finish(uniecg_resampler* resampler, float* out) { resampler->Finish(out); }

uniecg_beats* uniecg_beats_create(double rate, size_t channels, char* error, size_t error_size) {
  return Try(kNoMemory, error, error_size, [&] { return new uniecg_beats(rate, channels); });
}

void uniecg_beats_destroy(uniecg_beats* beats) { delete beats; }

void uniecg_beats_push(uniecg_beats* beats, const float* millivolts, size_t samples) {
  beats->Push(millivolts, samples, samples);
}

void uniecg_beats_skip(uniecg_beats* beats, uint64_t samples) { beats->Skip(samples); }

size_t uniecg_beats_pull(uniecg_beats* beats, uniecg_beat* found, size_t most) {
  return beats->Pull(found, most);
}

}  // extern "C"
