"""A simulated device fails as told: whatever reads it meets the faults on a live line, and its counts agree."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
import numpy as np
import pytest
import serial

from uniecg_device import discovery
from uniecg_device.device import Device, open_device
from uniecg_device.discovery import SerialPort
from uniecg_device.encoder import encode_pattern
from uniecg_device.errors import DeviceError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.profile import load_profile
from uniecg_device.signals import INDEPENDENT_LEADS, Block, Recording
from uniecg_device.simulator import Faults, Simulator
from uniecg_device.transport import Transport

E8 = load_profile("e8_12lead")
FRAME_BYTES = 22
START = encode_pattern(E8.command[0].send)
STREAMING = msgspec.structs.replace(E8, command=(), open=(), close=())  # a unit that streams by itself


def make_recording(samples: int = 500) -> Recording:
    t = np.arange(samples) / 500
    signal = np.stack([0.5 * np.sin(2 * np.pi * (k + 1) * t) for k in range(8)]).astype(np.float32)
    return Recording(signal, 500.0, INDEPENDENT_LEADS)


def read_all(simulator: Simulator, quiet: float = 0.4, send: bytes = b"") -> bytes:
    """What comes until the line is quiet for so long, or is hung up. Opening a pty forgets what it already held."""
    data, heard = b"", time.monotonic()
    with suppress(DeviceError), Transport(simulator.url, 115200) as port:
        port.write(send)
        while time.monotonic() - heard < quiet:
            piece = port.read()
            data, heard = data + piece, time.monotonic() if piece else heard
    return data


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.mark.parametrize("speed", [None, 20.0])
def test_pace_changes_nothing_on_the_line(speed: float | None) -> None:
    faults = Faults(3, drop=0.02, flip=0.02, duplicate=0.02, insert=0.02, split=0.005, stall=0.002, seconds=0.1)
    lines = []
    for pace in (None, speed):
        with Simulator(E8, make_recording(2000), speed=pace, loop=False, faults=faults) as simulator:
            lines.append((read_all(simulator, send=START), simulator.stats))
    assert lines[0] == lines[1]
    data, stats = lines[0]
    assert stats.frames == 2000 and stats.split and stats.stalls and stats.overrun == 0
    whole = 2000 - stats.dropped - stats.stalled + stats.duplicated
    assert len(data) == FRAME_BYTES * (1 + whole) + stats.inserted_bytes  # the first answers START


def test_the_framer_counts_what_was_injected() -> None:
    faults = Faults(1, drop=0.02, duplicate=0.02, split=0.01, stall=0.001, seconds=0.05)
    with (
        Simulator(E8, make_recording(3000), speed=None, loop=False, faults=faults) as simulator,
        open_device(E8, simulator.url, silence_seconds=1.0, reconnect=0) as device,
        suppress(DeviceError),
    ):
        for _ in device:
            pass
    injected, counted = simulator.stats, device.stats
    assert injected.stalls and counted.duplicates == injected.duplicated > 0
    assert counted.frames == 3000 - injected.dropped - injected.stalled and counted.skipped_bytes == 0
    edges = injected.dropped + injected.stalled - counted.lost_samples
    assert 0 <= edges <= 5  # frames lost before the first or after the last that arrived are nobody's to count


def test_a_split_frame_comes_in_two_writes() -> None:
    with (
        Simulator(E8, make_recording(1), loop=False, speed=0.2, faults=Faults(split=1)) as simulator,
        serial.Serial(simulator.url, timeout=5) as port,
    ):
        port.write(START)
        port.read(FRAME_BYTES)
        first = port.read(1) + port.read(port.in_waiting)
        assert 1 <= len(first) < FRAME_BYTES
        assert len(first + port.read(FRAME_BYTES - len(first))) == FRAME_BYTES


def test_a_stall_is_a_silence_after_which_the_counter_has_run_on() -> None:
    faults = Faults(0, stall=0.005, seconds=0.1)
    with Simulator(E8, make_recording(1000), speed=4, loop=False, faults=faults) as simulator:
        data = read_all(simulator, send=START)
    counters = np.frombuffer(data[FRAME_BYTES:], np.uint8)[1::FRAME_BYTES].astype(int)
    jumps = np.diff(counters) % 64
    assert simulator.stats.stalls > 0 and len(counters) == 1000 - simulator.stats.stalled
    assert (jumps != 1).sum() == pytest.approx(simulator.stats.stalls, abs=1)


def receive(port: int) -> bytes:
    """What a TCP port sends until it is quiet or hangs up; pyserial would forget what is there before it is ready."""
    data = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.4) as line:
        while piece := line.recv(4096):
            data += piece
    return data


def test_a_tcp_connection_drops_and_can_be_made_again() -> None:
    faults = Faults(2, disconnect=0.004, seconds=0.2)
    with Simulator(
        STREAMING, make_recording(2000), listen="127.0.0.1:0", speed=None, loop=False, faults=faults
    ) as simulator:
        url, connections, received = simulator.url, 0, 0

        def is_complete() -> bool:
            nonlocal connections, received
            piece = len(receive(int(url.rpartition(":")[2])))
            connections, received = connections + (piece > 0), received + piece
            stats = simulator.stats
            return stats.frames == 2000 and received >= FRAME_BYTES * (2000 - stats.disconnected)

        wait_until(is_complete)
        stats = simulator.stats
        assert simulator.url == url
    assert stats.disconnects >= 2 and connections > 1
    assert received == FRAME_BYTES * (2000 - stats.disconnected) and stats.overrun == 0


def test_who_connects_while_the_device_is_away_is_hung_up_on() -> None:
    faults = Faults(0, disconnect=1, seconds=600)
    with (
        Simulator(STREAMING, make_recording(), listen="127.0.0.1:0", faults=faults) as simulator,
        serial.serial_for_url(simulator.url, timeout=5) as first,
    ):
        for port in (first, serial.serial_for_url(simulator.url, timeout=5)):
            with pytest.raises(serial.SerialException), port:
                port.read(1)
    assert simulator.stats.disconnects == 1


def test_a_pty_comes_back_under_another_name() -> None:
    faults = Faults(4, disconnect=0.002, seconds=0.1)
    with Simulator(STREAMING, make_recording(1500), speed=None, loop=False, faults=faults) as simulator:
        urls, data = [], b""
        while simulator.url not in urls[-1:]:
            urls.append(simulator.url)
            data += read_all(simulator)
            time.sleep(0.05)
        stats = simulator.stats
    assert len(urls) == stats.disconnects + 1 >= 3
    assert 0 < len(data) <= FRAME_BYTES * (1500 - stats.disconnected)


def test_a_reader_follows_a_device_through_disconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(1, disconnect=0.005, seconds=0.1)
    with Simulator(STREAMING, simulate(ParametricEcg(), 4.0, 500.0, 0), faults=faults) as simulator:
        monkeypatch.setattr(
            discovery, "serial_ports", lambda: (SerialPort(simulator.url, 0x0403, 0x6015, "A1B2", "unit", "", "1-1"),)
        )
        lost = 0
        with open_device(STREAMING, simulator.url, reconnect=10) as device:
            for block in device:
                lost += block.lost
                if lost >= sum(gap.samples for gap in device.reconnects) and len(device.reconnects) >= 2:
                    break
            gaps = device.reconnects
    assert simulator.stats.disconnects >= len(gaps) >= 2 and lost >= sum(gap.samples for gap in gaps)
    assert all(gap.samples >= 20 for gap in gaps) and len({gap.port for gap in gaps}) > 1


def _collect(device: Device) -> list[Block]:
    blocks = []
    with suppress(DeviceError):
        for block in device:
            blocks.append(block)
    return blocks


def test_drift_is_a_faster_clock() -> None:
    faults = Faults(drift=100_000)
    with (
        Simulator(STREAMING, make_recording(), speed=None, faults=faults),
        Simulator(STREAMING, make_recording(), speed=10, faults=faults) as fast,
        Simulator(STREAMING, make_recording(), speed=10) as true,
    ):
        wait_until(lambda: true.stats.frames >= 5000)
        ratio = fast.stats.frames / true.stats.frames
    assert 1.05 < ratio < 1.15


def test_an_electrode_comes_off_and_its_lead_is_missing() -> None:
    faults = Faults(3, electrode_off=0.003, seconds=0.2)
    with (
        Simulator(E8, make_recording(2000), speed=None, loop=False, faults=faults) as simulator,
        open_device(E8, simulator.url, silence_seconds=1.0, reconnect=0) as device,
    ):
        blocks = _collect(device)
    off = {lead for block in blocks for lead in block.electrodes_off}
    received = np.concatenate([block.signal for block in blocks], axis=1)
    assert simulator.stats.electrodes_off >= 2 and off and np.isnan(received).any()
    assert received.shape[1] == 2000 and not np.isnan(received).all(axis=1).any()
