"""A simulated device on a real pty or socket, read by open_device: nothing is lost that is not told."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import serial
from numpy.typing import NDArray

from uniecg_device.device import Device, open_device
from uniecg_device.encoder import encode_pattern, to_counts
from uniecg_device.errors import DeviceError
from uniecg_device.profile import FOLDER, Profile, load_profile
from uniecg_device.signals import INDEPENDENT_LEADS, LEADS, Block, Recording, twelve_leads
from uniecg_device.simulator import Faults, Simulator

E8 = load_profile("e8_12lead")


def make_recording(samples: int = 1000, fs: float = 500.0, seed: int = 0) -> Recording:
    """Twelve leads that are consistent and stay within the device's range."""
    random = np.random.default_rng(seed)
    eight = np.clip(random.normal(0, 0.3, (8, samples)), -1.4, 1.4).astype(np.float32)
    return Recording(twelve_leads(eight), fs, LEADS, name="noise")


def independent_counts(profile: Profile, recording: Recording) -> NDArray[np.int64]:
    rows = [recording.leads.index(lead) for lead in INDEPENDENT_LEADS]
    return to_counts(profile, recording.signal[rows])[0]


def back_to_counts(profile: Profile, blocks: list[Block]) -> NDArray[np.int64]:
    signal = np.concatenate([block.signal for block in blocks], axis=1)
    rows = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]
    return np.rint(signal[rows] * profile.scale.counts_per_mv + profile.scale.offset).astype(np.int64)


def collect(device: Device) -> tuple[list[Block], DeviceError]:
    """Everything up to the error that ends it."""
    blocks: list[Block] = []
    with pytest.raises(DeviceError) as caught:
        for block in device:
            blocks.append(block)
    return blocks, caught.value


@pytest.mark.parametrize("name", ["e8_12lead", "openbci_cyton"])
@pytest.mark.parametrize("listen", ["pty", "127.0.0.1:0"])
def test_round_trip_is_exact_to_the_count(name: str, listen: str) -> None:
    profile = load_profile(name)
    recording = make_recording(1000, profile.fs)
    with (
        Simulator(profile, recording, listen=listen, speed=None, loop=False) as simulator,
        open_device(profile, simulator.url, silence_seconds=1.0, reconnect=0) as device,
    ):
        blocks, _ = collect(device)
        stats = device.stats
    assert simulator.clipped == 0
    assert np.array_equal(back_to_counts(profile, blocks), independent_counts(profile, recording))
    assert (stats.frames, stats.samples, stats.skipped_bytes, stats.lost_samples) == (1000, 1000, 0, 0)
    assert all(block.lost == 0 and block.leads == LEADS and block.fs == profile.fs for block in blocks)
    starts = [round(block.start * block.fs) for block in blocks]
    assert starts == np.cumsum([0, *(block.signal.shape[1] for block in blocks[:-1])]).tolist()


def test_blocks_are_what_signals_says() -> None:
    with Simulator(E8, make_recording()) as simulator, open_device("e8_12lead", simulator.url) as device:
        block = next(device)
    signal = block.signal
    assert signal.shape == (12, 50) and signal.dtype == np.float32 and signal.flags.c_contiguous
    i, ii, iii, avr, avl, avf = signal[:6]
    for residual in (i + iii - ii, avr + avl + avf, avl - (i - iii) / 2):
        assert np.abs(residual).max() < 1e-6
    assert block.electrodes_off == ()


def test_lost_frames_are_counted_and_leave_gaps() -> None:
    recording = make_recording(2000)
    faults = Faults(seed=3, drop=0.05)
    with (
        Simulator(E8, recording, speed=None, loop=False, faults=faults) as simulator,
        open_device(E8, simulator.url, silence_seconds=1.0, reconnect=0) as device,
    ):
        blocks, _ = collect(device)
        stats = device.stats
    dropped = simulator.stats.dropped
    assert dropped > 50
    # Frames lost before the first or after the last that arrived are nobody's to count.
    edge = 2000 - stats.frames - stats.lost_samples
    assert stats.frames == 2000 - dropped and 0 <= edge <= 5
    assert sum(block.lost for block in blocks) == stats.lost_samples
    assert stats.counter_gaps == sum(block.lost > 0 for block in blocks)
    expected = independent_counts(E8, recording)
    first = edge if np.array_equal(back_to_counts(E8, blocks[:1])[:, 0], expected[:, edge]) else 0
    for block in blocks:
        start = round(block.start * 500) + first
        assert np.array_equal(back_to_counts(E8, [block]), expected[:, start : start + block.signal.shape[1]])


