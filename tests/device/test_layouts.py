"""Channels anywhere in a frame, of any bits: many frames at once are read as each by itself is, and as Python does."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from uniecg_device._native import Framer

Run = tuple[int, int, int]  # byte, highest and lowest bit


@st.composite
def field_runs(draw: st.DrawFn, length: int) -> list[Run]:
    """Whole bytes in either order, or any bits, most significant first; bytes of the front half of the frame."""
    half = length // 2
    kind = draw(st.sampled_from(["big", "little", "any"]))
    if kind != "any":
        size, first = draw(st.integers(1, 4)), draw(st.integers(1, half - 4))
        order = range(first, first + size)
        return [(byte, 7, 0) for byte in (order if kind == "big" else reversed(order))]
    runs = []
    for _ in range(draw(st.integers(1, 4))):
        high = draw(st.integers(0, 7))
        runs.append((draw(st.integers(1, half - 1)), high, draw(st.integers(0, high))))
    return runs


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, list[tuple[list[Run], bool]]]:
    """Length of the frame; runs of each channel, and whether it is signed.

    Most often channels follow each other at a fixed distance, as devices send them; some count from the frame's end.
    """
    length = draw(st.integers(12, 90))
    channels: list[tuple[list[Run], bool]] = []
    while len(channels) < draw(st.integers(1, 9)):
        runs = draw(field_runs(length))
        signed = draw(st.booleans()) or sum(high - low + 1 for _, high, low in runs) == 32
        step = draw(st.integers(0, 5))
        for k in range(draw(st.integers(1, 9))):
            moved = [(byte + k * step, high, low) for byte, high, low in runs]
            if max(byte for byte, _, _ in moved) < length:
                channels.append((moved, signed))
    from_end = draw(st.booleans())
    return length, [
        ([(byte - length if from_end else byte, high, low) for byte, high, low in runs], signed)
        for runs, signed in channels[:32]
    ]


def read(frame: bytes, runs: list[Run], signed: bool) -> int:
    value, width = 0, 0
    for byte, high, low in runs:
        size = high - low + 1
        value = value << size | frame[byte] >> low & ((1 << size) - 1)
        width += size
    return value - (1 << width) if signed and value >> (width - 1) else value


@settings(max_examples=200)
@given(layout=layouts(), frames=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_every_field_is_read_as_it_is_told(
    layout: tuple[int, list[tuple[list[Run], bool]]], frames: int, seed: int
) -> None:
    length, channels = layout
    grammar = json.dumps(
        {
            "uniecg": 2,
            "fs": 500,
            "frame": {"sync": "a5", "length": length},
            "channels": [
                {"lead": f"L{k}", "bits": runs, "signed": signed, "offset": 0, "mv_per_count": 1}
                for k, (runs, signed) in enumerate(channels)
            ],
        }
    )
    wire = np.random.default_rng(seed).integers(0, 256, (frames, length), np.uint8)
    wire[:, 0] = 0xA5
    expected = [[read(frame.tobytes(), runs, signed) for frame in wire] for runs, signed in channels]
    together, apart = Framer(grammar, 64), Framer(grammar, 64)
    together.push(wire.tobytes())
    for frame in wire:
        apart.push(frame.tobytes())
    for framer in (together, apart):
        counts, electrodes_off, positions = framer.pull_counts(frames)
        assert counts.tolist() == expected
        assert not electrodes_off.any() and positions.tolist() == list(range(frames))
