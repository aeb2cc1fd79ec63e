"""One stretch of samples between a plug-in and the next plug-out, and where it lies on the device's clock."""

from __future__ import annotations

from collections import deque

import numpy as np

from uniecg_device._native import Framer
from uniecg_device.clock import ClockModel, now
from uniecg_device.counts import Samples, Tap
from uniecg_device.profile import Profile

REFINE_SECONDS = 0.05
_TAIL = 4096  # bytes kept of what came last: more than one frame of any grammar


class Stretch:
    """A framer with the clock fitted to it. The reading thread pushes, the iterating thread pulls, the tap sees both.

    origin: number, on the device's clock, of the first sample; 0 for the first stretch. position: samples so far,
    lost ones included where the wire counts them. began, heard: when the first and the last of them arrived.
    """

    def __init__(self, profile: Profile, ring_samples: int, tap: Tap | None = None) -> None:
        self._framer = profile.make_framer(ring_samples)
        self._profile = profile
        self._clock = ClockModel(profile.fs, profile.samples, counted=profile.counter_span is not None)
        self._tail = b""
        self._jumps: deque[tuple[int, int]] = deque()
        self._shift = 0
        self.origin = 0
        self.position = 0
        self.began: float | None = None
        self.heard = now()
        self.ended = False
        self._tap = tap
        self._connection = 0 if tap is None else tap.connected()

    # The reading thread

    def push(self, data: bytes) -> None:
        """Takes bytes that have just arrived."""
        if self._tap is not None:
            self._tap.wire(data)
        self._framer.push(data)
        self._tail = (self._tail + data)[-_TAIL:]
        position = _position(self._framer)
        if position == self.position:
            return
        self.position, self.heard = position, now()
        if self.began is None:
            self.began = self.heard
        found = self._clock.observe(self.heard, position)
        if found:
            self._jumps.append((position, found))

    def follow(self, before: Stretch) -> bool:
        """Sets the origin after that of an ended stretch; whether the device's counter decided it.

        The wall clock says how many samples lie between, to some ten milliseconds and the clock's drift. Where the
        device's counter ran on, the true number is the one nearby that agrees with the counter; a counter that
        was set back agrees, if at all, with one no further than REFINE_SECONDS from the wall clock's.
        """
        estimate = before.origin + before._clock.sample_at(self._clock.time_of(0))
        counted = self._by_counter(before, estimate)
        self.origin = max(before.end, round(estimate) if counted is None else counted)
        return counted is not None

    def _by_counter(self, before: Stretch, estimate: float) -> int | None:
        """The origin nearest to the estimate that the device's counter allows, if it is near enough to tell."""
        span, near = self._profile.counter_span, REFINE_SECONDS * self._profile.fs
        step = None if span is None or span < 2 * near else _counted_between(self._profile, before._tail, self._tail)
        if span is None or step is None:
            return None
        # From the last sample before to the last one now: `step` samples, or `span` more, or twice that ...
        candidate = before.end + step - self.position
        candidate += span * round((estimate - candidate) / span)
        return candidate if candidate >= before.end and abs(candidate - estimate) <= near else None

    @property
    def end(self) -> int:
        """Number, on the device's clock, of the sample that would come next."""
        return self.origin + self.position + self._clock.missing

    @property
    def counters(self) -> dict[str, int]:
        """The framer's, and what the clock model found missing; to be read from any thread."""
        return self._framer.counters() | {"estimated_lost_samples": self._clock.missing}

    @property
    def drift_ppm(self) -> float | None:
        return self._clock.drift_ppm

    # The iterating thread

    @property
    def available(self) -> int:
        return self._framer.available

    def pull(self, count: int) -> Samples:
        """Up to `count` samples."""
        counts, electrodes_off, unsigned = self._framer.pull_counts(count)
        positions = unsigned.astype(np.int64)
        numbers = positions + (self.origin + self._shift)
        while self._jumps and len(positions) and self._jumps[0][0] <= positions[-1]:
            first, found = self._jumps.popleft()
            numbers[positions >= first] += found
            self._shift += found
        samples = Samples(counts, electrodes_off, positions, numbers)
        if self._tap is not None:
            self._tap.samples(self._connection, samples)
        return samples


def _counted_between(profile: Profile, before: bytes, after: bytes) -> int | None:
    """How far the device's counter moved from the last frame of `before` to the last of `after`, modulo its span.

    A framer that gets both as one line says so, whatever it makes of the seam: what it counts as lost there and
    what it finds add up to the counter's own step.
    """
    framer = profile.make_framer(1)
    totals = []
    for data in (before, after):
        framer.push(data)
        totals.append(_position(framer))
    return totals[1] - totals[0] if totals[0] and totals[1] > totals[0] else None


def _position(framer: Framer) -> int:
    counters = framer.counters()
    return counters["samples"] + counters["lost_samples"]
