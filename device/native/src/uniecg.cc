// The C ABI over uniecg::Framer; no exception crosses it.
#include "uniecg.h"

#include <cstdio>
#include <exception>
#include <new>
#include <stdexcept>

#include "framer.h"

struct uniecg_framer {
  uniecg_framer(const uniecg_grammar& grammar, std::size_t ring_samples)
      : framer(uniecg::Grammar(grammar), ring_samples) {}
  uniecg::Framer framer;
};

extern "C" {

int uniecg_abi_version(void) { return UNIECG_ABI_VERSION; }

uniecg_framer* uniecg_framer_create(const uniecg_grammar* grammar, uint32_t ring_samples, char* error,
                                    size_t error_size) {
  try {
    if (grammar == nullptr || ring_samples == 0) {
      throw std::invalid_argument("a framer needs a grammar and a ring of at least one sample");
    }
    return new uniecg_framer(*grammar, ring_samples);
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

void uniecg_framer_push(uniecg_framer* framer, const uint8_t* bytes, size_t size) {
  framer->framer.Push(bytes, size);
}

size_t uniecg_framer_available(const uniecg_framer* framer) { return framer->framer.Available(); }

size_t uniecg_framer_pull(uniecg_framer* framer, size_t max_samples, float* millivolts, int32_t* counts,
                          uint32_t* electrodes_off, uint64_t* positions) {
  return framer->framer.Pull(max_samples, millivolts, counts, electrodes_off, positions);
}

size_t uniecg_framer_pull_message(uniecg_framer* framer, uint8_t* bytes, size_t size) {
  return framer->framer.PullMessage(bytes, size);
}

void uniecg_framer_counters(const uniecg_framer* framer, uniecg_counters* counters) {
  *counters = framer->framer.Counters();
}

}  // extern "C"
