"""Lines of JSON in the place of frames: every line is data, a message or skipped, and all are counted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniecg_device._native import Framer
from uniecg_device.encoder import encode_wire
from uniecg_device.json_lines import MAX_LINE, JsonLinesFramer
from uniecg_device.profile import load_profile

PROFILE = load_profile("hackeeg_jsonlines")
ANSWER = b'{"STATUS_CODE":200,"STATUS_TEXT":"Ok"}\r\n'


def make_lines(count: int, seed: int = 0) -> list[bytes]:
    counts = np.random.default_rng(seed).integers(-(1 << 23), 1 << 23, (8, count))
    return encode_wire(PROFILE, counts)


def test_it_can_stand_where_a_native_framer_stands() -> None:
    methods = {name for name in dir(Framer) if not name.startswith("_")}
    assert methods <= set(dir(JsonLinesFramer))
    assert PROFILE.make_framer(1).counters().keys() == load_profile("e8_12lead").make_framer(1).counters().keys()


def test_lines_are_what_the_board_sends() -> None:
    (line,) = make_lines(1)
    assert line.startswith(b'{"C":200,"D":"') and line.endswith(b'"}\n') and len(line) == 14 + 48 + 3


def test_answers_are_messages() -> None:
    framer = PROFILE.make_framer(10)
    first, second = make_lines(2)
    framer.push(ANSWER + first + ANSWER + second)
    assert framer.pull_message() == framer.pull_message() == ANSWER.rstrip()
    assert framer.pull_message() is None
    counters = framer.counters()
    assert (counters["messages"], counters["samples"], counters["skipped_bytes"]) == (2, 2, 0)


def test_messages_that_nobody_takes_are_counted() -> None:
    framer = PROFILE.make_framer(10)
    framer.push(ANSWER * 20)
    counters = framer.counters()
    assert (counters["messages"], counters["dropped_messages"]) == (20, 4)


def test_joining_in_the_middle_of_a_line_is_no_bad_header() -> None:
    first, second = make_lines(2)
    framer = PROFILE.make_framer(10)
    framer.push(first[20:] + second)
    counters = framer.counters()
    assert (counters["samples"], counters["skipped_bytes"]) == (1, len(first) - 20)
    assert counters["bad_headers"] == counters["resyncs"] == 0


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Ready\r",
        b'{"C":200,"D":"AAAA"}',
        b'{"C":500,"D":"' + make_lines(1)[0][14:],
        b'{"C":200,"D":"' + b"*" * 48 + b'"}',
        b'{"C":200,"D":"' + b"A" * 47 + b'="}',  # 35 bytes, but no status word begins 0000
        b'{"C":200,"D":5}',
        b"[" * 4000,
        b'{"\xff":1}',
        b'"D"',
        b"x" * (3 * MAX_LINE),
    ],
)
def test_what_is_no_data_is_skipped_and_counted(line: bytes) -> None:
    before, after = make_lines(2)
    line = line.rstrip(b"\n")
    for size in (1, 100, 1 << 20):
        framer = PROFILE.make_framer(10)
        stream = before + line + b"\n" + after
        for k in range(0, len(stream), size):
            framer.push(stream[k : k + size])
        counters = framer.counters()
        assert (counters["samples"], counters["skipped_bytes"]) == (2, len(line) + 1)
        assert (counters["bad_headers"], counters["resyncs"], counters["bytes"]) == (1, 1, len(stream))


def test_a_line_without_end_does_not_grow_memory() -> None:
    framer = PROFILE.make_framer(10)
    for _ in range(50):
        framer.push(b"x" * 1000)
    counters = framer.counters()
    assert counters["bytes"] - counters["skipped_bytes"] <= MAX_LINE
    assert len(framer._rest) <= MAX_LINE  # type: ignore[attr-defined]


def test_lost_lines_are_counted() -> None:
    lines = make_lines(10)
    framer = PROFILE.make_framer(10)
    framer.push(b"".join(lines[:4] + lines[7:]))
    assert framer.pull(10)[2].tolist() == [0, 1, 2, 3, 7, 8, 9]
    assert framer.counters()["lost_samples"] == 3


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_pieces_do_not_matter(data: st.DataObject) -> None:
    lines = make_lines(data.draw(st.integers(1, 6)), data.draw(st.integers(0, 1000)))
    stream = b"".join(data.draw(st.binary(max_size=20)) + line for line in lines) + data.draw(st.binary(max_size=20))
    at_once, in_pieces = PROFILE.make_framer(100), PROFILE.make_framer(100)
    at_once.push(stream)
    splits = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    for first, last in pairwise(sorted({0, len(stream), *splits})):
        in_pieces.push(memoryview(stream)[first:last])
    assert at_once.counters() == in_pieces.counters()
    assert np.array_equal(at_once.pull_counts(100)[0], in_pieces.pull_counts(100)[0])
