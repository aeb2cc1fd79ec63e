"""A device that is not there: the profile run backwards over a pty or a TCP port, with the device's exact bytes."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from uniecg_device.encoder import encode_pattern, encode_wire, to_counts
from uniecg_device.errors import DeviceError, InputError
from uniecg_device.profile import Command, Profile, load_profile, parse_pattern
from uniecg_device.signals import Recording

_TICK_SECONDS = 0.01
_BURST_FRAMES = 256
_MAX_BACKLOG = 1 << 15  # bytes that nobody reads; beyond this the line overruns, as a real one does
_MAX_COMMANDS = 4096  # bytes of commands not yet understood


@dataclass(frozen=True)
class Faults:
    """What goes wrong on the line, each with this probability per frame, reproducible by seed.

    drop: the frame is not sent. flip: one of its bits is inverted. garbage: 1 to 40 random bytes precede it.
    """

    seed: int = 0
    drop: float = 0.0
    flip: float = 0.0
    garbage: float = 0.0


@dataclass(frozen=True)
class SimulatorStats:
    """Totals: frames the device made, and what happened to them before the line."""

    frames: int = 0
    dropped: int = 0
    flipped: int = 0
    garbage_bytes: int = 0
    overrun: int = 0
    commands: int = 0


class Simulator:
    """Serves one recording, or several in turn, as the device of a profile would send them.

    listen: "pty", or "HOST:PORT" for TCP (port 0 picks one). speed: 1 is true time, 2 twice as fast,
    None as fast as the reader takes it. loop: start again at the end; otherwise fall silent there.
    It streams only between the profile's start and stop commands, if it has them (from the beginning,
    if the profile says `autostart`), and counts frames from 0 at each start. `url` is what open_device
    connects to. Values beyond the device's range are cut off as its converter would; `clipped` counts
    them. Leads that a recording lacks, and its NaN, show as electrodes off. Raises InputError where the
    recording is not in mV.
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
        self._speed, self._loop, self._faults = speed, loop, faults
        self._random = np.random.default_rng(faults.seed if faults else 0)
        self._stats = SimulatorStats()
        self._mute = False
        self._begin_stream(self.profile.autostart or self.profile.find_command("start") is None)
        self._out = bytearray()
        self._line = _PtyLine() if listen == "pty" else _TcpLine(listen)
        self.url = self._line.url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="uniecg-simulator", daemon=True)
        self._thread.start()

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
        self._began = time.monotonic()

    def _serve(self) -> None:
        commands = bytearray()
        while not self._stop.is_set():
            readable, writable = self._line.wait(_TICK_SECONDS, writing=bool(self._out))
            if readable:
                commands += self._line.read()
                del commands[:-_MAX_COMMANDS]
                self._obey(commands)
            if not self._line.connected:
                self._out.clear()  # what was meant for a reader that has gone
            elif self._streaming and not self._mute:
                self._produce()
            if writable and self._out:
                del self._out[: self._line.write(self._out)]

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
        self._stats = replace(self._stats, commands=self._stats.commands + 1)
        if command.reply is not None:
            self._out += encode_pattern(command.reply)
        if command.name in ("start", "stop"):
            self._begin_stream(command.name == "start")

    def _produce(self) -> None:
        """Adds to the line what the device would have sent by now."""
        if self._speed is None:
            due = self._sent + (0 if self._out else _BURST_FRAMES)
        else:
            seconds = (time.monotonic() - self._began) * self._speed
            due = int(seconds * self.profile.fs / self.profile.samples)
        if not self._loop:
            due = min(due, self._total)
        while self._sent < due:
            count = min(due - self._sent, _BURST_FRAMES)
            if len(self._out) > _MAX_BACKLOG:
                self._stats = replace(self._stats, overrun=self._stats.overrun + count * self.profile.packets)
            else:
                self._out += self._damage(self._encode(self._sent, count))
            self._stats = replace(self._stats, frames=self._stats.frames + count * self.profile.packets)
            self._sent += count

    def _encode(self, first: int, count: int) -> list[bytes]:
        samples = self.profile.samples
        numbers = (first * samples + np.arange(count * samples)) % (self._total * samples)
        return encode_wire(self.profile, self._counts[:, numbers], self._electrodes_off[:, numbers], first)

    def _damage(self, frames: list[bytes]) -> bytes:
        faults = self._faults
        if faults is None:
            return b"".join(frames)
        line, stats = bytearray(), self._stats
        for frame, (drop, flip, garbage) in zip(frames, self._random.random((len(frames), 3)), strict=True):
            if garbage < faults.garbage:
                noise = self._random.bytes(int(self._random.integers(1, 41)))
                line += noise
                stats = replace(stats, garbage_bytes=stats.garbage_bytes + len(noise))
            if drop < faults.drop:
                stats = replace(stats, dropped=stats.dropped + 1)
                continue
            if flip < faults.flip:
                bit = int(self._random.integers(8 * len(frame)))
                damaged = bytearray(frame)
                damaged[bit // 8] ^= 1 << bit % 8
                frame = bytes(damaged)
                stats = replace(stats, flipped=stats.flipped + 1)
            line += frame
        self._stats = stats
        return bytes(line)


class _PtyLine:
    """The master side of a pseudo-terminal; its other side stays open, so readers may come and go."""

    connected = True

    def __init__(self) -> None:
        import tty

        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.url = os.ttyname(self._slave)

    def wait(self, seconds: float, *, writing: bool) -> tuple[bool, bool]:
        readable, writable, _ = select.select([self._master], [self._master] if writing else [], [], seconds)
        return bool(readable), bool(writable)

    def read(self) -> bytes:
        return os.read(self._master, _MAX_COMMANDS)

    def write(self, data: bytearray) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


class _TcpLine:
    """A TCP port with one reader at a time."""

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise InputError(f"expected 'pty' or HOST:PORT to listen on, found {listen!r}")
        try:
            self._server = socket.create_server((host, int(port)))
        except OSError as error:
            raise DeviceError(f"cannot listen on {listen}: {error.strerror or error}; choose another port") from error
        self._client: socket.socket | None = None
        self.url = f"socket://{host}:{self._server.getsockname()[1]}"

    @property
    def connected(self) -> bool:
        return self._client is not None

    def wait(self, seconds: float, *, writing: bool) -> tuple[bool, bool]:
        if self._client is None:
            if select.select([self._server], [], [], seconds)[0]:
                self._client, _ = self._server.accept()
                self._client.setblocking(False)
            return False, False
        readable, writable, _ = select.select([self._client], [self._client] if writing else [], [], seconds)
        return bool(readable), bool(writable)

    def read(self) -> bytes:
        data = b""
        if self._client is not None:
            try:
                data = self._client.recv(_MAX_COMMANDS)
            except BlockingIOError:
                return b""
            except OSError:
                pass  # the reader broke the connection off
            if not data:
                self._hang_up()
        return data

    def write(self, data: bytearray) -> int:
        if self._client is None:
            return len(data)
        try:
            return self._client.send(data)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
                self._hang_up()
            return 0

    def close(self) -> None:
        self._hang_up()
        self._server.close()

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


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
