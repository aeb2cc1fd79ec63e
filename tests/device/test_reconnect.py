"""A device is unplugged and plugged in again: it is found, and every sample has its place on one clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.device.unit import FS, Unit, frame, numbers

from uniecg_device import discovery, stretch
from uniecg_device.device import Device, open_device
from uniecg_device.discovery import SerialPort
from uniecg_device.errors import DeviceError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.profile import Profile, load_profile
from uniecg_device.signals import Block
from uniecg_device.simulator import Simulator
from uniecg_device.stretch import REFINE_SECONDS, Stretch

E8 = load_profile("e8_12lead")
QUIET = replace(E8, open=(), close=())  # a unit that streams by itself: opening it takes no time
UNCOUNTED = replace(QUIET, frame=replace(E8.frame, counter=None))


@pytest.fixture
def unit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unit]:
    with Unit() as unit:
        monkeypatch.setattr(discovery, "serial_ports", lambda: unit.ports)
        yield unit


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def read_until(device: Device, unit_number: int, blocks: list[Block]) -> None:
    """Iterates until the sample with this number has come."""
    for block in device:
        blocks.append(block)
        if numbers(block)[-1] >= unit_number:
            return


def clock_errors(blocks: list[Block]) -> list[int]:
    """How far each block's place on the device's clock is from the truth, in samples, by the first block's."""
    errors = [int(numbers(block)[0]) - round(block.start * FS) for block in blocks]
    return [error - errors[0] for error in errors]


def pull_the_plug(unit: Unit, device: Device, seconds: float, blocks: list[Block]) -> None:
    """Unplugs, plugs in elsewhere after so long, and reads on until half a second's worth has come."""
    unit.unplug()
    time.sleep(seconds)
    unit.plug()
    read_until(device, unit.taken + 75, blocks)


