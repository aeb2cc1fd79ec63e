// uniecg_device._native: the C ABI for Python, with the GIL released while bytes are parsed.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "uniecg.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Runs = std::vector<std::tuple<int, int, int>>;
using Matches = std::vector<std::tuple<int, int, int>>;
// value runs, signed, offset, mV per count, electrode flag (byte, bit, value while on)
using ChannelSpec = std::tuple<Runs, bool, double, double, std::optional<std::tuple<int, int, int>>>;

std::uint8_t Byte(int value) {
  if (value < 0 || value > 255) throw nb::value_error("a byte lies within 0..255");
  return static_cast<std::uint8_t>(value);
}

std::vector<uniecg_bits> ToBits(const Runs& runs) {
  std::vector<uniecg_bits> bits;
  for (const auto& [byte, high, low] : runs) bits.push_back({byte, Byte(high), Byte(low)});
  return bits;
}

std::vector<uniecg_match> ToMatches(const Matches& matches) {
  std::vector<uniecg_match> result;
  for (const auto& [byte, mask, value] : matches) result.push_back({byte, Byte(mask), Byte(value)});
  return result;
}

uniecg_field ToField(const std::vector<uniecg_bits>& bits, bool is_signed = false) {
  return {bits.data(), static_cast<std::uint32_t>(bits.size()), static_cast<std::uint8_t>(is_signed)};
}

template <typename T, std::size_t kDimensions>
using Array = nb::ndarray<nb::numpy, T, nb::ndim<kDimensions>, nb::c_contig>;

// values (channels, samples), electrodes off (samples), positions (samples)
template <typename Value>
using Pulled = std::tuple<Array<Value, 2>, Array<std::uint32_t, 1>, Array<std::uint64_t, 1>>;

