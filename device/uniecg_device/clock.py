"""The device's clock as seen from here: a line under the times at which its samples arrived.

A sample may arrive late, by the line's buffers, the USB chip's batches or a busy machine, but never before it was
taken. So the line lies under all (sample number, arrival time) points, touching the fastest: the one with the least
total delay, which is the edge of the lower convex hull below the points' centroid (S. Moon, P. Skelly, D. Towsley,
"Estimation and Removal of Clock Skew from Network Delay Measurements", INFOCOM 1999). Its slope is the device's true
sampling rate. Samples that went missing lift all later points for good; a delay lifts them for a while.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

BUCKET_SECONDS = 1.0
_MEMORY = 600  # buckets: the drift is fitted to ten minutes
_REFERENCE = 60  # buckets that a step is measured against; few, as a crystal's rate follows its temperature
_LASTING = 3  # buckets that stand above the line before it is called a step
_FIT_SECONDS = 5.0  # less than this says nothing about the rate
_STEP_FRAMES = 1.5  # the age of the newest frame in a batch varies by one frame without any loss
_MOST_OFF = 0.2  # a rate further from the nominal one is not a device's at its own pace


def now() -> float:
    """Seconds that never go back, those asleep included where the system counts them (Linux)."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Arrival(NamedTuple):
    """At `time` this many samples had arrived."""

    samples: int
    time: float


@dataclass(frozen=True)
class Line:
    """time = start + samples * period, in seconds."""

    start: float
    period: float

    def delay(self, arrival: Arrival) -> float:
        """Seconds above the line."""
        return arrival.time - self.start - arrival.samples * self.period


class ClockModel:
    """Follows one device by when its samples arrive; keeps the fastest arrival of each second, for ten minutes.

    fs: nominal rate in Hz. frame_samples: samples come, and go missing, in multiples of this.
    counted: the wire has a counter, so that nobody asks this model for missing samples.

    What it sees: drift, to a few ppm after a minute and better later; and the loss of two or more frames at once,
    three seconds after it happened, to within a frame or two where the line is steady (more where even the
    fastest arrival of a second varies). What it cannot see: a single lost frame, which is no more than the
    unsteadiness of arrival; small losses that come steadily, which look like a slow clock (beyond the +-200 ppm of any
    crystal they are the likelier reason); where within the last seconds the loss was; and whether a delay that lasts
    longer than three seconds, as in a congested network, will be made up after all.
    """

    def __init__(self, fs: float, frame_samples: int = 1, *, counted: bool = False) -> None:
        self._fs, self._frame, self._counted = fs, frame_samples, counted
        self._fastest: deque[Arrival] = deque(maxlen=_MEMORY)
        self._best: Arrival | None = None
        self._bucket_end = 0.0
        self.missing = 0
        """Samples that were found missing so far: an estimate."""
        self.drift_ppm: float | None = None
        """How much faster than nominal the device's clock runs, None in the first seconds."""

    def observe(self, arrival: float, samples: int) -> int:
        """Takes note that `samples` (since the beginning) had arrived by `arrival`; how many it now finds missing.

        To be called only when samples have arrived. A number above 0 is to be added to every later sample's
        number, not to `samples`.
        """
        point = Arrival(samples + self.missing, arrival)
        nominal = Line(0.0, 1 / self._fs)
        if self._best is None:
            self._best, self._bucket_end = point, arrival + BUCKET_SECONDS
        elif arrival >= self._bucket_end:
            self._fastest.append(self._best)
            self._best, self._bucket_end = point, arrival + BUCKET_SECONDS
            found = 0 if self._counted else self._find_missing()
            line = _fit(self._fastest)
            self.drift_ppm = None if line is None else 1e6 * (1 / (line.period * self._fs) - 1)
            return found
        elif nominal.delay(point) < nominal.delay(self._best):
            self._best = point
        return 0

    def sample_at(self, moment: float) -> float:
        """Number of the sample that the device takes then, missing ones counted.

        By its true rate if that is known, else by the nominal. Raises ValueError before anything was observed.
        """
        line = self._line()
        return (moment - line.start) / line.period

    def time_of(self, sample: float) -> float:
        """When sample number `sample` arrived or will, without any delay. Raises ValueError as `sample_at` does."""
        line = self._line()
        return line.start + sample * line.period

    def _line(self) -> Line:
        if self._best is None:
            raise ValueError("no sample has arrived yet")
        recent = [*list(self._fastest)[-_REFERENCE:], self._best]
        return _fit(recent) or _under(recent, 1 / self._fs)

    def _find_missing(self) -> int:
        """How many samples a step of the last seconds amounts to, which it takes out of them."""
        points = list(self._fastest)[-_REFERENCE - _LASTING :]
        before, after = points[:-_LASTING], points[-_LASTING:]
        line = _fit(before)
        if line is None or abs(line.period * self._fs - 1) > _MOST_OFF:
            return 0
        usual = sorted(line.delay(point) for point in before)
        rise = sorted(line.delay(point) for point in after)
        spread = usual[(9 * len(usual)) // 10]
        reach = (after[-1].time - before[-1].time) / (before[-1].time - before[0].time)
        frame = self._frame * line.period
        step = rise[len(rise) // 2] - usual[len(usual) // 2]
        # Half of the step: the second in which it happened stands somewhere between and is no part of the rest.
        if rise[0] <= max(spread * (1 + 2 * reach) + _STEP_FRAMES * frame, step / 2):
            return 0
        found = self._frame * round(step / frame)
        for _ in after:
            self._fastest.pop()
        self._fastest.extend(Arrival(point.samples + found, point.time) for point in after)
        if self._best is not None:
            self._best = Arrival(self._best.samples + found, self._best.time)
        self.missing += found
        return found


def _fit(points: Sequence[Arrival]) -> Line | None:
    """The line under all points with the least total delay; None where they span too little."""
    if len(points) < 2 or points[-1].time - points[0].time < _FIT_SECONDS:
        return None
    centre = sum(point.samples for point in points) / len(points)
    hull = _lower_hull(points)
    right = next(k for k in range(1, len(hull)) if hull[k].samples >= centre)
    (n0, t0), (n1, t1) = hull[right - 1], hull[right]
    period = (t1 - t0) / (n1 - n0)
    return Line(t0 - n0 * period, period)


def _under(points: Sequence[Arrival], period: float) -> Line:
    """The line of that slope that touches the points from below."""
    return Line(min(point.time - point.samples * period for point in points), period)


def _lower_hull(points: Sequence[Arrival]) -> list[Arrival]:
    """Corners of the lower convex hull, left to right (A. Andrew's monotone chain, 1979)."""
    hull: list[Arrival] = []
    for point in points:
        while len(hull) > 1 and _turns_right(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _turns_right(a: Arrival, b: Arrival, c: Arrival) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b.samples - a.samples) * (c.time - a.time) <= (c.samples - a.samples) * (b.time - a.time)
