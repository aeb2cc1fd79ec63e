"""A device that is not there: the profile run backwards over a pty or a TCP port, with the device's exact bytes."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from uniecg_device.encoder import encode_pattern, encode_wire, to_counts
from uniecg_device.errors import InputError
from uniecg_device.faults import Event, FaultCounts, FaultyLine
from uniecg_device.faults import Faults as Faults
from uniecg_device.lines import PtyLine, TcpLine
from uniecg_device.profile import Command, Profile, load_profile, parse_pattern
from uniecg_device.signals import Recording

_TICK_SECONDS = 0.01
_BURST_FRAMES = 256
_MAX_BACKLOG = 1 << 15  # bytes that nobody reads; beyond this the line overruns, as a real one does
_MAX_COMMANDS = 4096  # bytes of commands not yet understood
_PAUSE_SECONDS = 0.03  # between the parts of a split frame, of the device's time
_PAUSE_SPEED = 30.0  # by which a pause is shortened where the device has no pace


@dataclass(frozen=True, kw_only=True)
class SimulatorStats(FaultCounts):
    """Totals: frames that the device made, and what happened to them before the line.

    overrun: frames due while nobody was there to take them, for as long as that was; their faults are counted too.
    """

    frames: int = 0
    overrun: int = 0
    commands: int = 0


class Simulator:
    """Serves one recording, or several in turn, as the device of a profile would send them.

    listen: "pty", or "HOST:PORT" for TCP (port 0 picks one). speed: 1 is true time, 2 twice as fast,
    None as fast as the reader takes it. loop: start again at the end; otherwise fall silent there.
    It streams only between the profile's start and stop commands, if it has them (from the beginning,
    if the profile says `autostart`), and counts frames from 0 at each start. What is due while a TCP port has no
    reader is lost, as on a real line. Values beyond the device's range are cut off as its converter would;
    `clipped` counts them. Leads that a recording lacks, and its NaN, show as electrodes off. Raises InputError
    where the recording is not in mV.
    """

    def __init__(
        self,
        profile: str | Path | Profile,
        recordings: Recording | Sequence[Recording],
        *,
        listen: str = "pty",
        speed: float | None = 1.0,
        loop: bool = True,
        faults: Faults | None = None,
    ) -> None:
        self.profile = profile if isinstance(profile, Profile) else load_profile(profile)
        if isinstance(recordings, Recording):
            recordings = (recordings,)
        parts = [_to_device(self.profile, recording) for recording in recordings]
        self._electrodes_off = np.concatenate([np.isnan(part) for part in parts], axis=1)
        self._counts, self.clipped = to_counts(self.profile, np.concatenate(parts, axis=1))
        self._total = self._counts.shape[1] // self.profile.samples
        if self._total == 0:
            raise InputError("the recording is shorter than one frame of the device")
        self._zero = to_counts(self.profile, np.zeros((len(self._counts), 1), np.float32))[0]
        self._speed, self._loop = speed, loop
        faults = faults or Faults()
        self._drift = faults.drift
        self._comes_off = faults.electrode_off > 0  # drawn just before a frame is sent
        frame_rate = self.profile.fs / self.profile.samples * self.profile.packets
        self._faulty = FaultyLine(faults, frame_rate, len(self._counts))
        self._totals: Counter[str] = Counter()
        self._stats = SimulatorStats()
        self._mute = False
        self._begin_stream(self.profile.autostart or self.profile.find_command("start") is None)
        self._out: deque[bytearray | Event] = deque()
        self._resume = 0.0  # monotonic time until which the line pauses
        self._awaited = False  # back on the line, and not yet found by its reader
        self._line = PtyLine() if listen == "pty" else TcpLine(listen)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="uniecg-simulator", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What open_device connects to; after a disconnect of a pty another one."""
        return self._line.url

    @property
    def stats(self) -> SimulatorStats:
        return self._stats

    def mute(self) -> None:
        """Falls silent without leaving the line, as a device whose program hangs."""
        self._mute = True

    def close(self) -> None:
        """Leaves the line, which the reader sees as the plug being pulled."""
        self._stop.set()
        self._thread.join()
        self._line.close()

    def __enter__(self) -> Simulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _begin_stream(self, streaming: bool) -> None:
        self._streaming = streaming
        self._sent = 0
        self._ready: list[bytes] = []
        self._began = time.monotonic()

    def _serve(self) -> None:
        commands = bytearray()
        while not self._stop.is_set():
            writing = bool(self._out) and time.monotonic() >= self._resume
            readable, writable = self._line.wait(_TICK_SECONDS, writing=writing)
            if readable:
                commands += self._line.read()
                del commands[:-_MAX_COMMANDS]
                self._obey(commands)
            # One without a pace of its own waits for its reader, unless it is itself that has gone.
            if self._streaming and not self._mute and (self._speed or self._line.connected or self._line.away):
                self._produce()
            self._send(writable)

    def _obey(self, received: bytearray) -> None:
        """Carries out and removes every whole command; bytes that begin none are ignored."""
        while received:
            fitting = [command for command in self.profile.command if _begins(command, received)]
            whole = next((command for command in fitting if len(received) >= len(parse_pattern(command.send))), None)
            if whole is not None:
                del received[: len(parse_pattern(whole.send))]
                self._carry_out(whole)
            elif fitting:
                return
            else:
                del received[0]

    def _carry_out(self, command: Command) -> None:
        if command.name == "start" and self._streaming:
            return  # a device that streams already ignores START
        self._count(commands=1)
        if command.reply is not None:
            self._queue(encode_pattern(command.reply))
        if command.name in ("start", "stop"):
            self._begin_stream(command.name == "start")

    def _produce(self) -> None:
        """Adds to the line what the device would have sent by now."""
        if self._speed is None:
            due = self._sent + (0 if self._out else _BURST_FRAMES)
        else:
            seconds = (time.monotonic() - self._began) * self._speed * (1 + 1e-6 * self._drift)
            due = int(seconds * self.profile.fs / self.profile.samples)
        if not self._loop:
            due = min(due, self._total)
        while self._sent < due:
            count = min(due - self._sent, _BURST_FRAMES)
            frames = self._take(count)
            overrun = not self._line.away and (not self._line.connected or self._backlog > _MAX_BACKLOG)
            for piece in self._faulty.damage(frames):
                if overrun and piece is Event.HANG_UP:
                    self._out.clear()  # the plug is pulled whether or not somebody reads
                if not overrun or piece in (Event.HANG_UP, Event.COME_BACK):
                    self._queue(piece)
            self._sent += count
            self._count(frames=len(frames), overrun=len(frames) if overrun else 0)

    def _take(self, count: int) -> list[bytes]:
        """The next so many frames, or groups or lines; encoded well ahead, as few at a time cost as much as many."""
        wanted = count * self.profile.packets
        if len(self._ready) < wanted:
            ahead = count if self._comes_off else _BURST_FRAMES
            self._ready += self._encode(self._sent + len(self._ready) // self.profile.packets, ahead)
        taken, self._ready = self._ready[:wanted], self._ready[wanted:]
        return taken

    def _encode(self, first: int, count: int) -> list[bytes]:
        samples, packets = self.profile.samples, self.profile.packets
        numbers = (first * samples + np.arange(count * samples)) % (self._total * samples)
        came_off = self._faulty.electrodes_off(count * packets).reshape(-1, count, packets).any(axis=2)
        came_off = came_off.repeat(samples, axis=1)
        counts = np.where(came_off, self._zero, self._counts[:, numbers])
        return encode_wire(self.profile, counts, self._electrodes_off[:, numbers] | came_off, first)

    def _count(self, **more: int) -> None:
        self._totals.update(more)
        self._stats = SimulatorStats(**self._totals, **self._faulty.totals)

    @property
    def _backlog(self) -> int:
        """Bytes that wait to be sent."""
        return sum(len(piece) for piece in self._out if isinstance(piece, bytearray))

    def _queue(self, piece: bytes | Event) -> None:
        if isinstance(piece, Event):
            self._out.append(piece)
        elif self._out and isinstance(self._out[-1], bytearray):
            self._out[-1] += piece
        else:
            self._out.append(bytearray(piece))

    def _send(self, writable: bool) -> None:
        """Writes what the line takes now; events happen once all before them is written."""
        while self._out and time.monotonic() >= self._resume:
            piece = self._out[0]
            if isinstance(piece, Event):
                self._happen(piece)
            elif self._line.connected:
                self._awaited = False
                if writable:
                    del piece[: self._line.write(piece)]
                if piece:
                    return
            elif self._awaited:
                return
            # else it was meant for a reader that has gone
            self._out.popleft()

    def _happen(self, event: Event) -> None:
        match event:
            case Event.PAUSE:
                self._resume = time.monotonic() + _PAUSE_SECONDS / (self._speed or _PAUSE_SPEED)
            case Event.HANG_UP:
                self._line.hang_up()
            case Event.COME_BACK:
                self._line.come_back()
                self._awaited = True


def _begins(command: Command, received: bytearray) -> bool:
    """Whether what was received is this command or its beginning."""
    pattern = parse_pattern(command.send)
    return all(expected is None or expected == byte for expected, byte in zip(pattern, received, strict=False))


def _to_device(profile: Profile, recording: Recording) -> NDArray[np.float32]:
    """The device's channels at its rate, (channels, samples); NaN for leads the recording lacks."""
    if recording.units != "mV":
        raise InputError(f"{recording.name or 'the recording'} has no amplitude in mV, which a device would measure")
    rows = dict(zip(recording.leads, recording.signal, strict=True))
    absent = np.full(recording.signal.shape[1], np.nan, np.float32)
    signal = np.stack([rows.get(lead, absent) for lead in profile.leads])
    if recording.fs == profile.fs:
        return signal
    return _resample(signal, recording.fs, profile.fs)


def _resample(signal: NDArray[np.float32], fs: float, fs_out: float) -> NDArray[np.float32]:
    """Band-limited interpolation by FFT over the signal and its mirror image, so that the ends do not ring."""
    samples = signal.shape[1]
    samples_out = max(1, round(samples * fs_out / fs))
    missing = np.isnan(signal)
    known = np.where(missing, np.float32(0), signal).astype(np.float64)
    spectrum = np.fft.rfft(np.concatenate([known, known[:, ::-1]], axis=1))
    result = np.fft.irfft(spectrum[:, : samples_out + 1], 2 * samples_out)[:, :samples_out] * (samples_out / samples)
    nearest = np.minimum((np.arange(samples_out) * samples) // samples_out, samples - 1)
    result[missing[:, nearest]] = np.nan
    return np.asarray(result, np.float32)
