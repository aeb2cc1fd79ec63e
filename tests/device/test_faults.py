"""Faults follow from the seed and a frame's number alone, and each is counted as it happened."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniecg_device.encoder import encode_wire
from uniecg_device.errors import InputError
from uniecg_device.faults import Event, FaultCounts, Faults, FaultyLine, parse_faults
from uniecg_device.profile import load_profile

from .reference import parse

RATE = 100.0
FRAMES = [b"%05d" % number for number in range(3000)]
EVERYTHING = Faults(
    7, drop=0.02, flip=0.02, duplicate=0.02, insert=0.02, split=0.02, stall=0.002, disconnect=0.002, seconds=0.2
)


def send(faults: Faults, edges: Sequence[int] = (0, len(FRAMES))) -> tuple[list[bytes | Event], FaultCounts]:
    """What the reader meets, bytes joined up to the next event."""
    line = FaultyLine(faults, RATE, 8)
    joined: list[bytes | Event] = [b""]
    for first, last in pairwise(edges):
        for piece in line.damage(FRAMES[first:last]):
            if isinstance(piece, bytes) and isinstance(joined[-1], bytes):
                joined[-1] += piece
            else:
                joined.append(piece)
    return joined, FaultCounts(**line.totals)


def test_no_faults_change_nothing() -> None:
    assert send(Faults()) == ([b"".join(FRAMES)], FaultCounts())


@settings(deadline=None, max_examples=25)
@given(edges=st.sets(st.integers(1, len(FRAMES) - 1), max_size=40))
def test_batches_do_not_matter(edges: set[int]) -> None:
    assert send(EVERYTHING, [0, *sorted(edges), len(FRAMES)]) == send(EVERYTHING)


def test_another_seed_is_another_line() -> None:
    assert send(Faults(1, drop=0.1)) != send(Faults(2, drop=0.1))


def test_every_fault_happens_and_every_byte_is_accounted_for() -> None:
    pieces, counts = send(EVERYTHING)
    assert all(getattr(counts, name) for name in vars(counts) if name != "electrodes_off")
    missing = counts.dropped + counts.stalled + counts.disconnected
    sent = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    assert sent == 5 * (len(FRAMES) - missing + counts.duplicated) + counts.inserted_bytes
    assert pieces.count(Event.PAUSE) == counts.split
    assert pieces.count(Event.HANG_UP) == counts.disconnects
    ways = [piece for piece in pieces if piece in (Event.HANG_UP, Event.COME_BACK)]
    assert all(a is Event.HANG_UP and b is Event.COME_BACK for a, b in zip(ways[::2], ways[1::2], strict=False))


def test_rates_are_what_was_asked_for() -> None:
    _, counts = send(Faults(3, drop=0.1, flip=0.3))
    assert counts.dropped == pytest.approx(300, abs=60) and counts.flipped == pytest.approx(900, abs=100)


def test_each_fault_does_what_it_says() -> None:
    def of(**rates: float) -> list[bytes | Event]:
        return FaultyLine(Faults(**rates), RATE, 8).damage([b"abcd"])  # type: ignore[arg-type]

    assert of(drop=1) == []
    assert of(duplicate=1) == [b"abcd", b"abcd"]
    (flipped,) = of(flip=1)
    assert isinstance(flipped, bytes) and len(flipped) == 4
    assert (int.from_bytes(flipped) ^ int.from_bytes(b"abcd")).bit_count() == 1
    noise, frame = of(insert=1)
    assert isinstance(noise, bytes) and 1 <= len(noise) <= 40 and frame == b"abcd"
    before, pause, after = of(split=1)
    assert before and after and pause is Event.PAUSE
    assert b"".join(part for part in (before, after) if isinstance(part, bytes)) == b"abcd"
    assert of(stall=1) == [] and of(disconnect=1) == [Event.HANG_UP]


def test_a_while_lasts_as_long_as_was_asked_for() -> None:
    _, counts = send(Faults(2, stall=0.005, seconds=0.5))
    assert 25 * counts.stalls - 75 <= counts.stalled <= 75 * counts.stalls and counts.stalls > 3


def test_electrodes_come_off_and_on_again() -> None:
    faults = Faults(1, electrode_off=0.01, seconds=0.2)
    line = FaultyLine(faults, RATE, 3)
    off = line.electrodes_off(len(FRAMES))
    edges = np.diff(off.astype(int), axis=1)
    assert off.any(axis=1).all() and not off.all(axis=1).any()
    assert 0 < (edges == 1).sum() <= line.totals["electrodes_off"]
    lengths = [
        end - begin
        for row in edges
        for begin, end in zip(np.flatnonzero(row == 1), np.flatnonzero(row == -1), strict=False)
    ]
    assert min(lengths) >= 10
    again, halves = FaultyLine(faults, RATE, 3), []
    for first, last in ((0, 700), (700, len(FRAMES))):
        halves.append(again.electrodes_off(last - first))
        again.damage(FRAMES[first:last])
    assert np.array_equal(np.concatenate(halves, axis=1), off)


@pytest.mark.parametrize("name", ["ad8232_text", "hackeeg_jsonlines"])
def test_lines_are_damaged_too_and_what_the_framer_tells_is_true(name: str) -> None:
    profile = load_profile(name)
    random = np.random.default_rng(0)
    counts = random.integers(0, 1000, (len(profile.channel), 2000))
    line = FaultyLine(Faults(5, drop=0.02, flip=0.02, duplicate=0.02, insert=0.02, split=0.02), profile.fs, len(counts))
    data = b"".join(piece for piece in line.damage(encode_wire(profile, counts)) if isinstance(piece, bytes))
    injected, framer = FaultCounts(**line.totals), profile.make_framer(5000)
    framer.push(data)
    counters = framer.counters()
    if profile.text is not None:
        expected = parse(profile, data)
        assert framer.pull_counts(5000)[0].T.tolist() == expected.samples
        assert counters["skipped_bytes"] == expected.skipped_bytes > injected.inserted_bytes
        return
    received, _, positions = framer.pull_counts(5000)
    # A line behind noise is lost with it, and so is at most one more for a line end that was flipped.
    lost = injected.dropped + injected.flipped + injected.inserted
    assert 2000 - lost - injected.flipped <= counters["frames"] <= 2000 - injected.dropped
    assert counters["duplicates"] <= injected.duplicated and counters["skipped_bytes"] > injected.inserted_bytes
    sent = {tuple(column) for column in counts.T.tolist()}
    damaged = sum(tuple(column) not in sent for column in received.T.tolist())
    assert damaged <= injected.flipped  # base64 has no checksum: a flipped letter is another value
    assert (np.diff(positions.astype(np.int64)) > 0).all()


def test_faults_are_told_by_name_and_value() -> None:
    assert parse_faults([]) == Faults()
    told = parse_faults(["drop=0.01", "drift=-80", "electrode-off=1e-3", "seconds = 2"], seed=7)
    assert told == Faults(seed=7, drop=0.01, drift=-80, electrode_off=0.001, seconds=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["explode=1"], r"one of drop, flip, .*, drift, found 'explode=1'"),
        (["seed=1"], "the name one of"),
        (["drop"], "a number after drop=, found ''"),
        (["drop=often"], "found 'often'"),
        (["drop=0.1", "drop=0.2"], "given twice"),
        (["drop=1.5"], "from 0 to 1 for the fault drop, found 1.5"),
        (["flip=nan"], "found nan"),
        (["drop=0.6", "flip=0.6"], "add up to 1, not 1.2"),
        (["drift=1e9"], "at most 100000 ppm"),
        (["seconds=0"], "seconds above 0"),
        (["seconds=nan"], "seconds above 0"),
    ],
)
def test_impossible_faults_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_faults(settings)


def test_a_seed_is_no_less_than_0() -> None:
    with pytest.raises(InputError, match="seed of 0 or more"):
        Faults(seed=-1)
