"""The line to a device, read by a thread of its own and taken up again when the device was lost."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from uniecg_device import discovery, handshake
from uniecg_device.clock import now
from uniecg_device.counts import Tap
from uniecg_device.errors import DeviceError
from uniecg_device.profile import Profile
from uniecg_device.stretch import Stretch
from uniecg_device.transport import Transport

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds between attempts to reconnect
_SETTLE_SECONDS = 0.1  # of samples, the fastest of which tells where on the device's clock they lie
_MOST_STRETCHES = 8  # that wait to be taken; each has a ring of its own
_MOST_RECONNECTS = 256  # that are remembered


@dataclass(frozen=True)
class DeviceStats:
    """Totals since the device was opened, over all reconnects; samples are counted per lead.

    bytes = those of valid frames + skipped_bytes + at most one unfinished frame for each time it was connected.
    lost_samples: missing by the frame counter. overflowed_samples: received, but nobody took the
    older ones out of the ring in time. disconnected_samples: between the last before a loss of the device and the
    first after it (see Device for how well that is known). estimated_lost_samples: missing by the clock model, where
    the wire has no counter. All four appear as gaps between blocks.
    bad_headers, bad_footers, bad_checksums: where something looked like a frame and was none.
    resyncs: frames found again after skipped bytes. messages: valid frames without samples. duplicates: data
    frames that repeated the one before. reconnects: how often the device came back.
    drift_ppm: how much faster than its nominal rate the device samples, by this machine's clock; None at first.
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
    duplicates: int = 0
    reconnects: int = 0
    disconnected_samples: int = 0
    estimated_lost_samples: int = 0
    drift_ppm: float | None = None


@dataclass(frozen=True)
class Reconnect:
    """A gap that was a loss of the device; it ends where the block with the same `start` begins.

    start: seconds on the device's clock. samples: in the gap. by_counter: whether the device's own counter, which
    ran on meanwhile, decided that number; else the wall clock did. port: where the device came back.
    """

    start: float
    samples: int
    by_counter: bool
    port: str


@dataclass
class _Loss:
    """The device is gone: why, until when it is looked for, and the pause before the next attempt."""

    error: DeviceError
    deadline: float
    pause: float = _FIRST_PAUSE


