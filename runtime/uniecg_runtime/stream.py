"""The stream loop: blocks from a device in, live state and interpretations out.

Acquisition never waits for inference: the caller's thread takes blocks and measures the live
state; one worker interprets. A window that comes due while the worker is busy is skipped and
counted. Memory is bounded by the window and by one interpretation in flight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, is_dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniecg_device.beats import BeatDetector
from uniecg_device.errors import DeviceError, InputError, UniecgError
from uniecg_device.signals import Block, Recording
from uniecg_runtime.manifest import need
from uniecg_runtime.signal.quality import Quality, assess

if TYPE_CHECKING:
    from uniecg_runtime.assistant import Assistant, Interpretation

LIVE_SECONDS = 8.0
LIVE_EVERY = 1.0
LEAST_INTERVAL = 0.5  # between windows; a device's blocks come every 0.1 s
FINISH_POLL = 0.02


@dataclass(frozen=True)
class LiveState:
    """What is known within a second, by the device's clock.

    time: seconds on the device's clock. heart_rate: /min, median of the last 8 s, by beats at most 300 ms behind the
    signal; None where fewer than three were found. gaps, gap_seconds, lost: since the start. interpreted, skipped:
    windows; skipped those that came due while another was in work. poor: windows of a quality that is not acceptable,
    interpreted with that said or, with `skip_poor`, left out. device: the device's own counters, empty for a source
    that has none.
    """

    time: float
    heart_rate: float | None
    quality: Quality | None
    electrodes_off: tuple[str, ...]
    gaps: int
    gap_seconds: float
    lost: int
    interpreted: int
    skipped: int
    device: dict[str, float | None] = field(default_factory=dict)
    poor: int = 0


@dataclass(frozen=True)
class WindowDue:
    """A window handed to the worker; its quality is known before its text."""

    index: int
    start: float
    quality: Quality


@dataclass(frozen=True)
class TextPiece:
    """Text as the model writes it."""

    index: int
    text: str


@dataclass(frozen=True, eq=False)
class WindowResult:
    """The end of a window: its interpretation, or the reason why there is none."""

    index: int
    start: float
    interpretation: Interpretation | None
    error: str | None = None


Event = LiveState | WindowDue | TextPiece | WindowResult


class WindowBuffer:
    """The last `seconds` of signal by the device's clock; samples that never arrived are NaN."""

    def __init__(self, leads: tuple[str, ...], fs: float, seconds: float) -> None:
        self.leads, self.fs = leads, fs
        self.capacity = math.ceil(seconds * fs)
        self._ring: NDArray[np.float32] = np.full((len(leads), self.capacity), np.nan, np.float32)
        self._origin: float | None = None
        self._end = 0
        self.gaps = 0
        self.gap_samples = 0
        self.lost = 0

    @property
    def end(self) -> float:
        """Seconds on the device's clock just after the newest sample."""
        return (self._origin or 0.0) + self._end / self.fs

    @property
    def held(self) -> float:
        """Seconds since the first sample, gaps included."""
        return self._end / self.fs

    def append(self, block: Block) -> int:
        """Put a block where its clock says, and give the number of samples missing before it.

        Raises DeviceError when leads, rate or clock contradict the past."""
        if block.leads != self.leads or block.fs != self.fs:
            raise DeviceError(
                f"expected blocks of {len(self.leads)} leads at {self.fs:g} Hz as at the start, found "
                f"{len(block.leads)} leads at {block.fs:g} Hz; start the stream again."
            )
        if self._origin is None:
            self._origin = block.start
        first = round((block.start - self._origin) * self.fs)
        if block.lost == 0 and abs(first - self._end) <= 1:
            first = self._end  # rounding of the clock, not a gap
        if first < self._end:
            raise DeviceError(
                f"expected a block at {self.end:.3f} s or later, found one at {block.start:.3f} s: "
                "the device's clock went back; start the stream again."
            )
        missing = first - self._end
        if missing:
            self.gaps += 1
            self.gap_samples += missing
            self._write(np.full((len(self.leads), min(missing, self.capacity)), np.nan, np.float32), first)
        self.lost += block.lost
        self._write(block.signal, first + block.signal.shape[1])
        return missing

    def _write(self, signal: NDArray[np.float32], end: int) -> None:
        kept = signal[:, -self.capacity :]
        columns = np.arange(end - kept.shape[1], end) % self.capacity
        self._ring[:, columns] = kept
        self._end = end

    def last(self, seconds: float) -> Recording:
        """The newest `seconds` (or all there is), shape (leads, samples), NaN in gaps."""
        count = min(round(seconds * self.fs), self._end, self.capacity)
        columns = np.arange(self._end - count, self._end) % self.capacity
        return Recording(np.ascontiguousarray(self._ring[:, columns]), self.fs, self.leads, name="stream")


