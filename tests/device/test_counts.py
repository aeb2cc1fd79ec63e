"""What a tap sees is what the device sent, and blocks are made of it and of nothing else."""

from __future__ import annotations

import threading

import msgspec
import numpy as np
import pytest

from uniecg_device import discovery
from uniecg_device.counts import Samples, assemble, channel_scale, output_leads, to_millivolts
from uniecg_device.device import open_device
from uniecg_device.encoder import encode_pattern
from uniecg_device.profile import load_profile, profile_names
from uniecg_device.signals import LEADS, Block
from uniecg_device.simulator import Simulator

from .test_device import make_recording
from .test_wire import random_wire
from .unit import Unit

E8 = load_profile("e8_12lead")


class Listener:
    """A tap that keeps what it sees."""

    def __init__(self) -> None:
        self.lines: list[bytearray] = []
        self.seen: list[tuple[int, Samples]] = []
        self.waits = 0

    def connected(self) -> int:
        self.lines.append(bytearray())
        return len(self.lines) - 1

    def wire(self, data: bytes) -> None:
        self.lines[-1] += data

    def samples(self, connection: int, samples: Samples) -> None:
        self.seen.append((connection, samples))

    def waiting(self) -> None:
        self.waits += 1


@pytest.mark.parametrize("name", profile_names())
def test_counts_become_the_framer_s_own_millivolts(name: str) -> None:
    profile = load_profile(name)
    data = b"".join(random_wire(profile, 200, 3))
    framers = profile.make_framer(10_000), profile.make_framer(10_000)
    for framer in framers:
        framer.push(data)
    counts, electrodes_off, positions = framers[0].pull_counts(10_000)
    millivolts, same_electrodes, same_positions = framers[1].pull(10_000)
    assert to_millivolts(counts, *channel_scale(profile)).tobytes() == millivolts.tobytes() and counts.shape[1] > 100
    assert np.array_equal(electrodes_off, same_electrodes) and np.array_equal(positions, same_positions)


def test_a_channel_that_is_no_lead_enters_no_block() -> None:
    leads = ("CH9", "II", "V1", "I")
    millivolts = np.arange(8, dtype=np.float32).reshape(4, 2)
    off = np.array([0, 1], np.uint32)  # the electrode of CH9
    assert output_leads(leads) == LEADS[:7]
    signal = assemble(leads, (), millivolts, off)
    assert np.array_equal(signal[[0, 1, 6]], millivolts[[3, 1, 2]])
    assert assemble(("CH1", "CH2"), (), millivolts[:2], off).shape == (0, 2)


def test_blocks_are_the_counts_that_the_tap_saw() -> None:
    tap = Listener()
    with (
        Simulator(E8, make_recording(600), speed=None, loop=False) as simulator,
        open_device(E8, simulator.url, tap=tap) as device,
    ):
        blocks: list[Block] = []
        while sum(block.signal.shape[1] for block in blocks) < 600:
            blocks.append(next(device))
    assert {connection for connection, _ in tap.seen} == {0}
    counts = np.concatenate([samples.counts for _, samples in tap.seen], axis=1)
    signal = np.concatenate([block.signal for block in blocks], axis=1)
    millivolts = to_millivolts(counts, *channel_scale(E8))
    assert signal[:2].tobytes() == millivolts[[E8.leads.index("I"), E8.leads.index("II")]].tobytes()
    reply = encode_pattern("E8 00 11 21 00 10")
    assert tap.lines[0].startswith(reply), "the answer to the last command is on the line before the samples"
    framer = E8.make_framer(1000)
    framer.push(tap.lines[0])
    assert np.array_equal(framer.pull_counts(1000)[0], counts)


def test_every_connection_has_bytes_and_positions_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tap, streams_by_itself = Listener(), msgspec.structs.replace(E8, open=(), close=())
    with Unit() as unit:
        monkeypatch.setattr(discovery, "serial_ports", lambda: unit.ports)
        with open_device(streams_by_itself, unit.url, tap=tap) as device:
            next(device)
            unit.unplug()
            threading.Timer(0.5, unit.plug).start()
            while device.stats.reconnects == 0 or not tap.seen[-1][0]:
                next(device)
            (gap,) = device.reconnects
    assert tap.waits > 0, "it is asked while the device is away"
    for connection, line in enumerate(tap.lines[:2]):
        seen = [samples for at, samples in tap.seen if at == connection]
        framer = E8.make_framer(10_000)
        framer.push(line)
        counts, _, positions = framer.pull_counts(10_000)
        taken = np.concatenate([samples.positions for samples in seen])
        assert np.array_equal(taken, positions[: len(taken)]) and len(taken) > 0
        assert np.array_equal(np.concatenate([samples.counts for samples in seen], axis=1), counts[:, : len(taken)])
        shift = {int(step) for samples in seen for step in samples.numbers - samples.positions}
        assert shift == {connection and round(gap.start * E8.fs)}
