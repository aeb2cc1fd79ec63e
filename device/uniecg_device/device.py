"""A live device: a thread reads the line into the native framer, the caller iterates over blocks of 12 leads."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from uniecg_device._native import Framer
from uniecg_device.encoder import encode_pattern
from uniecg_device.errors import DeviceError
from uniecg_device.profile import Command, Profile, load_profile, parse_pattern
from uniecg_device.signals import LEADS, Block, derive_limb_leads
from uniecg_device.transport import Transport

BLOCK_SECONDS = 0.1
_LIMB_LEADS = LEADS[:6]


@dataclass(frozen=True)
class DeviceStats:
    """Totals since the device was opened; samples are counted per lead.

    bytes = those of valid frames + skipped_bytes + at most one unfinished frame.
    lost_samples: missing by the frame counter. overflowed_samples: received, but nobody took the
    older ones out of the ring in time. Both appear as a gap between blocks.
    bad_headers, bad_footers, bad_checksums: where something looked like a frame and was none.
    resyncs: frames found again after skipped bytes. messages: valid frames without samples.
    """

    bytes: int
    frames: int
    messages: int
    samples: int
    skipped_bytes: int
    resyncs: int
    bad_headers: int
    bad_footers: int
    bad_checksums: int
    counter_gaps: int
    lost_samples: int
    overflowed_samples: int
    dropped_messages: int


def open_device(
    profile: str | Path | Profile, port: str, *, silence_seconds: float = 3.0, ring_seconds: float = 30.0
) -> Device:
    """Opens the port, starts the device as its profile says, and returns it streaming.

    profile: name of a built-in profile or path of a TOML file. port: anything pyserial opens.
    silence_seconds: without a frame for so long, iteration ends in a DeviceError.
    ring_seconds: how much is kept for a caller that is busy; what comes after that is counted and lost.
    Raises ProfileError, DeviceError.
    """
    if not isinstance(profile, Profile):
        profile = load_profile(profile)
    return Device(profile, port, silence_seconds=silence_seconds, ring_seconds=ring_seconds)


class Device:
    """A streaming device: iterate over it for blocks, use it as a context manager, read `stats` at any time.

    Iteration yields a Block about every 100 ms with the leads of `leads`, and raises DeviceError when
    the device went away or fell silent, after everything received before has been yielded. A gap on
    the device's clock never lies inside a block. The clock is its frame counter: the loss of a whole
    multiple of the counter's modulus goes unseen. One thread may iterate; `close` and `stats` are
    safe from any.
    """

    def __init__(self, profile: Profile, port: str, *, silence_seconds: float, ring_seconds: float) -> None:
        self.profile = profile
        self.fs = profile.fs
        self.leads = _output_leads(profile.leads)
        self._silence_seconds = silence_seconds
        self._block_samples = max(1, round(profile.fs * BLOCK_SECONDS))
        self._framer = profile.make_framer(max(self._block_samples, round(profile.fs * ring_seconds)))
        self._blocks: deque[Block] = deque()
        self._next_position = 0
        self._failure: BaseException | None = None
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._transport = Transport(port, profile.port.baud)
        try:
            self._start()
        except BaseException:
            self._transport.close()
            raise
        self._reader = threading.Thread(target=self._read, name="uniecg-reader", daemon=True)
        self._reader.start()

    @property
    def stats(self) -> DeviceStats:
        return DeviceStats(**self._framer.counters())

    def close(self) -> None:
        """Stops the device and frees the port; iteration then ends after what was received."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._reader.join()
        try:
            if self._failure is None:
                for name in self.profile.close:
                    self._send(name)
        except DeviceError:
            pass  # it went away while it was being stopped
        self._transport.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Device:
        return self

    def __next__(self) -> Block:
        waiting_since = time.monotonic()
        while not self._blocks:
            ended = not self._reader.is_alive()  # before looking at the ring, which it no longer fills
            ready = self._framer.available
            late = time.monotonic() - waiting_since > 2 * BLOCK_SECONDS
            if ready >= self._block_samples or (ready and (late or ended)):
                self._take(min(ready, self._block_samples))
            elif ended and self._failure is not None:
                raise self._failure
            elif ended:
                raise StopIteration
            else:
                self._arrived.clear()
                if self._framer.available == ready:
                    self._arrived.wait(BLOCK_SECONDS)
        return self._blocks.popleft()

    # Opening and closing

    def _start(self) -> None:
        """Sends the profile's opening commands; samples are kept from the last one on."""
        self._transport.discard_input()
        for name in self.profile.open[:-1]:
            command = self._send(name)
            _await_reply(self._transport, self.profile.make_framer(self._block_samples), command, settle=True)
        self._transport.discard_input()
        if self.profile.open:
            command = self._send(self.profile.open[-1])
            # A device that streams without acknowledging is welcome; one that stays silent is found out later.
            _await_reply(self._transport, self._framer, command, settle=False)

    def _send(self, name: str) -> Command:
        command = self.profile.find_command(name)
        assert command is not None, "checked when the profile was loaded"
        self._transport.write(encode_pattern(command.send))
        return command

    # The reader thread

    def _read(self) -> None:
        try:
            frames, last = 0, time.monotonic()
            while not self._stop.is_set():
                self._framer.push(self._transport.read())
                stats = self.stats
                if stats.frames != frames:
                    frames, last = stats.frames, time.monotonic()
                    self._arrived.set()
                elif time.monotonic() - last > self._silence_seconds:
                    raise DeviceError(self._describe_silence(stats))
        except BaseException as error:  # the iterating thread raises it
            self._failure = error
        finally:
            self._arrived.set()

    def _describe_silence(self, stats: DeviceStats) -> str:
        seconds = f"{self._silence_seconds:g} s"
        if stats.frames:
            return f"{self._transport.url} fell silent: no frame for {seconds}; check the cable and the device's power"
        if stats.bytes:
            return (
                f"{self._transport.url} sends bytes but no frame of profile {self.profile.name} in {seconds}; "
                f"check that profile and baud rate ({self.profile.port.baud}) are the device's"
            )
        return f"{self._transport.url} sends nothing for {seconds}; check that the device is on and is the right port"

    # From samples to blocks

    def _take(self, count: int) -> None:
        millivolts, electrodes_off, positions = self._framer.pull(count)
        breaks = np.flatnonzero(np.diff(positions) != 1) + 1
        edges = [0, *breaks.tolist(), count]
        for first, last in pairwise(edges):
            start = int(positions[first])
            off = electrodes_off[first:last]
            self._blocks.append(
                Block(
                    signal=_assemble(self.profile, self.leads, millivolts[:, first:last], off),
                    fs=self.fs,
                    leads=self.leads,
                    start=start / self.fs,
                    lost=start - self._next_position,
                    electrodes_off=_leads_off(self.profile, off),
                )
            )
            self._next_position = start + last - first


