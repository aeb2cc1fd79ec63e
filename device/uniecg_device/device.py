"""A live device: a thread reads the line into the native framer, the caller iterates over blocks of 12 leads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np

from uniecg_device.counts import Tap, assemble, channel_scale, leads_off, output_leads, to_millivolts
from uniecg_device.link import DeviceStats as DeviceStats
from uniecg_device.link import Link
from uniecg_device.link import Reconnect as Reconnect
from uniecg_device.profile import Profile, load_profile
from uniecg_device.signals import Block
from uniecg_device.stretch import Stretch

BLOCK_SECONDS = 0.1


def open_device(
    profile: str | Path | Profile,
    port: str,
    *,
    silence_seconds: float = 3.0,
    ring_seconds: float = 30.0,
    reconnect: float = 60.0,
    notify: Callable[[str], None] | None = None,
    tap: Tap | None = None,
) -> Device:
    """Opens the port, starts the device as its profile says, and returns it streaming.

    profile: name of a built-in profile or path of a TOML file. port: anything pyserial opens, or
    `usb:VID:PID[:SERIAL]`. silence_seconds: without a frame for so long, the device counts as lost.
    ring_seconds: how much is kept for a caller that is busy; what comes after that is counted and lost.
    reconnect: a device that was lost while it streamed is looked for so many seconds long; 0: not at all.
    notify: told, from the reading thread, in one line when the device was lost and when it is back.
    tap: sees the line's bytes and the device's counts.
    Raises ProfileError, DeviceError.
    """
    if not isinstance(profile, Profile):
        profile = load_profile(profile)
    block_samples = max(1, round(profile.fs * BLOCK_SECONDS))
    link = Link(
        profile,
        port,
        silence_seconds=silence_seconds,
        ring_samples=max(block_samples, round(profile.fs * ring_seconds)),
        block_samples=block_samples,
        patience=reconnect,
        notify=notify,
        tap=tap,
    )
    return Device(link, block_samples)


class Device:
    """A streaming device: iterate over it for blocks, use it as a context manager, read `stats` at any time.

    Iteration yields a Block about every 100 ms with the leads of `leads`, and raises DeviceError when
    the device is lost for good, after everything received before has been yielded. A gap on
    the device's clock never lies inside a block. The clock is its frame counter: the loss of a whole
    multiple of the counter's modulus goes unseen. Without a counter it is the number of samples that came, and
    those that clock.ClockModel finds missing.

    A device that has streamed and then went away or fell silent is looked for, with growing pauses: by its USB
    serial number under whatever name it has now, without one in the same USB socket; a port that is not on
    USB under the same URL. It is started again as at first, iteration waiting meanwhile, and the device's clock goes
    on: the gap is as long as the wall clock says, which is some ten milliseconds more or less and what the
    device's own clock drifted meanwhile; or exact, where its counter ran on through it. `reconnects` tells which.

    One thread may iterate; `close`, `stats` and `reconnects` are safe from any.
    """

    def __init__(self, link: Link, block_samples: int) -> None:
        """Made by `open_device`."""
        self.profile = link.profile
        self.fs = link.profile.fs
        self.leads = output_leads(link.profile.leads)
        self._link = link
        self._scale = channel_scale(link.profile)
        self._block_samples = block_samples
        self._blocks: deque[Block] = deque()
        self._next_number = 0

    @property
    def stats(self) -> DeviceStats:
        return self._link.stats

    @property
    def reconnects(self) -> tuple[Reconnect, ...]:
        """The latest 256 gaps that were a loss of the device, oldest first."""
        return self._link.reconnects

    def close(self) -> None:
        """Stops the device and frees the port; iteration then ends after what was received."""
        self._link.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Device:
        return self

    def __next__(self) -> Block:
        link = self._link
        waiting_since = time.monotonic()
        while not self._blocks:
            over = link.over  # before looking at the rings, which are no longer filled then
            stretch = link.stretches[0]
            ended = stretch.ended
            ready = stretch.available
            late = time.monotonic() - waiting_since > 2 * BLOCK_SECONDS
            if ready >= self._block_samples or (ready and (late or ended)):
                self._take(stretch, min(ready, self._block_samples))
            elif ended and len(link.stretches) > 1:
                link.stretches.popleft()
            elif over and link.failure is not None:
                raise link.failure
            elif over:
                raise StopIteration
            else:
                link.arrived.clear()
                if stretch.available == ready and not link.arrived.wait(BLOCK_SECONDS) and link.tap is not None:
                    link.tap.waiting()
        return self._blocks.popleft()

    def _take(self, stretch: Stretch, count: int) -> None:
        """Samples to blocks, a new one after every gap."""
        samples, leads = stretch.pull(count), self.profile.leads
        millivolts, numbers = to_millivolts(samples.counts, *self._scale), samples.numbers
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        edges = [0, *breaks.tolist(), count]
        for first, last in pairwise(edges):
            start = int(numbers[first])
            off = samples.electrodes_off[first:last]
            self._blocks.append(
                Block(
                    signal=assemble(leads, self.profile.wilson_leads, millivolts[:, first:last], off),
                    fs=self.fs,
                    leads=self.leads,
                    start=start / self.fs,
                    lost=start - self._next_number,
                    electrodes_off=leads_off(leads, off),
                )
            )
            self._next_number = start + last - first