class Link:
    """A device streaming into `stretches`, oldest first, of which only the iterating thread removes empty ones.

    patience: seconds that a lost device is looked for. `arrived` is set when there is a block to take or a stretch has
    ended; `over` is once nothing more will come, `failure` then says why unless it was closed. Raises DeviceError
    where it does not open.
    """

    def __init__(
        self,
        profile: Profile,
        port: str,
        *,
        silence_seconds: float,
        ring_samples: int,
        block_samples: int,
        patience: float,
        notify: Callable[[str], None] | None,
        tap: Tap | None = None,
    ) -> None:
        self.profile = profile
        self.failure: BaseException | None = None
        self.arrived = threading.Event()
        self._silence_seconds, self._ring_samples, self._patience = silence_seconds, ring_samples, patience
        self._block_samples = block_samples
        self._notify = notify or (lambda line: None)
        self.tap = tap
        self._port, self._identity = port, discovery.parse_usb(port)
        self._stop = threading.Event()
        self._lock = threading.Lock()  # over the totals and the change from one stretch to the next
        self._totals: dict[str, int] = {}  # without those of the stretch being read
        self._drift_ppm: float | None = None
        self._reconnects: deque[Reconnect] = deque(maxlen=_MOST_RECONNECTS)
        self._transport: Transport | None = None
        self._stretch: Stretch | None = None
        self._transport, self._stretch = self._connect()
        self._latest = self._stretch  # of those with a place on the device's clock
        self.stretches = deque([self._stretch])
        self._reader = threading.Thread(target=self._run, name="uniecg-reader", daemon=True)
        self._reader.start()

    @property
    def over(self) -> bool:
        return not self._reader.is_alive()

    @property
    def stats(self) -> DeviceStats:
        with self._lock:
            counters = self._totals if self._stretch is None else _sum(self._totals, self._stretch.counters)
            return DeviceStats(**counters, drift_ppm=self._drift_ppm)

    @property
    def reconnects(self) -> tuple[Reconnect, ...]:
        with self._lock:
            return tuple(self._reconnects)

    def close(self) -> None:
        """Stops the device and frees the port."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._reader.join()
        if self._transport is not None:
            with suppress(DeviceError):  # it went away while it was being stopped
                for name in self.profile.close:
                    handshake.send(self._transport, self.profile, name)
            self._transport.close()

    def _connect(self) -> tuple[Transport, Stretch]:
        """Opens the port under the name that it has now and starts the device. Raises DeviceError."""
        ports = discovery.serial_ports()
        url = self._port if self._identity is None else discovery.find_port(self._identity, ports)
        transport = Transport(url, self.profile.port.baud, dtr=self.profile.port.dtr)
        stretch = Stretch(self.profile, self._ring_samples, self.tap)
        try:
            handshake.start(transport, self.profile, stretch, lambda: self.profile.make_framer(1), self._stop)
        except BaseException:
            transport.close()
            raise
        self._identity = discovery.identify(url, ports) or self._identity
        stretch.heard = now()
        return transport, stretch

    # The reading thread

    def _run(self) -> None:
        try:
            self._read_until_stopped()
        except BaseException as error:  # the iterating thread raises it
            self.failure = error
        finally:
            self._end_stretch()
            self.arrived.set()

    def _read_until_stopped(self) -> None:
        """Through losses of the device; raises DeviceError when one lasts too long."""
        loss: _Loss | None = None
        while not self._stop.is_set():
            try:
                if self._transport is None:
                    self._transport, self._stretch = self._connect()
                self._read(self._transport)
            except DeviceError as error:
                loss = self._after(error, loss)

    def _read(self, transport: Transport) -> None:
        """Until it is stopped. Raises DeviceError when the device goes away or falls silent."""
        stretch = self._stretch
        assert stretch is not None, "connected"
        settled = stretch is self._latest
        while not self._stop.is_set():
            before = stretch.heard
            stretch.push(transport.read())
            self._drift_ppm = self._drift_ppm if stretch.drift_ppm is None else stretch.drift_ppm
            if stretch.heard != before:
                if stretch.available >= self._block_samples:
                    self.arrived.set()
            elif now() - stretch.heard > self._silence_seconds:
                raise DeviceError(self._describe_silence(transport.url, stretch.counters))
            if not settled and stretch.began is not None and now() - stretch.began >= _SETTLE_SECONDS:
                self._settle(stretch)
                settled = True

    def _after(self, error: DeviceError, loss: _Loss | None) -> _Loss:
        """Waits for the next attempt, as the device was lost or was still not there. Raises DeviceError at the end."""
        if self._end_stretch():
            loss = _Loss(error, now() + self._patience)
            if self._patience > 0:
                self._notify(f"{error}; looking for it for {self._patience:g} s")
        elif loss is None:
            raise error  # it never streamed: nothing that waiting would mend
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        if now() >= loss.deadline:
            if error is loss.error:
                raise error
            raise DeviceError(f"{loss.error}; not back within {self._patience:g} s: {error}") from error
        self._stop.wait(loss.pause)
        loss.pause = min(2 * loss.pause, _LONGEST_PAUSE)
        while len(self.stretches) >= _MOST_STRETCHES and not self._stop.wait(_SETTLE_SECONDS):
            pass  # nobody takes what is there: a port opened now would only fill another ring
        return loss

    def _end_stretch(self) -> bool:
        """Lays the stretch being read to the others, if there is one; whether it had samples."""
        stretch = self._stretch
        if stretch is None:
            return False
        if stretch.position and stretch is not self._latest:
            self._settle(stretch)
        with self._lock:
            self._totals = _sum(self._totals, stretch.counters)
            self._stretch = None
        stretch.ended = True
        self.arrived.set()
        return stretch.position > 0

    def _settle(self, stretch: Stretch) -> None:
        """Gives the stretch its place on the device's clock, after the one before, and lets iteration have it."""
        by_counter = stretch.follow(self._latest)
        gap = stretch.origin - self._latest.end
        port = self._port if self._transport is None else self._transport.url
        reconnect = Reconnect(stretch.origin / self.profile.fs, gap, by_counter, port)
        with self._lock:
            self._totals = _sum(self._totals, {"reconnects": 1, "disconnected_samples": gap})
            self._reconnects.append(reconnect)
        self._latest = stretch
        self.stretches.append(stretch)
        self._notify(f"{port} is back; {gap} samples ({gap / self.profile.fs:.1f} s) are missing")

    def _describe_silence(self, url: str, counters: Mapping[str, int]) -> str:
        seconds = f"{self._silence_seconds:g} s"
        if counters["frames"]:
            return f"{url} fell silent: no frame for {seconds}; check the cable and the device's power"
        if counters["bytes"]:
            return (
                f"{url} sends bytes but no frame of profile {self.profile.name} in {seconds}; "
                f"check that profile and baud rate ({self.profile.port.baud}) are the device's"
            )
        return f"{url} sends nothing for {seconds}; check that the device is on and is the right port"


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one.keys() | other.keys()}
