"""The native framer finds every valid frame, counts everything else exactly, and survives any bytes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniecg_device.encoder import encode_frames
from uniecg_device.profile import Profile, load_profile, parse_profile

from .reference import assert_as_reference

# A counted frame with everything that the built-in devices lack.
COUNTED = """
name = "counted"
title = "counted frames, xor checksum, two samples of 12 signed bits"
fs = 100
[port]
baud = 9600
[frame]
sync = "0A FA"
length = { byte = 2, type = "u16le", adds = 7, min = 10, max = 40, data = 13 }
kind = { byte = 4, type = "u8", packets = [2] }
counter = { bits = [[5, 7, 4]], modulus = 10 }
checksum = { kind = "xor8", byte = -2, first = 2, last = -3, invert = true }
footer = [{ byte = -1, value = 0x0B }]
samples = 2
stride = 2
[scale]
counts_per_mv = 100
offset = 0
basis = "register setting"
confidence = "high"
provenance = "made up for this test"
[[channel]]
lead = "II"
bits = [[6, 3, 0], [7, 7, 0]]
signed = true
"""

PROFILES = {
    "e8": load_profile("e8_12lead"),
    "cyton": load_profile("openbci_cyton"),
    "counted": parse_profile(COUNTED),
}


def random_frames(profile: Profile, count: int, seed: int, first: int = 0) -> list[bytes]:
    random = np.random.default_rng(seed)
    limits = [channel.range for channel in profile.channel]
    counts = np.stack([random.integers(low, high + 1, count * profile.frame.samples) for low, high in limits])
    off = random.random(counts.shape) < 0.1
    return [frame.tobytes() for frame in encode_frames(profile, counts, off, first)]


@pytest.mark.parametrize("name", PROFILES)
@settings(deadline=None)
@given(data=st.data())
def test_split_anywhere_with_garbage_between(name: str, data: st.DataObject) -> None:
    profile = PROFILES[name]
    frames = random_frames(profile, data.draw(st.integers(1, 12)), data.draw(st.integers(0, 2**32 - 1)))
    line = b"".join(data.draw(st.binary(max_size=30)) + frame for frame in frames)
    assert_as_reference(profile, line, data.draw(st.lists(st.integers(0, 1000), max_size=8)))


@pytest.mark.parametrize("name", PROFILES)
@settings(deadline=None)
@given(data=st.data())
def test_frames_lost_and_bytes_corrupted(name: str, data: st.DataObject) -> None:
    profile = PROFILES[name]
    frames = random_frames(profile, data.draw(st.integers(1, 15)), data.draw(st.integers(0, 2**32 - 1)))
    kept = [frame for frame in frames if data.draw(st.booleans())]
    line = bytearray(b"".join(kept))
    for _ in range(data.draw(st.integers(0, 5)) if line else 0):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    assert_as_reference(profile, bytes(line), data.draw(st.lists(st.integers(0, 1000), max_size=8)))


@pytest.mark.parametrize("name", PROFILES)
@settings(deadline=None)
@given(data=st.data())
def test_bytes_that_look_like_frames(name: str, data: st.DataObject) -> None:
    frame = random_frames(PROFILES[name], 1, 0)[0]
    likely = st.sampled_from([*frame[:5], *frame[-2:], 0, 255])
    line = bytes(data.draw(st.lists(likely, max_size=300)))
    assert_as_reference(PROFILES[name], line, data.draw(st.lists(st.integers(0, 1000), max_size=8)))


@given(seed=st.integers(0, 2**32 - 1), garbage=st.binary(max_size=60).filter(lambda g: 0xE8 not in g))
def test_garbage_without_a_header_costs_exactly_itself(seed: int, garbage: bytes) -> None:
    framer = PROFILES["e8"].make_framer(100)
    first, *rest = random_frames(PROFILES["e8"], 10, seed)
    framer.push(first + garbage + b"".join(rest))
    counters = framer.counters()
    assert counters["frames"] == 10
    assert counters["skipped_bytes"] == len(garbage)
    assert counters["resyncs"] == (len(garbage) > 0)
    assert counters["lost_samples"] == 0


@pytest.mark.parametrize("missing", [1, 2, 63])
def test_missing_frames_are_counted_over_the_wrap(missing: int) -> None:
    frames = random_frames(PROFILES["e8"], 200, 1)
    framer = PROFILES["e8"].make_framer(1000)
    framer.push(b"".join(frames[:60] + frames[60 + missing :]))
    counters = framer.counters()
    assert (counters["counter_gaps"], counters["lost_samples"]) == (1, missing)
    positions = framer.pull(1000)[2].tolist()
    assert positions == [*range(60), *range(60 + missing, 200)]


def test_a_full_ring_counts_what_it_refuses() -> None:
    framer = PROFILES["e8"].make_framer(50)
    frames = random_frames(PROFILES["e8"], 120, 2)
    framer.push(b"".join(frames[:100]))
    assert framer.counters()["overflowed_samples"] == 50
    assert framer.pull(1000)[2].tolist() == list(range(50))
    framer.push(b"".join(frames[100:]))
    assert framer.pull(1000)[2].tolist() == list(range(100, 120)), "the clock went on"
    assert framer.counters()["lost_samples"] == 0


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)])
def test_takes_anything_bytes_like(wrap: type) -> None:
    framer = PROFILES["e8"].make_framer(10)
    framer.push(wrap(random_frames(PROFILES["e8"], 1, 3)[0]))
    assert framer.available == 1


def test_refuses_what_is_not_bytes() -> None:
    with pytest.raises(TypeError):
        PROFILES["e8"].make_framer(10).push("E8")  # type: ignore[arg-type]


def test_arrays_outlive_the_framer() -> None:
    framer = PROFILES["e8"].make_framer(10)
    framer.push(b"".join(random_frames(PROFILES["e8"], 3, 4)))
    counts = framer.pull_counts(10)[0]
    before = counts.copy()
    del framer
    assert counts.shape == (8, 3) and np.array_equal(counts, before)


def test_pulling_nothing_gives_empty_arrays() -> None:
    millivolts, electrodes_off, positions = PROFILES["e8"].make_framer(10).pull(5)
    assert millivolts.shape == (8, 0) and electrodes_off.shape == positions.shape == (0,)


def test_one_thread_pushes_while_another_pulls() -> None:
    framer = PROFILES["e8"].make_framer(5000)
    frames = random_frames(PROFILES["e8"], 5000, 5)

    def push_all() -> None:
        for frame in frames:
            framer.push(frame)

    producer = threading.Thread(target=push_all)
    producer.start()
    positions: list[int] = []
    while len(positions) < 5000:
        positions += framer.pull(64)[2].tolist()
    producer.join()
    assert positions == list(range(5000))