def test_garbage_and_flipped_bits_are_accounted_for() -> None:
    faults = Faults(seed=5, flip=0.02, insert=0.02)
    with (
        Simulator(E8, make_recording(2000), speed=None, loop=False, faults=faults) as simulator,
        open_device(E8, simulator.url, silence_seconds=1.0, reconnect=0) as device,
    ):
        collect(device)
        stats = device.stats
    assert simulator.stats.flipped > 20 and simulator.stats.inserted_bytes > 200
    assert stats.skipped_bytes >= simulator.stats.inserted_bytes - 22
    assert stats.resyncs > 20
    assert stats.bytes - stats.skipped_bytes - 22 * (stats.frames + stats.messages) < 22


def test_an_electrode_off_is_missing_not_flat() -> None:
    recording = make_recording(500)
    signal = recording.signal.copy()
    signal[LEADS.index("V3"), 100:] = np.nan
    with (
        Simulator(E8, replace(recording, signal=signal), speed=None, loop=False) as simulator,
        open_device(E8, simulator.url, silence_seconds=1.0, reconnect=0) as device,
    ):
        blocks, _ = collect(device)
    received = np.concatenate([block.signal for block in blocks], axis=1)
    assert np.array_equal(np.isnan(received), np.isnan(signal))
    assert [block.electrodes_off for block in blocks] == 2 * [()] + 8 * [("V3",)]


def test_without_a_limb_electrode_no_chest_lead_means_anything() -> None:
    recording = make_recording(200)
    lead_ii_only = Recording(recording.signal[1:2], 500.0, ("II",))
    with (
        Simulator(E8, lead_ii_only, speed=None, loop=False) as simulator,
        open_device(E8, simulator.url, silence_seconds=1.0, reconnect=0) as device,
    ):
        blocks, _ = collect(device)
    known = ~np.isnan(np.concatenate([block.signal for block in blocks], axis=1))
    assert [lead for lead, row in zip(LEADS, known, strict=True) if row.any()] == ["II"]
    assert blocks[0].electrodes_off == ("I", "V1", "V2", "V3", "V4", "V5", "V6")


def test_a_busy_caller_loses_only_what_the_ring_does_not_hold() -> None:
    simulator = Simulator(E8, make_recording(1000), speed=None, loop=False)
    with simulator, open_device(E8, simulator.url, silence_seconds=0.3, ring_seconds=0.5, reconnect=0) as device:
        wait_until(lambda: device.stats.frames == 1000)
        blocks, _ = collect(device)
        stats = device.stats
    assert stats.overflowed_samples == 750 and stats.lost_samples == 0
    assert sum(block.signal.shape[1] for block in blocks) == 250


def test_an_overflow_shows_as_a_gap() -> None:
    with (
        Simulator(E8, make_recording(1000), speed=4) as simulator,
        open_device(E8, simulator.url, ring_seconds=0.1) as device,
    ):
        wait_until(lambda: device.stats.overflowed_samples > 0)
        blocks = [next(device) for _ in range(3)]
    assert any(block.lost > 0 for block in blocks)
    for before, after in pairwise(blocks):
        end = round(before.start * 500) + before.signal.shape[1]
        assert round(after.start * 500) - end == after.lost