def _await_reply(transport: Transport, framer: Framer, command: Command, *, settle: bool) -> bytes | None:
    """The answer, or None if there is none in time; without a declared answer, waits only to `settle` the line."""
    if command.reply is None and not settle:
        return None
    expected = parse_pattern(command.reply) if command.reply is not None else None
    deadline = time.monotonic() + command.wait
    while time.monotonic() < deadline:
        framer.push(transport.read())
        while (message := framer.pull_message()) is not None:
            if expected is not None and _fits(expected, message):
                return message
    return None


def _fits(pattern: list[int | None], message: bytes) -> bool:
    return len(pattern) == len(message) and all(p is None or p == b for p, b in zip(pattern, message, strict=True))


def _output_leads(leads: tuple[str, ...]) -> tuple[str, ...]:
    """The device's leads and those that follow from I and II, in `LEADS` order."""
    derived = _LIMB_LEADS if {"I", "II"} <= set(leads) else ()
    return tuple(lead for lead in LEADS if lead in leads or lead in derived)


def _assemble(
    profile: Profile, leads: tuple[str, ...], millivolts: NDArray[np.float32], electrodes_off: NDArray[np.uint32]
) -> NDArray[np.float32]:
    """Millivolts of all output leads, (leads, samples); NaN where an electrode they need is off."""
    rows = dict(zip(profile.leads, millivolts, strict=True))
    if electrodes_off.any():
        wilson_off = np.zeros(len(electrodes_off), bool)
        for bit, lead in enumerate(profile.leads):
            off = (electrodes_off >> np.uint32(bit)) & np.uint32(1) == 1
            rows[lead] = np.where(off, np.float32(np.nan), rows[lead])
            if lead in profile.wilson_leads:
                wilson_off |= off
        for lead in profile.leads:
            if lead.startswith("V"):
                rows[lead] = np.where(wilson_off, np.float32(np.nan), rows[lead])
    if "I" in rows and "II" in rows:
        limb = dict(zip(_LIMB_LEADS, derive_limb_leads(rows["I"], rows["II"]), strict=True))
        rows = limb | rows
    return np.ascontiguousarray(np.stack([rows[lead] for lead in leads]), np.float32)


def _leads_off(profile: Profile, electrodes_off: NDArray[np.uint32]) -> tuple[str, ...]:
    flags = int(np.bitwise_or.reduce(electrodes_off))
    return tuple(lead for bit, lead in enumerate(profile.leads) if flags >> bit & 1)
