// uniecg_device._native: the C ABI for Python, with the GIL released while bytes are parsed.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "uniecg.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

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
  PyFramer(const std::string& grammar, std::uint32_t ring_samples) {
    char error[512] = "";
    framer_.reset(uniecg_framer_create(grammar.c_str(), ring_samples, error, sizeof(error)));
    if (framer_ == nullptr) throw nb::value_error(error);
    channels_ = uniecg_framer_channels(framer_.get());
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
    result["duplicates"] = counters.duplicates;
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
  std::size_t channels_ = 0;
  std::mutex producer_;
  std::mutex consumer_;
};

}  // namespace

NB_MODULE(_native, module) {
  module.doc() = "libuniecg: frames, samples and counters from the bytes of a serial line.";
  module.def("abi_version", &uniecg_abi_version);
  nb::class_<PyFramer>(module, "Framer")
      .def(nb::init<const std::string&, std::uint32_t>(), "grammar"_a, "ring_samples"_a)
      .def("push", &PyFramer::Push, "data"_a)
      .def_prop_ro("available", &PyFramer::Available)
      .def("pull", &PyFramer::Pull, "max_samples"_a)
      .def("pull_counts", &PyFramer::PullCounts, "max_samples"_a)
      .def("pull_message", &PyFramer::PullMessage)
      .def("counters", &PyFramer::Counters);
}