@pytest.mark.parametrize("listen", ["pty", "127.0.0.1:0"])
def test_an_unplugged_device_is_an_error_after_its_last_samples(listen: str) -> None:
    simulator = Simulator(E8, make_recording(), listen=listen, speed=20)
    with open_device(E8, simulator.url, silence_seconds=30, reconnect=0) as device:
        wait_until(lambda: device.stats.frames >= 100)
        simulator.close()
        blocks, error = collect(device)
        assert sum(block.signal.shape[1] for block in blocks) == device.stats.samples >= 100
        with pytest.raises(DeviceError):
            next(device)
    assert "went away" in str(error)


def test_a_device_that_falls_silent_is_an_error() -> None:
    with (
        Simulator(E8, make_recording(), speed=20) as simulator,
        open_device(E8, simulator.url, silence_seconds=0.3, reconnect=0) as device,
    ):
        next(device)
        simulator.mute()
        _, error = collect(device)
    assert "fell silent: no frame for 0.3 s" in str(error)


def test_a_port_without_a_device_is_an_error(pty: tuple[int, str]) -> None:
    with open_device(E8, pty[1], silence_seconds=0.2, reconnect=0) as device:
        blocks, error = collect(device)
    assert blocks == [] and "sends nothing for 0.2 s" in str(error)


def test_another_device_than_the_profile_s_is_an_error(pty: tuple[int, str]) -> None:
    with open_device(E8, pty[1], silence_seconds=0.2, reconnect=0) as device:
        os.write(pty[0], b"hello, I am a modem\r\n" * 10)
        blocks, error = collect(device)
        assert device.stats.skipped_bytes >= 190
    assert blocks == [] and "no frame of profile e8_12lead" in str(error) and "115200" in str(error)


def test_opening_sends_stop_then_start_and_closing_sends_stop(pty: tuple[int, str]) -> None:
    with open_device(E8, pty[1]) as device:
        sent = os.read(pty[0], 1000)
        assert device.stats.frames == 0
    stop, start = (encode_pattern(command.send) for command in (E8.command[1], E8.command[0]))
    assert sent == stop + start
    assert os.read(pty[0], 1000) == stop


def test_a_unit_left_streaming_is_restarted() -> None:
    with Simulator(E8, make_recording(), speed=4) as simulator:
        with serial.Serial(simulator.url, 115200, timeout=1) as port:
            port.write(encode_pattern(E8.command[0].send))
            assert len(port.read(2200)) == 2200
        with open_device(E8, simulator.url) as device:
            first = next(device)
            stats = device.stats
    assert first.start == 0 and first.lost == 0 and stats.skipped_bytes == 0
    assert np.array_equal(back_to_counts(E8, [first]), independent_counts(E8, make_recording())[:, :50])


def test_closing_ends_iteration_in_another_thread() -> None:
    with Simulator(E8, make_recording()) as simulator:
        device = open_device(E8, simulator.url)
        blocks: list[Block] = []
        consumer = threading.Thread(target=lambda: blocks.extend(device))
        consumer.start()
        wait_until(lambda: len(blocks) >= 2)
        device.close()
        device.close()
        consumer.join(10)
        assert not consumer.is_alive()
    assert sum(block.signal.shape[1] for block in blocks) == device.stats.samples


def test_a_port_that_does_not_exist() -> None:
    with pytest.raises(DeviceError, match=r"the port /dev/ttyNONE does not exist; .*(present|plugged)"):
        open_device(E8, "/dev/ttyNONE")


def test_a_port_in_use(pty: tuple[int, str]) -> None:
    with open_device(E8, pty[1]), pytest.raises(DeviceError, match="in use by another program"):
        open_device(E8, pty[1])


def test_a_port_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(13, "Permission denied")

    monkeypatch.setattr(serial, "serial_for_url", refuse)
    with pytest.raises(DeviceError, match=r"no permission to open .*usermod -aG"):
        open_device(E8, str(tmp_path))


@pytest.mark.parametrize(
    ("port", "says"),
    [
        ("nowhere://x", "is not a port"),
        ("socket://127.0.0.1:1", "cannot open socket://127.0.0.1:1: .*refused"),
        (str(FOLDER / "e8_12lead.toml"), "is not a serial port|cannot open"),
    ],
)
def test_what_is_no_port(port: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        open_device(E8, port)


def wait_until(condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
