"""The stream loop: what is due when, what is counted, and what happens when the device goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniecg_device.errors import BackendError, DeviceError, InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import Block, Recording
from uniecg_runtime.stream import (
    LIVE_SECONDS,
    LiveState,
    TextPiece,
    WindowBuffer,
    WindowDue,
    WindowResult,
    stream,
)

FS = 250.0
SECONDS = 10.0
LEADS = ("I", "II")


class Reader:
    """Stands in for an assistant: says a word per window, and keeps what it was given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.bundle = SimpleNamespace(
            manifest=SimpleNamespace(preprocessing=SimpleNamespace(fs=128.0, samples=int(128 * SECONDS)))
        )
        self.error = error
        self.windows: list[Recording] = []
        self.threads: set[int] = set()
        self.done = 0
        self.gate = threading.Event()
        self.gate.set()

    def interpret(self, recording: Recording, *, on_text: Any) -> str:
        self.threads.add(threading.get_ident())
        self.windows.append(recording)
        on_text("sinus ")
        assert self.gate.wait(20)
        on_text("rhythm")
        self.done += 1
        if self.error is not None:
            raise self.error
        return "sinus rhythm"


def ecg(seconds: float, heart_rate: float = 75.0) -> Recording:
    return simulate(ParametricEcg(heart_rate=heart_rate), seconds, FS, 1)


def blocks(recording: Recording, size: int = 25, start: float = 0.0) -> Iterator[Block]:
    """A recording as a device yields it."""
    for first in range(0, recording.signal.shape[1], size):
        part = np.ascontiguousarray(recording.signal[:, first : first + size])
        yield Block(part, recording.fs, recording.leads, start + first / recording.fs)


def paced(recording: Recording, reader: Reader, window: float = SECONDS) -> Iterator[Block]:
    """Blocks that come no sooner than the reader is done with every window before them."""
    for block in blocks(recording):
        due = int(block.start / window)
        while reader.done < due:
            time.sleep(0.001)
        yield block


def block(start: float, count: int, value: float = 0.0, lost: int = 0) -> Block:
    return Block(np.full((2, count), value, np.float32), FS, LEADS, start, lost)


def test_every_window_due_is_read_on_one_other_thread() -> None:
    reader = Reader()
    events = list(stream(paced(ecg(31), reader), reader, interval=10.0))  # type: ignore[arg-type]
    results = [event for event in events if isinstance(event, WindowResult)]
    assert [result.index for result in results] == [1, 2, 3]
    assert [round(result.start, 6) for result in results] == [0.0, 10.0, 20.0]
    assert all(window.duration == pytest.approx(SECONDS) for window in reader.windows)
    assert len(reader.threads) == 1 and threading.get_ident() not in reader.threads


def test_text_comes_after_its_window_and_before_its_result() -> None:
    events = list(stream(blocks(ecg(10.5)), Reader()))  # type: ignore[arg-type]
    told = [event for event in events if not isinstance(event, LiveState)]
    assert [type(event) for event in told] == [WindowDue, TextPiece, TextPiece, WindowResult]
    assert told[0].quality.acceptable


def test_live_state_each_second_knows_the_heart_rate() -> None:
    states = [e for e in stream(blocks(ecg(12, 90.0)), Reader()) if isinstance(e, LiveState)]  # type: ignore[arg-type]
    assert [round(state.time) for state in states[:10]] == list(range(1, 11))
    assert states[-1].heart_rate == pytest.approx(90, abs=5)
    assert (states[-1].gaps, states[-1].lost) == (0, 0)


def test_the_heart_rate_follows_and_ends_with_the_signal() -> None:
    """60/min for 20 s, then 120/min for 12 s, then 10 s of an electrode off."""
    slow, fast = ecg(20, 60.0), ecg(12, 120.0)
    off = np.full((len(slow.leads), round(10 * FS)), np.nan, np.float32)
    whole = replace(slow, signal=np.concatenate([slow.signal, fast.signal, off], axis=1))
    states = [e for e in stream(blocks(whole), Reader()) if isinstance(e, LiveState)]  # type: ignore[arg-type]
    rate = {round(state.time): state.heart_rate for state in states}
    assert rate[2] is None
    assert rate[18] == pytest.approx(60, abs=3)
    assert rate[31] == pytest.approx(120, abs=5)
    assert rate[42] is None


def test_a_window_due_while_the_worker_is_busy_is_skipped_and_counted() -> None:
    reader = Reader()
    reader.gate.clear()

    def source() -> Iterator[Block]:
        yield from blocks(ecg(25))
        reader.gate.set()

    events = list(stream(source(), reader, interval=5.0))  # type: ignore[arg-type]
    states = [event for event in events if isinstance(event, LiveState)]
    assert len(reader.windows) == 1
    assert (states[-1].interpreted, states[-1].skipped) == (1, 3)


def test_acquisition_goes_on_while_a_window_is_read() -> None:
    reader = Reader()
    reader.gate.clear()
    seen = []
    for event in stream(blocks(ecg(20)), reader):  # type: ignore[arg-type]
        seen.append(event)
        if isinstance(event, LiveState) and event.time > 15:
            reader.gate.set()
    during = [
        e.time
        for e in seen[: seen.index(next(e for e in seen if isinstance(e, WindowResult)))]
        if isinstance(e, LiveState)
    ]
    assert max(during) > 14