class Pulse:
    """The heart rate of the last seconds, by beats that are found as the samples come."""

    def __init__(self, leads: int, fs: float, seconds: float) -> None:
        self._detector = BeatDetector(fs, leads)
        self._fs, self._reach = fs, round(seconds * fs)
        self._beats: NDArray[np.int64] = np.empty(0, np.int64)
        self._end = 0

    def take(self, signal: NDArray[np.float32], missing: int) -> None:
        """The next samples, shape (leads, samples), behind so many that are missing."""
        if missing:
            self._detector.skip(missing)
        found = self._detector.push(signal).positions
        self._end += missing + signal.shape[1]
        beats = np.concatenate([self._beats, found])
        self._beats = beats[beats >= self._end - self._reach]

    @property
    def rate(self) -> float | None:
        """Per minute, from the median interval; None for fewer than three beats."""
        return float(60.0 * self._fs / np.median(np.diff(self._beats))) if self._beats.size >= 3 else None


class _Worker:
    """The one thread that interprets; its text and result arrive in a queue."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="uniecg-interpret")
        self._running: Future[None] | None = None
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.index = 0

    @property
    def busy(self) -> bool:
        return self._running is not None and not self._running.done()

    def start(self, recording: Recording, start: float) -> None:
        self.index += 1
        self._running = self._pool.submit(self._interpret, self.index, recording, start)

    def _interpret(self, index: int, recording: Recording, start: float) -> None:
        try:
            result = self._assistant.interpret(recording, on_text=lambda text: self.events.put(TextPiece(index, text)))
        except InputError as error:
            self.events.put(WindowResult(index, start, None, str(error)))
        else:
            self.events.put(WindowResult(index, start, result))

    def drain(self) -> Iterator[Event]:
        """What has arrived. Raises what the interpretation raised, an unusable window aside."""
        done = self._running if self._running is not None and self._running.done() else None
        while True:
            try:
                yield self.events.get_nowait()
            except Empty:
                break
        if done is not None:
            done.result()

    def finish(self) -> Iterator[Event]:
        """Wait for the window in work, yielding what it writes."""
        while self.busy:
            try:
                yield self.events.get(timeout=FINISH_POLL)
            except Empty:
                continue
        yield from self.drain()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def stream(
    blocks: Iterable[Block],
    assistant: Assistant,
    *,
    interval: float = 10.0,
    windows: int | None = None,
    duration: float | None = None,
    skip_poor: bool = False,
) -> Iterator[Event]:
    """Interpret what a device yields, until it ends, `windows` are done, or `duration` seconds of its clock passed.

    interval: seconds between the ends of two windows, by the device's clock. skip_poor: count a window whose quality
    is not acceptable (`LiveState.poor`), and do not interpret it.
    Raises DeviceError as the device does, after the window in work was yielded; InputError for bad options.
    """
    if not (interval >= LEAST_INTERVAL and (windows is None or windows > 0) and (duration is None or duration > 0)):
        raise InputError(
            f"expected an interval of {LEAST_INTERVAL:g} s or more, and a number of windows and a duration above zero, "
            f"found {interval:g}, {windows} and {duration}; give such values."
        )
    worker = _Worker(assistant)
    failure: UniecgError | None = None
    loop = _Loop(worker, _window_seconds(assistant), interval, windows, skip_poor)
    try:
        iterator = iter(blocks)
        while not loop.enough and (duration is None or loop.elapsed < duration):
            try:
                block = next(iterator)
            except StopIteration:
                break
            except UniecgError as error:
                failure = error
                break
            yield from loop.take(block, _counters(blocks))
        for event in worker.finish():
            yield loop.note(event)
        if loop.buffer is not None:
            yield loop.live(loop.buffer, _counters(blocks))
        if failure is not None:
            raise failure
    finally:
        worker.close()


def _window_seconds(assistant: Assistant) -> float:
    preprocessing = need(assistant.bundle.manifest.preprocessing, "an encoder")
    return preprocessing.samples / preprocessing.fs


def _counters(source: object) -> dict[str, float | None]:
    """The device's own counters, from its `stats`."""
    stats: Any = getattr(source, "stats", None)
    return asdict(stats) if is_dataclass(stats) and not isinstance(stats, type) else {}


