// uniecg_device._native: the C ABI for Python, with the GIL released while bytes are parsed.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

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

using Signal = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// An object of the C ABI; Python threads that share one wait for each other.
template <typename T, void (*kDestroy)(T*)>
class Held {
 public:
  template <typename Create, typename... Args>
  explicit Held(std::size_t channels, Create create, Args... args) : channels_(channels) {
    char error[256] = "";
    held_.reset(create(args..., channels, error, sizeof(error)));
    if (held_ == nullptr) throw nb::value_error(error);
  }

  // `work` on the object, with no other Python thread near it and without the GIL.
  template <typename Work>
  auto Do(Work work) {
    const nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    return work(held_.get());
  }
  void Check(const Signal& signal) const {
    if (signal.shape(0) == channels_) return;
    const std::string message =
        "expected " + std::to_string(channels_) + " channels, found " + std::to_string(signal.shape(0));
    throw nb::value_error(message.c_str());
  }
  std::size_t channels() const { return channels_; }

 private:
  struct Destroy {
    void operator()(T* held) const { kDestroy(held); }
  };
  std::size_t channels_;
  std::unique_ptr<T, Destroy> held_;
  std::mutex mutex_;
};

std::unique_ptr<float[]> NewFloats(std::size_t count) {
  return std::unique_ptr<float[]>(new float[std::max<std::size_t>(count, 1)]);
}

class PyFilter {
 public:
  PyFilter(const std::string& band, int mains, double rate, std::size_t channels)
      : filter_(channels, &uniecg_filter_create, band.c_str(), mains, rate) {}

  Array<float, 2> Push(const Signal& signal) {
    return Run(signal, [&](uniecg_filter* filter, float* out) {
      uniecg_filter_push(filter, signal.data(), signal.shape(1), out);
      return 1;
    });
  }
  Array<float, 2> Window(const Signal& signal) {
    return Run(signal, [&](uniecg_filter* filter, float* out) {
      return uniecg_filter_window(filter, signal.data(), signal.shape(1), out);
    });
  }
  void Restart() {
    filter_.Do([](uniecg_filter* filter) { uniecg_filter_restart(filter); });
  }
  std::string Label(bool zero_phase) {
    return filter_.Do(
        [&](uniecg_filter* filter) { return std::string(uniecg_filter_label(filter, zero_phase)); });
  }
  bool StSafe(bool zero_phase) {
    return filter_.Do([&](uniecg_filter* filter) { return uniecg_filter_st_safe(filter, zero_phase) != 0; });
  }
  double Delay(double hz) {
    return filter_.Do([&](uniecg_filter* filter) { return uniecg_filter_delay(filter, hz); });
  }
  Array<double, 2> SectionRows(bool zero_phase) {
    std::unique_ptr<double[]> rows(new double[8 * 5]);
    const std::size_t count = filter_.Do(
        [&](uniecg_filter* filter) { return uniecg_filter_sections(filter, zero_phase, rows.get()); });
    return ToArray(std::move(rows), count, std::size_t{5});
  }

 private:
  template <typename Work>
  Array<float, 2> Run(const Signal& signal, Work work) {
    filter_.Check(signal);
    std::unique_ptr<float[]> out = NewFloats(signal.size());
    const int done = filter_.Do([&](uniecg_filter* filter) { return work(filter, out.get()); });
    if (done == 0) throw std::bad_alloc();
    return ToArray(std::move(out), signal.shape(0), signal.shape(1));
  }

  Held<uniecg_filter, &uniecg_filter_destroy> filter_;
};

class PyResampler {
 public:
  PyResampler(std::uint32_t up, std::uint32_t down, std::size_t channels)
      : resampler_(channels, &uniecg_resampler_create, up, down) {}

  std::size_t Latency() {
    return resampler_.Do([](uniecg_resampler* resampler) { return uniecg_resampler_latency(resampler); });
  }
  Array<float, 2> Push(const Signal& signal) {
    resampler_.Check(signal);
    std::unique_ptr<float[]> out;
    const std::size_t due = resampler_.Do([&](uniecg_resampler* resampler) {
      const std::size_t count = uniecg_resampler_due(resampler, signal.shape(1));
      out = NewFloats(count * resampler_.channels());
      uniecg_resampler_push(resampler, signal.data(), signal.shape(1), out.get());
      return count;
    });
    return ToArray(std::move(out), resampler_.channels(), due);
  }
  Array<float, 2> Finish() {
    std::unique_ptr<float[]> out;
    const std::size_t due = resampler_.Do([&](uniecg_resampler* resampler) {
      const std::size_t count = uniecg_resampler_due_at_end(resampler);
      out = NewFloats(count * resampler_.channels());
      uniecg_resampler_finish(resampler, out.get());
      return count;
    });
    return ToArray(std::move(out), resampler_.channels(), due);
  }

