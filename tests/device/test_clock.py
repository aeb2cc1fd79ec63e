"""The clock model against simulated lines: it finds the drift and what went missing, and nothing that did not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniecg_device.clock import ClockModel, now


@dataclass(frozen=True)
class Line:
    """A device that samples at fs (1 + ppm / 10^6) over a line that delays frames; a reader looks every 20 ms or so.

    batch: seconds between the USB chip's hand-overs, 0 for none. jitter: mean delay of a frame. busy: how often the
    reader comes 50 ms late. lost: (second, frames) that never arrive. stalls: (second, seconds) of nothing, after
    which everything arrives at once.
    """

    fs: float = 500.0
    ppm: float = 0.0
    frame: int = 1
    batch: float = 0.0
    jitter: float = 0.001
    busy: float = 0.0
    lost: tuple[tuple[float, int], ...] = ()
    stalls: tuple[tuple[float, float], ...] = ()
    seed: int = 0

    def arrivals(self, seconds: float) -> Iterator[tuple[float, int]]:
        """(time, samples so far), whenever the reader finds new ones."""
        random = np.random.default_rng(self.seed)
        frames = int(seconds * self.fs / self.frame)
        taken = (1 + np.arange(frames)) * self.frame / (self.fs * (1 + 1e-6 * self.ppm))
        kept = np.ones(frames, bool)
        for second, count in self.lost:
            first = int(second * self.fs / self.frame)
            kept[first : first + count] = False
        arrived = taken[kept] + random.exponential(self.jitter, int(kept.sum()))
        for second, length in self.stalls:
            held = (arrived > second) & (arrived < second + length)
            arrived[held] = second + length
        if self.batch:
            phase = random.uniform(0, self.batch)
            arrived = np.ceil((arrived - phase) / self.batch) * self.batch + phase
        arrived = np.maximum.accumulate(arrived)
        looks = np.cumsum(0.0201 + random.exponential(0.0003, int(seconds / 0.0201)))
        late = np.where(random.random(looks.size) < self.busy, random.exponential(0.05, looks.size), 0)
        looks = np.maximum.accumulate(looks + late)
        samples = np.searchsorted(arrived, looks, side="right") * self.frame
        new = np.diff(samples, prepend=0) > 0
        yield from zip(looks[new].tolist(), samples[new].tolist(), strict=True)


def follow(line: Line, seconds: float) -> tuple[ClockModel, list[tuple[float, int]]]:
    """The model after so long, and what it found missing when."""
    clock = ClockModel(line.fs, line.frame)
    found = [(time, clock.observe(5000 + time, samples)) for time, samples in line.arrivals(seconds)]
    return clock, [(time, missing) for time, missing in found if missing]


lines = st.builds(
    Line,
    fs=st.sampled_from([125.0, 128.0, 250.0, 500.0, 1000.0]),
    ppm=st.floats(-200, 200),
    frame=st.sampled_from([1, 1, 8]),
    batch=st.sampled_from([0, 0.001, 0.016]),
    jitter=st.sampled_from([1e-4, 1e-3, 5e-3]),
    busy=st.sampled_from([0, 0.05]),
    seed=st.integers(0, 1 << 32),
)


@settings(max_examples=15, deadline=None)
@given(line=lines)
def test_nothing_is_missing_where_nothing_was_lost(line: Line) -> None:
    clock, found = follow(line, 60)
    assert found == [] and clock.missing == 0


@settings(max_examples=15, deadline=None)
@given(line=lines, second=st.floats(10, 40), frames=st.integers(5, 400))
def test_a_loss_is_found_within_seconds_and_to_a_few_frames(line: Line, second: float, frames: int) -> None:
    clock, found = follow(replace(line, lost=((second, frames),)), 60)
    # A chip's batches and a jitter of several samples leave the fastest arrival of a second unsteady by milliseconds.
    unsteady = 1 + 3 * line.jitter * line.fs / line.frame
    assert abs(clock.missing / line.frame - frames) <= unsteady
    resumed = second + frames * line.frame / line.fs
    assert found and all(resumed < time < resumed + 6 for time, _ in found)
    assert clock.missing % line.frame == 0


@settings(max_examples=15, deadline=None)
@given(line=lines)
def test_the_drift_is_right_to_a_few_frames_over_the_time_watched(line: Line) -> None:
    seconds = 60
    clock, _ = follow(line, seconds)
    frame = line.frame / line.fs + line.jitter
    assert clock.drift_ppm == pytest.approx(line.ppm, abs=3e6 * frame / seconds)


def test_ten_minutes_give_the_drift_to_three_ppm() -> None:
    line = Line(ppm=-73.0, batch=0.016, busy=0.05)
    assert follow(line, 700)[0].drift_ppm == pytest.approx(-73, abs=3)


def test_what_is_only_late_is_not_missing() -> None:
    stalls = tuple((10.0 + 12 * k, 0.5 + k) for k in range(4))  # up to 3.5 s of silence, made up at once
    clock, found = follow(Line(ppm=50, stalls=stalls), 70)
    assert found == [] and clock.drift_ppm == pytest.approx(50, abs=20)


def test_losses_that_follow_each_other_are_all_found() -> None:
    lost = tuple((8.0 + 7 * k, 20 + k) for k in range(7))
    clock, found = follow(Line(lost=lost, batch=0.001), 70)
    assert len(found) == 7 and abs(clock.missing - sum(count for _, count in lost)) <= 7
    assert clock.drift_ppm is not None and abs(clock.drift_ppm) < 100


def test_a_rate_that_is_only_declared_is_measured() -> None:
    """A sketch with a delay(1) in its loop runs at what rate it may; its losses are found all the same."""
    clock, found = follow(Line(ppm=-80_000, lost=((30.0, 60),)), 60)
    assert clock.drift_ppm == pytest.approx(-80_000, abs=50)
    assert len(found) == 1 and abs(clock.missing - 60) <= 2


def test_a_pace_that_is_no_device_s_says_nothing_of_losses() -> None:
    """A file played eight times as fast, and then at its own pace."""
    clock = ClockModel(500.0)
    for k in range(4000):
        assert clock.observe(k * 0.01, 40 * k) == 0
    for k in range(1000):
        clock.observe(40 + k * 0.01, 160_000 + 5 * k)
    assert clock.missing == 0


def test_where_the_wire_counts_nothing_is_looked_for() -> None:
    clock = ClockModel(500.0, counted=True)
    line = Line(lost=((20.0, 100),))
    assert sum(clock.observe(time, samples) for time, samples in line.arrivals(60)) == 0


def test_a_single_frame_is_beyond_what_arrival_times_can_tell() -> None:
    assert follow(Line(lost=((20.0, 1),)), 60)[1] == []


def test_samples_have_their_times_and_times_their_samples() -> None:
    line = Line(fs=250.0, ppm=120.0, batch=0.016)
    clock, _ = follow(line, 60)
    rate = 250.0 * (1 + 120e-6)
    for sample in (0, 7500, 15_000, 25_000):  # the last is 40 s ahead
        assert clock.time_of(sample) == pytest.approx(5000 + sample / rate, abs=0.022)
        assert clock.sample_at(clock.time_of(sample)) == pytest.approx(sample, abs=1e-3)


def test_a_few_samples_are_enough_for_the_nominal_rate() -> None:
    clock = ClockModel(500.0)
    with pytest.raises(ValueError, match="no sample"):
        clock.time_of(0)
    for time, samples in ((1.030, 10), (1.041, 20), (1.069, 30)):
        clock.observe(time, samples)
    assert clock.drift_ppm is None
    assert clock.time_of(0) == pytest.approx(1.041 - 20 / 500)  # the fastest of the three decides


def test_memory_is_bounded() -> None:
    clock = ClockModel(500.0)
    for k in range(700):
        clock.observe(k * 1.0, 500 * k)
    assert len(clock._fastest) == 600


def test_now_never_goes_back() -> None:
    moments = [now() for _ in range(1000)]
    assert moments == sorted(moments)