// An array that owns what `data` points to.
template <typename T, typename... Shape>
Array<T, sizeof...(Shape)> ToArray(std::unique_ptr<T[]> data, Shape... shape) {
  T* pointer = data.release();
  nb::capsule owner(pointer, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return Array<T, sizeof...(Shape)>(pointer, {static_cast<std::size_t>(shape)...}, owner);
}

// Holds a buffer of any bytes-like object while its bytes are parsed.
class BytesView {
 public:
  explicit BytesView(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  ~BytesView() { PyBuffer_Release(&view_); }
  BytesView(const BytesView&) = delete;
  BytesView& operator=(const BytesView&) = delete;
  const std::uint8_t* data() const { return static_cast<const std::uint8_t*>(view_.buf); }
  std::size_t size() const { return static_cast<std::size_t>(view_.len); }

 private:
  Py_buffer view_;
};

class PyFramer {
 public:
  PyFramer(const nb::bytes& sync, std::uint32_t ring_samples, std::vector<ChannelSpec> channels,
           std::uint32_t fixed_length, const Runs& length, std::int32_t length_adds, std::uint32_t min_length,
           std::uint32_t max_length, const Matches& header, const Matches& footer,
           std::tuple<int, int, int, int, bool> checksum, const Runs& kind, std::uint32_t data_kind,
           const Runs& counter, std::uint32_t counter_modulus, std::uint32_t samples_per_frame,
           std::uint32_t sample_stride)
      : channels_(channels.size()) {
    const auto length_bits = ToBits(length);
    const auto kind_bits = ToBits(kind);
    const auto counter_bits = ToBits(counter);
    const auto header_matches = ToMatches(header);
    const auto footer_matches = ToMatches(footer);
    std::vector<std::vector<uniecg_bits>> values(channels.size()), electrodes(channels.size());
    std::vector<uniecg_channel> specs;
    for (std::size_t c = 0; c < channels.size(); ++c) {
      const auto& [runs, is_signed, offset, mv_per_count, electrode] = channels[c];
      values[c] = ToBits(runs);
      std::uint8_t on = 1;
      if (electrode) {
        const auto& [byte, bit, value] = *electrode;
        electrodes[c] = {{byte, Byte(bit), Byte(bit)}};
        on = Byte(value);
      }
      specs.push_back({ToField(values[c], is_signed), offset, mv_per_count, ToField(electrodes[c]), on});
    }
    uniecg_grammar grammar{};
    grammar.sync = reinterpret_cast<const std::uint8_t*>(sync.c_str());
    grammar.sync_length = static_cast<std::uint32_t>(sync.size());
    grammar.fixed_length = fixed_length;
    grammar.length = ToField(length_bits);
    grammar.length_adds = length_adds;
    grammar.min_length = min_length;
    grammar.max_length = max_length;
    grammar.header = header_matches.data();
    grammar.header_count = static_cast<std::uint32_t>(header_matches.size());
    grammar.footer = footer_matches.data();
    grammar.footer_count = static_cast<std::uint32_t>(footer_matches.size());
    const auto& [sum, byte, first, last, invert] = checksum;
    grammar.checksum = {sum, byte, first, last, static_cast<std::uint8_t>(invert)};
    grammar.kind = ToField(kind_bits);
    grammar.data_kind = data_kind;
    grammar.counter = ToField(counter_bits);
    grammar.counter_modulus = counter_modulus;
    grammar.channels = specs.data();
    grammar.channel_count = static_cast<std::uint32_t>(specs.size());
    grammar.samples_per_frame = samples_per_frame;
    grammar.sample_stride = sample_stride;
    char error[256] = "";
    framer_.reset(uniecg_framer_create(&grammar, ring_samples, error, sizeof(error)));
    if (framer_ == nullptr) throw nb::value_error(error);
  }

  void Push(nb::handle bytes) {
    const BytesView view(bytes);
    const nb::gil_scoped_release release;
    // Python threads that break the one-producer rule wait for each other instead of corrupting memory.
    const std::lock_guard<std::mutex> lock(producer_);
    uniecg_framer_push(framer_.get(), view.data(), view.size());
  }

  std::size_t Available() const { return uniecg_framer_available(framer_.get()); }

  Pulled<float> Pull(std::size_t max_samples) { return PullAs<float>(max_samples); }
  Pulled<std::int32_t> PullCounts(std::size_t max_samples) { return PullAs<std::int32_t>(max_samples); }

  nb::object PullMessage() {
    std::uint8_t bytes[UNIECG_MAX_MESSAGE];
    const std::lock_guard<std::mutex> lock(consumer_);
    const std::size_t length = uniecg_framer_pull_message(framer_.get(), bytes, sizeof(bytes));
    if (length == 0) return nb::none();
    return nb::bytes(reinterpret_cast<const char*>(bytes), length);
  }

  nb::dict Counters() const {
    uniecg_counters counters;
    uniecg_framer_counters(framer_.get(), &counters);
    nb::dict result;
    result["bytes"] = counters.bytes;
    result["frames"] = counters.frames;
    result["messages"] = counters.messages;
    result["samples"] = counters.samples;
    result["skipped_bytes"] = counters.skipped_bytes;
    result["resyncs"] = counters.resyncs;
    result["bad_headers"] = counters.bad_headers;
    result["bad_footers"] = counters.bad_footers;
    result["bad_checksums"] = counters.bad_checksums;
    result["counter_gaps"] = counters.counter_gaps;
    result["lost_samples"] = counters.lost_samples;
    result["overflowed_samples"] = counters.overflowed_samples;
    result["dropped_messages"] = counters.dropped_messages;
    return result;
  }

 private:
  template <typename Value>
  Pulled<Value> PullAs(std::size_t max_samples) {
    std::unique_ptr<Value[]> values;
    std::unique_ptr<std::uint32_t[]> electrodes_off;
    std::unique_ptr<std::uint64_t[]> positions;
    std::size_t count = 0;
    {
      const nb::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(consumer_);
      count = std::min(max_samples, Available());
      values.reset(new Value[std::max<std::size_t>(count * channels_, 1)]);
      electrodes_off.reset(new std::uint32_t[std::max<std::size_t>(count, 1)]);
      positions.reset(new std::uint64_t[std::max<std::size_t>(count, 1)]);
      PullInto(count, values.get(), electrodes_off.get(), positions.get());
    }
    return std::make_tuple(ToArray(std::move(values), channels_, count),
                           ToArray(std::move(electrodes_off), count), ToArray(std::move(positions), count));
  }
  void PullInto(std::size_t count, float* millivolts, std::uint32_t* off, std::uint64_t* positions) {
    uniecg_framer_pull(framer_.get(), count, millivolts, nullptr, off, positions);
  }
  void PullInto(std::size_t count, std::int32_t* counts, std::uint32_t* off, std::uint64_t* positions) {
    uniecg_framer_pull(framer_.get(), count, nullptr, counts, off, positions);
  }

  struct Destroy {
    void operator()(uniecg_framer* framer) const { uniecg_framer_destroy(framer); }
  };
  std::unique_ptr<uniecg_framer, Destroy> framer_;
  std::size_t channels_;
  std::mutex producer_;
  std::mutex consumer_;
};

}  // namespace

NB_MODULE(_native, module) {
  module.doc() = "libuniecg: frames, samples and counters from the bytes of a serial line.";
  module.attr("CHECKSUM_NONE") = static_cast<int>(UNIECG_CHECKSUM_NONE);
  module.attr("CHECKSUM_SUM8") = static_cast<int>(UNIECG_CHECKSUM_SUM8);
  module.attr("CHECKSUM_XOR8") = static_cast<int>(UNIECG_CHECKSUM_XOR8);
  module.def("abi_version", &uniecg_abi_version);
  nb::class_<PyFramer>(module, "Framer")
      .def(nb::init<const nb::bytes&, std::uint32_t, std::vector<ChannelSpec>, std::uint32_t, const Runs&,
                    std::int32_t, std::uint32_t, std::uint32_t, const Matches&, const Matches&,
                    std::tuple<int, int, int, int, bool>, const Runs&, std::uint32_t, const Runs&,
                    std::uint32_t, std::uint32_t, std::uint32_t>(),
           nb::kw_only(), "sync"_a, "ring_samples"_a, "channels"_a, "fixed_length"_a = 0, "length"_a = Runs(),
           "length_adds"_a = 0, "min_length"_a = 0, "max_length"_a = 0, "header"_a = Matches(),
           "footer"_a = Matches(), "checksum"_a = std::make_tuple(0, 0, 0, 0, false), "kind"_a = Runs(),
           "data_kind"_a = 0, "counter"_a = Runs(), "counter_modulus"_a = 0, "samples_per_frame"_a = 1,
           "sample_stride"_a = 0)
      .def("push", &PyFramer::Push, "data"_a)
      .def_prop_ro("available", &PyFramer::Available)
      .def("pull", &PyFramer::Pull, "max_samples"_a)
      .def("pull_counts", &PyFramer::PullCounts, "max_samples"_a)
      .def("pull_message", &PyFramer::PullMessage)
      .def("counters", &PyFramer::Counters);
}