def test_it_stops_after_the_windows_asked_for() -> None:
    reader = Reader()
    events = list(stream(blocks(ecg(60)), reader, windows=1))  # type: ignore[arg-type]
    assert len(reader.windows) == 1
    assert sum(isinstance(event, WindowResult) for event in events) == 1


def test_it_stops_after_the_duration() -> None:
    states = [e for e in stream(blocks(ecg(60)), Reader(), duration=5.0) if isinstance(e, LiveState)]  # type: ignore[arg-type]
    assert states[-1].time == pytest.approx(5.0, abs=0.2)


def test_a_device_that_goes_away_loses_nothing_that_was_read() -> None:
    def source() -> Iterator[Block]:
        yield from blocks(ecg(10.2))
        raise DeviceError("the device fell silent")

    seen = []
    with pytest.raises(DeviceError, match="fell silent"):
        for event in stream(source(), Reader()):  # type: ignore[arg-type]
            seen.append(event)
    assert isinstance(seen[-1], LiveState)
    assert any(isinstance(event, WindowResult) for event in seen)


def test_an_unusable_window_is_told_and_the_stream_goes_on() -> None:
    reader = Reader(InputError("expected an ECG, found all leads flat"))
    results = [e for e in stream(paced(ecg(21), reader), reader) if isinstance(e, WindowResult)]  # type: ignore[arg-type]
    assert [result.error for result in results] == ["expected an ECG, found all leads flat"] * 2


def test_a_broken_backend_ends_the_stream() -> None:
    with pytest.raises(BackendError):
        list(stream(blocks(ecg(21)), Reader(BackendError("out of memory"))))  # type: ignore[arg-type]


def test_a_gap_is_counted_and_stays_a_gap() -> None:
    def source() -> Iterator[Block]:
        yield from blocks(ecg(6))
        yield Block(np.zeros((12, 25), np.float32), FS, ecg(1).leads, 8.0, lost=500)
        yield from blocks(ecg(3), start=8.1)

    reader = Reader()
    states = [event for event in stream(source(), reader) if isinstance(event, LiveState)]  # type: ignore[arg-type]
    assert (states[-1].gaps, states[-1].lost) == (1, 500)
    assert states[-1].gap_seconds == pytest.approx(2.0, abs=0.01)
    assert np.isnan(reader.windows[0].signal[0]).sum() == pytest.approx(500, abs=2)


def test_a_clock_that_jumps_by_years_does_not_hang() -> None:
    def source() -> Iterator[Block]:
        yield block(0.0, 25)
        yield block(1e9, 25, lost=7)

    states = [e for e in stream(source(), Reader()) if isinstance(e, LiveState)]  # type: ignore[arg-type]
    assert states[-1].gaps == 1
    assert states[-1].skipped > 10_000_000


def test_a_device_without_a_clean_sample_is_shown_as_such() -> None:
    silent = (Block(np.full((2, 25), np.nan, np.float32), FS, LEADS, i * 0.1, 0, LEADS) for i in range(20))
    state = [event for event in stream(silent, Reader()) if isinstance(event, LiveState)][-1]  # type: ignore[arg-type]
    assert state.heart_rate is None and state.quality is None and state.electrodes_off == LEADS


@pytest.mark.parametrize(
    "options", [{"interval": 0}, {"interval": 0.4}, {"windows": 0}, {"duration": -1.0}, {"interval": float("nan")}]
)
def test_options_that_make_no_stream_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expected an interval of 0.5 s or more"):
        list(stream(iter(()), Reader(), **options))  # type: ignore[arg-type]


def test_a_clock_that_goes_back_is_an_error() -> None:
    buffer = WindowBuffer(LEADS, FS, 10)
    buffer.append(block(5.0, 250))
    with pytest.raises(DeviceError, match="clock went back"):
        buffer.append(block(2.0, 250))


def test_other_leads_than_at_the_start_are_an_error() -> None:
    buffer = WindowBuffer(LEADS, FS, 10)
    with pytest.raises(DeviceError, match="2 leads"):
        buffer.append(Block(np.zeros((1, 5), np.float32), FS, ("I",), 0.0))


@given(st.lists(st.tuples(st.integers(1, 900), st.sampled_from([0, 0, 0, 7, 130, 5000])), min_size=1, max_size=25))
def test_the_buffer_holds_what_arrived_where_the_clock_says(pieces: list[tuple[int, int]]) -> None:
    buffer = WindowBuffer(LEADS, FS, LIVE_SECONDS)
    whole: list[float] = []
    lost = 0
    for value, (count, missing) in enumerate(pieces):
        missing = missing if whole else 0
        whole += [float("nan")] * missing + [float(value)] * count
        lost += missing
        buffer.append(block(100.0 + (len(whole) - count) / FS, count, value, missing))
    recent = buffer.last(LIVE_SECONDS)
    expected = whole[-buffer.capacity :]
    np.testing.assert_array_equal(recent.signal, np.array([expected, expected], np.float32))
    assert recent.signal.flags.c_contiguous
    assert (buffer.lost, buffer.gap_samples) == (lost, lost)
    assert buffer.end == pytest.approx(100.0 + len(whole) / FS)