 private:
  Held<uniecg_resampler, &uniecg_resampler_destroy> resampler_;
};

// positions (beats), lags (beats), certainties (beats)
using Found = std::tuple<Array<std::uint64_t, 1>, Array<std::uint32_t, 1>, Array<float, 1>>;

class PyBeats {
 public:
  PyBeats(double rate, std::size_t channels)
      : beats_(channels, &uniecg_beats_create, rate),
        part_(static_cast<std::size_t>(std::max(1.0, 5 * rate))) {}

  Found Push(const Signal& signal) {
    beats_.Check(signal);
    std::vector<uniecg_beat> found;
    beats_.Do([&](uniecg_beats* beats) { PushParts(beats, signal, &found); });
    return ToArrays(found);
  }
  void Skip(std::uint64_t samples) {
    beats_.Do([&](uniecg_beats* beats) { uniecg_beats_skip(beats, samples); });
  }

 private:
  // In parts short enough that the queue holds their beats.
  void PushParts(uniecg_beats* beats, const Signal& signal, std::vector<uniecg_beat>* found) {
    const std::size_t channels = beats_.channels(), samples = signal.shape(1);
    std::vector<float> part;
    uniecg_beat queue[UNIECG_BEAT_QUEUE];
    for (std::size_t first = 0; first < samples; first += part_) {
      const std::size_t count = std::min(part_, samples - first);
      const float* from = signal.data() + first;
      if (channels > 1 && count < samples) {
        part.resize(channels * count);
        for (std::size_t c = 0; c < channels; ++c) {
          std::copy_n(signal.data() + c * samples + first, count, part.data() + c * count);
        }
        from = part.data();
      }
      uniecg_beats_push(beats, from, count);
      const std::size_t ready = uniecg_beats_pull(beats, queue, UNIECG_BEAT_QUEUE);
      found->insert(found->end(), queue, queue + ready);
    }
  }
  static Found ToArrays(const std::vector<uniecg_beat>& found) {
    const std::size_t room = std::max<std::size_t>(found.size(), 1);
    std::unique_ptr<std::uint64_t[]> positions(new std::uint64_t[room]);
    std::unique_ptr<std::uint32_t[]> lags(new std::uint32_t[room]);
    std::unique_ptr<float[]> certainties(new float[room]);
    for (std::size_t k = 0; k < found.size(); ++k) {
      positions[k] = found[k].position;
      lags[k] = found[k].lag;
      certainties[k] = found[k].certainty;
    }
    return std::make_tuple(ToArray(std::move(positions), found.size()),
                           ToArray(std::move(lags), found.size()),
                           ToArray(std::move(certainties), found.size()));
  }

  Held<uniecg_beats, &uniecg_beats_destroy> beats_;
  const std::size_t part_;
};

}  // namespace

NB_MODULE(_native, module) {
  module.doc() = "libuniecg: samples and counters from the bytes of a serial line, filters, heart beats.";
  module.def("abi_version", &uniecg_abi_version);
  nb::class_<PyFramer>(module, "Framer")
      .def(nb::init<const std::string&, std::uint32_t>(), "grammar"_a, "ring_samples"_a)
      .def("push", &PyFramer::Push, "data"_a)
      .def_prop_ro("available", &PyFramer::Available)
      .def("pull", &PyFramer::Pull, "max_samples"_a)
      .def("pull_counts", &PyFramer::PullCounts, "max_samples"_a)
      .def("pull_message", &PyFramer::PullMessage)
      .def("counters", &PyFramer::Counters);
  nb::class_<PyFilter>(module, "Filter")
      .def(nb::init<const std::string&, int, double, std::size_t>(), "band"_a, "mains"_a, "rate"_a,
           "channels"_a)
      .def("push", &PyFilter::Push, "signal"_a)
      .def("window", &PyFilter::Window, "signal"_a)
      .def("restart", &PyFilter::Restart)
      .def("label", &PyFilter::Label, "zero_phase"_a)
      .def("st_safe", &PyFilter::StSafe, "zero_phase"_a)
      .def("delay", &PyFilter::Delay, "hz"_a)
      .def("sections", &PyFilter::SectionRows, "zero_phase"_a);
  nb::class_<PyResampler>(module, "Resampler")
      .def(nb::init<std::uint32_t, std::uint32_t, std::size_t>(), "up"_a, "down"_a, "channels"_a)
      .def_prop_ro("latency", &PyResampler::Latency)
      .def("push", &PyResampler::Push, "signal"_a)
      .def("finish", &PyResampler::Finish);
  nb::class_<PyBeats>(module, "Beats")
      .def(nb::init<double, std::size_t>(), "rate"_a, "channels"_a)
      .def("push", &PyBeats::Push, "signal"_a)
      .def("skip", &PyBeats::Skip, "samples"_a);
}