@pytest.mark.parametrize("cycles", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_every_gap_is_exact_where_the_counter_runs_on(unit: Unit, cycles: int) -> None:
    blocks: list[Block] = []
    lengths = np.random.default_rng(1).uniform(0.01, 0.3, cycles)
    with open_device(QUIET, unit.url) as device:
        read_until(device, unit.taken + 50, blocks)
        for seconds in lengths:
            pull_the_plug(unit, device, seconds, blocks)
        reconnects, stats = device.reconnects, device.stats
    assert max(map(abs, clock_errors(blocks))) == 0
    assert len(reconnects) == stats.reconnects == cycles and all(gap.by_counter for gap in reconnects)
    gaps = [block for block in blocks if block.lost]
    assert [(gap.start, gap.samples) for gap in reconnects] == [(block.start, block.lost) for block in gaps]
    assert sum(block.lost for block in blocks) == stats.disconnected_samples + stats.lost_samples
    assert all(gap.samples > FS * seconds - 1 for gap, seconds in zip(reconnects, lengths, strict=True))
    assert stats.bytes - stats.skipped_bytes - 22 * stats.frames <= 21 * (cycles + 1)


@pytest.mark.parametrize("profile", [UNCOUNTED, QUIET])
def test_without_a_counter_or_with_one_set_back_the_wall_clock_decides(
    monkeypatch: pytest.MonkeyPatch, profile: Profile
) -> None:
    blocks: list[Block] = []
    with Unit(runs_on=False) as unit:
        monkeypatch.setattr(discovery, "serial_ports", lambda: unit.ports)
        with open_device(profile, unit.url) as device:
            read_until(device, unit.taken + 50, blocks)
            pull_the_plug(unit, device, 0.4, blocks)
            (gap,) = device.reconnects
    assert max(map(abs, clock_errors(blocks))) <= 0.1 * FS
    assert gap.samples >= 0.35 * FS and (profile is QUIET or not gap.by_counter)


def test_nothing_read_before_is_lost_and_counts_go_on(unit: Unit) -> None:
    with open_device(QUIET, unit.url) as device:
        wait_until(lambda: device.stats.frames >= 100)
        unit.unplug()
        wait_until(lambda: unit.url not in [port.device for port in unit.ports])
        unit.plug()
        wait_until(lambda: device.stats.reconnects == 1 and device.stats.frames >= 200)
        device.close()
        blocks = list(device)
        stats = device.stats
    received = np.concatenate([numbers(block) for block in blocks])
    assert len(received) == stats.samples == stats.frames and np.all(np.diff(received) > 0)
    assert clock_errors(blocks)[-1] == 0


def test_a_twin_is_left_alone_and_the_same_device_is_found(
    unit: Unit, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    opened: list[str] = []
    twin = SerialPort("/dev/ttyTWIN", 0x0403, 0x6015, "C3D4", "unit", "", "1-2")
    monkeypatch.setattr(discovery, "serial_ports", lambda: (twin, *unit.ports))
    real = serial.serial_for_url
    monkeypatch.setattr(serial, "serial_for_url", lambda url, **how: opened.append(url) or real(url, **how))
    blocks: list[Block] = []
    with open_device(QUIET, "usb:0403:6015:A1B2") as device:
        read_until(device, unit.taken + 50, blocks)
        first = unit.url
        pull_the_plug(unit, device, 0.2, blocks)
        assert device.reconnects[0].port == unit.url != first
    assert opened == [first, unit.url]


def test_a_usb_port_that_is_not_there_does_not_open(unit: Unit) -> None:
    with pytest.raises(DeviceError, match=r"no serial port is usb:1234:5678; present are .*usb:0403:6015:A1B2"):
        open_device(QUIET, "usb:1234:5678")


def test_a_device_that_does_not_come_back_is_an_error_that_says_all(unit: Unit) -> None:
    told: list[str] = []
    with open_device(QUIET, unit.url, reconnect=0.3, notify=told.append) as device:
        next(device)
        unit.unplug()
        with pytest.raises(
            DeviceError, match=r"went away .*; not back within 0.3 s: no serial port is usb:0403:6015:A1B2"
        ):
            for _ in device:
                pass
        with pytest.raises(DeviceError, match="went away"):
            next(device)
    assert len(told) == 1 and "went away" in told[0] and "looking for it for 0.3 s" in told[0]


def test_without_reconnecting_the_first_loss_is_the_end(unit: Unit) -> None:
    told: list[str] = []
    with open_device(QUIET, unit.url, reconnect=0, notify=told.append) as device:
        next(device)
        unit.unplug()
        unit.plug()
        with pytest.raises(DeviceError, match=r"went away while it was open .*; check the plug"):
            for _ in device:
                pass
    assert told == [] and device.stats.reconnects == 0


def test_a_port_that_may_not_be_opened_yet_is_tried_again(unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after the plug the tty belongs to root, until udev has seen to it."""
    told: list[str] = []
    blocks: list[Block] = []
    with open_device(QUIET, unit.url, notify=told.append) as device:
        read_until(device, unit.taken + 50, blocks)
        refusals = iter([serial.SerialException(13, "Permission denied")] * 2)
        real = serial.serial_for_url

        def refuse(url: str, **how: object) -> object:
            for refusal in refusals:
                raise refusal
            return real(url, **how)

        monkeypatch.setattr(serial, "serial_for_url", refuse)
        pull_the_plug(unit, device, 0.05, blocks)
        assert next(refusals, None) is None and device.stats.reconnects == 1
    assert clock_errors(blocks)[-1] == 0
    assert told[1].startswith(f"{unit.url} is back; ") and told[1].endswith(" are missing")


def test_a_device_that_falls_silent_is_opened_again(unit: Unit) -> None:
    """Its battery was changed behind a USB chip that stayed."""
    told: list[str] = []
    blocks: list[Block] = []
    with open_device(QUIET, unit.url, silence_seconds=0.2, notify=told.append) as device:
        read_until(device, unit.taken + 50, blocks)
        unit.silent = True
        wait_until(lambda: len(told) == 1)
        unit.silent = False
        read_until(device, unit.taken + 75, blocks)
    assert "fell silent: no frame for 0.2 s" in told[0] and "is back" in told[1]
    assert clock_errors(blocks)[-1] == 0


def test_the_profile_s_commands_are_sent_again() -> None:
    ecg = simulate(ParametricEcg(), 10.0, 500.0, 0)
    with Simulator(E8, ecg, listen="127.0.0.1:0") as first, open_device(E8, first.url) as device:
        next(device)
        first.close()
        with Simulator(E8, ecg, listen=first.url.removeprefix("socket://")) as second:
            assert any(block.lost for block in device)
            assert second.stats.commands == 2  # stop, start


def test_closing_while_the_device_is_away_ends_iteration(unit: Unit) -> None:
    with open_device(QUIET, unit.url) as device:
        next(device)
        unit.unplug()
        threading.Timer(0.3, device.close).start()
        for _ in device:
            pass
    assert device.stats.reconnects == 0


def test_a_caller_that_takes_nothing_holds_few_rings(unit: Unit) -> None:
    with open_device(QUIET, unit.url) as device:
        for count in range(7):
            wait_until(lambda count=count: device.stats.frames and device.stats.reconnects == count)
            unit.unplug()
            unit.plug()
        wait_until(lambda: device.stats.reconnects == 7)
        unit.unplug()
        unit.plug()
        time.sleep(0.5)
        assert len(device._link.stretches) == 8 and device.stats.reconnects == 7
        blocks: list[Block] = []
        read_until(device, unit.taken + 75, blocks)
        assert device.stats.reconnects == 8
    assert max(map(abs, clock_errors(blocks))) == 0


# The place of a stretch, at a simulated time


class Line:
    """Frames of the unit brought to a Stretch as a line would, at times of our own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int, ppm: float = 0.0) -> None:
        self.time = 0.0
        self.random = np.random.default_rng(seed)
        self.period = 1 / (FS * (1 + 1e-6 * ppm))
        monkeypatch.setattr(stretch, "now", lambda: self.time)

    def run(self, profile: Profile, begin: float, end: float, *, first_counter: int | None = None) -> Stretch:
        """A stretch of what the unit took from `begin` to `end`; its counter began anew, or ran on."""
        made = Stretch(profile, round(FS * (end - begin)) + 1)
        sent = first = int(np.ceil(begin / self.period))
        self.time = begin
        while self.time < end:
            self.time += 0.0201 + self.random.exponential(0.001) + 0.05 * (self.random.random() < 0.03)
            taken = int(min(self.time, end) / self.period) + 1
            counters = range(sent, taken) if first_counter is None else range(first_counter + sent - first, 10**9)
            made.push(
                b"".join(frame(number, count) for number, count in zip(range(sent, taken), counters, strict=False))
            )
            sent = taken
        return made


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    before=st.floats(0.2, 20),
    gap=st.floats(0.02, 60),
    ppm=st.floats(-100, 100),
    reset=st.none() | st.integers(0, 63),
)
def test_the_gap_is_exact_by_the_counter_or_as_good_as_the_wall_clock(
    seed: int, before: float, gap: float, ppm: float, reset: int | None
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        line = Line(monkeypatch, seed, ppm)
        one = line.run(QUIET, 0.0, before)
        two = line.run(QUIET, before + gap, before + gap + 0.15, first_counter=reset)
        by_counter = two.follow(one)
        truth = int(np.ceil((before + gap) / line.period))
        if reset is None:
            assert by_counter and two.origin == truth
        else:
            assert abs(two.origin - truth) <= FS * (REFINE_SECONDS + 0.015 + 2e-4 * gap)


def test_what_a_wire_without_counter_loses_becomes_a_gap_that_is_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(monkeypatch, 0, ppm=30)
    made = Stretch(UNCOUNTED, 20 * FS)
    for tick in range(2000):
        line.time = 0.01 * tick
        taken = [number for number in range(5 * tick, 5 * tick + 5) if not 4000 <= number < 4250]
        made.push(b"".join(frame(number, 0) for number in taken))
    place = made.pull(20 * FS).numbers
    jumps = np.diff(place)
    assert made.counters["estimated_lost_samples"] == pytest.approx(250, abs=2)
    assert np.count_nonzero(jumps != 1) == 1 and jumps.max() - 1 == made.counters["estimated_lost_samples"]
    assert 4000 < int(np.argmax(jumps)) < 4000 + 5 * FS  # told some seconds later
    assert made.end == place[-1] + 1