class _Loop:
    """When the live state and the next window are due, and what was counted."""

    def __init__(self, worker: _Worker, seconds: float, interval: float, windows: int | None, skip_poor: bool) -> None:
        self.worker, self.seconds, self.interval, self.windows = worker, seconds, interval, windows
        self.skip_poor = skip_poor
        self.buffer: WindowBuffer | None = None
        self.pulse: Pulse | None = None
        self.electrodes_off: tuple[str, ...] = ()
        self.next_live = LIVE_EVERY
        self.next_window = seconds
        self.interpreted = 0
        self.skipped = 0
        self.poor = 0

    @property
    def elapsed(self) -> float:
        return 0.0 if self.buffer is None else self.buffer.held

    @property
    def enough(self) -> bool:
        return self.windows is not None and self.worker.index >= self.windows

    def take(self, block: Block, counters: dict[str, float | None]) -> Iterator[Event]:
        if self.buffer is None or self.pulse is None:
            self.buffer = WindowBuffer(block.leads, block.fs, max(self.seconds, LIVE_SECONDS))
            self.pulse = Pulse(len(block.leads), block.fs, LIVE_SECONDS)
        self.pulse.take(block.signal, self.buffer.append(block))
        self.electrodes_off = block.electrodes_off
        for event in self.worker.drain():
            yield self.note(event)
        # Arithmetic, not a loop, moves the due times on: a device's clock may jump by years.
        if self.elapsed >= self.next_live:
            self.next_live += LIVE_EVERY * (1 + math.floor((self.elapsed - self.next_live) / LIVE_EVERY))
            yield self.live(self.buffer, counters)
        if self.elapsed >= self.next_window:
            missed = math.floor((self.elapsed - self.next_window) / self.interval)
            self.next_window += self.interval * (1 + missed)
            self.skipped += missed
            yield from self._due(self.buffer)

    def _due(self, buffer: WindowBuffer) -> Iterator[Event]:
        if self.worker.busy:
            self.skipped += 1
            return
        for event in self.worker.drain():
            yield self.note(event)
        recording = buffer.last(self.seconds)
        start = buffer.end - recording.duration
        quality = assess(recording)
        self.poor += not quality.acceptable
        if self.skip_poor and not quality.acceptable:
            return
        yield WindowDue(self.worker.index + 1, start, quality)
        self.worker.start(recording, start)

    def note(self, event: Event) -> Event:
        if isinstance(event, WindowResult):
            self.interpreted += event.interpretation is not None
        return event

    def live(self, buffer: WindowBuffer, counters: dict[str, float | None]) -> LiveState:
        """Heart rate and quality over the last seconds, with every counter."""
        recent = buffer.last(LIVE_SECONDS)
        empty = not np.isfinite(recent.signal).any()
        return LiveState(
            time=buffer.end,
            heart_rate=None if self.pulse is None else self.pulse.rate,
            quality=None if empty else assess(recent),
            electrodes_off=self.electrodes_off,
            gaps=buffer.gaps,
            gap_seconds=buffer.gap_samples / buffer.fs,
            lost=buffer.lost,
            interpreted=self.interpreted,
            skipped=self.skipped,
            device=counters,
            poor=self.poor,
        )
