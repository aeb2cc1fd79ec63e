"""Every built-in profile against the plain reference: encoded, split, damaged, and read back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uniecg_device.encoder import encode_pattern, encode_wire, to_counts
from uniecg_device.grammar import parse_pattern
from uniecg_device.profile import Profile, load_profile, profile_names
from uniecg_device.signals import INDEPENDENT_LEADS, Recording
from uniecg_device.simulator import Simulator

from .reference import assert_as_reference

PROFILES = {name: load_profile(name) for name in profile_names()}
ON_THE_WIRE = [name for name, profile in PROFILES.items() if profile.decoder is None]
COUNTED = [name for name, profile in PROFILES.items() if profile.frame and profile.frame.counter]
COUNTED_AND_CHECKED = [name for name in COUNTED if (frame := PROFILES[name].frame) and frame.checksum]


def random_counts(profile: Profile, groups: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    random = np.random.default_rng(seed)
    samples = groups * profile.samples
    counts = np.stack([random.integers(low, high + 1, samples) for low, high in (c.range for c in profile.channel)])
    off = np.repeat(random.random((len(counts), groups)) < 0.1, profile.samples, axis=1)
    return counts, off & np.array([[bool(c.electrode)] for c in profile.channel])


def random_wire(profile: Profile, groups: int, seed: int) -> list[bytes]:
    return encode_wire(profile, *random_counts(profile, groups, seed))


@pytest.mark.parametrize("name", PROFILES)
@settings(deadline=None, max_examples=8)
@given(groups=st.integers(10, 40), seed=st.integers(0, 2**32 - 1), splits=st.lists(st.integers(0, 5000), max_size=8))
def test_what_is_encoded_is_decoded(name: str, groups: int, seed: int, splits: list[int]) -> None:
    profile = PROFILES[name]
    counts, off = random_counts(profile, groups, seed)
    data = b"".join(encode_wire(profile, counts, off))
    framer = profile.make_framer(10_000)
    for first, last in pairwise(sorted({0, len(data), *(split % len(data) for split in splits)})):
        framer.push(data[first:last])
    received, electrodes_off, positions = framer.pull_counts(10_000)
    assert np.array_equal(received, counts) and positions.tolist() == list(range(counts.shape[1]))
    assert electrodes_off.tolist() == (off * (1 << np.arange(len(off)))[:, None]).sum(axis=0).tolist()
    assert framer.counters()["skipped_bytes"] == 0


@pytest.mark.parametrize("name", PROFILES)
def test_a_simulated_device_answers_its_commands_and_sends_its_bytes(name: str) -> None:
    profile = PROFILES[name]
    eight = np.random.default_rng(0).normal(0, 0.3, (8, 400)).astype(np.float32)
    recording = Recording(eight, profile.fs, INDEPENDENT_LEADS)
    expected = b"".join(encode_wire(profile, *_measured(profile, recording)))
    with Simulator(profile, recording, speed=None) as simulator, serial.Serial(simulator.url, timeout=10) as port:
        for command in (profile.find_command(name) for name in profile.open):
            assert command is not None
            port.write(encode_pattern(command.send))
            if command.reply is not None and not profile.autostart:
                assert port.read(len(parse_pattern(command.reply))) == encode_pattern(command.reply)
        assert port.read(len(expected)) == expected


def _measured(profile: Profile, recording: Recording) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What the device reads of a recording: its counts, and absent leads as electrodes off."""
    rows = dict(zip(recording.leads, recording.signal, strict=True))
    absent = np.full(recording.signal.shape[1], np.nan, np.float32)
    signal = np.stack([rows.get(lead, absent) for lead in profile.leads])
    return to_counts(profile, signal)[0], np.isnan(signal)


@pytest.mark.parametrize("name", ON_THE_WIRE)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_any_damage_is_told_as_the_reference_tells_it(name: str, data: st.DataObject) -> None:
    profile = PROFILES[name]
    line = bytearray()
    for frame in random_wire(profile, data.draw(st.integers(1, 12)), data.draw(st.integers(0, 2**32 - 1))):
        fate = data.draw(st.sampled_from(["whole"] * 6 + ["dropped", "doubled", "cut", "flipped", "after garbage"]))
        damaged = bytearray(frame)
        if fate == "flipped":
            damaged[data.draw(st.integers(0, len(frame) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        elif fate == "cut":
            del damaged[data.draw(st.integers(0, len(frame) - 1)) :]
        elif fate == "after garbage":
            damaged[:0] = data.draw(st.binary(min_size=1, max_size=30))
        line += damaged * {"dropped": 0, "doubled": 2}.get(fate, 1)
    assert_as_reference(profile, bytes(line), data.draw(st.lists(st.integers(0, 1000), max_size=8)))


@pytest.mark.parametrize("name", ON_THE_WIRE)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_bytes_that_look_like_frames(name: str, data: st.DataObject) -> None:
    frame = random_wire(PROFILES[name], 1, 0)[0]
    likely = st.sampled_from([*frame[:5], *frame[-2:], 0, 10, 255])
    line = bytes(data.draw(st.lists(likely, max_size=300)))
    assert_as_reference(PROFILES[name], line, data.draw(st.lists(st.integers(0, 1000), max_size=8)))


@pytest.mark.parametrize("name", COUNTED_AND_CHECKED)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_flipped_bits_cost_their_frames_and_no_others(name: str, data: st.DataObject) -> None:
    profile = PROFILES[name]
    counts, off = random_counts(profile, 60, data.draw(st.integers(0, 2**32 - 1)))
    line = encode_wire(profile, counts, off)
    hit = data.draw(st.sets(st.integers(10, 49), max_size=12))
    for number in hit:
        damaged = bytearray(line[number])
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        line[number] = bytes(damaged)
    framer = profile.make_framer(100)
    framer.push(b"".join(line))
    whole = [number for number in range(60) if number not in hit]
    received, _, positions = framer.pull_counts(100)
    assert positions.tolist() == whole and np.array_equal(received, counts[:, whole])
    counters = framer.counters()
    assert (counters["lost_samples"], counters["skipped_bytes"]) == (len(hit), len(hit) * len(line[0]))


@pytest.mark.parametrize("name", COUNTED)
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_dropped_frames_are_counted(name: str, data: st.DataObject) -> None:
    profile = PROFILES[name]
    confirm = profile.frame.confirm if profile.frame else 0
    counts, off = random_counts(profile, 60, data.draw(st.integers(0, 2**32 - 1)))
    line = encode_wire(profile, counts, off)
    # Together less than half a turn of any counter; with more than one frame to confirm the one behind a gap, as many
    # frames apart as a counter modulo 16 needs for that.
    gaps = data.draw(st.lists(st.integers(1 if confirm < 2 else confirm + 2, 9), max_size=4))
    dropped = {10 + sum(gaps[: k + 1]) for k in range(len(gaps))}
    of = profile.packets
    framer = profile.make_framer(100)
    framer.push(b"".join(frame for n, frame in enumerate(line) if n // of not in dropped))
    whole = [number for number in range(60) if number not in dropped]
    received, _, positions = framer.pull_counts(100)
    assert positions.tolist() == whole and np.array_equal(received, counts[:, whole])
    counters = framer.counters()
    assert (counters["lost_samples"], counters["skipped_bytes"]) == (len(dropped), 0)
