"""Bytes published or computed by others, in both directions."""

from __future__ import annotations

import numpy as np
import pytest

from uniecg_device.encoder import encode_frames, encode_pattern
from uniecg_device.profile import load_profile

E8_FRAME = bytes.fromhex("e8 03 11 20 00 30 00 30 34 00 00 3f 7f 20 01 20 02 20 03 20 04 8e")
E8_COUNTS = [2048, 2100, 0, 4095, 1, 2, 3, 4]
CYTON_FRAME = bytes.fromhex("a0 07 000001 ffffff 7fffff 800000 000000 000064 ffff9c 003039 0010 fff0 1000 c0")
CYTON_COUNTS = [1, -1, 8388607, -8388608, 0, 100, -100, 12345]


def test_e8_frame_decodes() -> None:
    framer = load_profile("e8_12lead").make_framer(10)
    framer.push(E8_FRAME)
    counts, electrodes_off, positions = framer.pull_counts(10)
    assert counts.dtype == np.int32 and counts[:, 0].tolist() == E8_COUNTS
    assert electrodes_off.tolist() == [1 << 2], "V1 is off, all others are on"
    assert positions.tolist() == [0]


def test_e8_millivolts_follow_the_profile() -> None:
    profile = load_profile("e8_12lead")
    framer = profile.make_framer(10)
    framer.push(E8_FRAME)
    millivolts, _, _ = framer.pull(10)
    expected = (np.array(E8_COUNTS) - 2048.0) * (1 / profile.scale.counts_per_mv)
    assert millivolts.dtype == np.float32 and np.array_equal(millivolts[:, 0], expected.astype(np.float32))


def test_e8_frame_encodes() -> None:
    electrodes_off = np.zeros((8, 1), bool)
    electrodes_off[2] = True
    counts = np.array(E8_COUNTS)[:, None]
    frames = encode_frames(load_profile("e8_12lead"), counts, electrodes_off, first=64 + 3)
    assert frames.tobytes() == E8_FRAME


@pytest.mark.parametrize(
    ("command", "expected"),
    [("start", "e8 00 11 10 00" + 16 * "00" + "8e"), ("stop", "e8 00 11 11 00" + 16 * "00" + "8e")],
)
def test_e8_commands_are_frames_with_zero_data(command: str, expected: str) -> None:
    found = load_profile("e8_12lead").find_command(command)
    assert found is not None and encode_pattern(found.send) == bytes.fromhex(expected)


def test_e8_acknowledgement_is_a_message() -> None:
    framer = load_profile("e8_12lead").make_framer(10)
    acknowledgement = bytes.fromhex("e8 05 11 21 00 10" + 15 * "00" + "8e")
    framer.push(acknowledgement)
    assert framer.available == 0
    assert framer.pull_message() == acknowledgement
    assert framer.pull_message() is None


def test_cyton_frame_decodes_and_encodes() -> None:
    profile = load_profile("openbci_cyton")
    framer = profile.make_framer(10)
    framer.push(CYTON_FRAME)
    assert framer.pull_counts(10)[0][:, 0].tolist() == CYTON_COUNTS
    frame = encode_frames(profile, np.array(CYTON_COUNTS)[:, None], first=7)[0].tobytes()
    assert frame[:26] == CYTON_FRAME[:26] and frame[-1:] == CYTON_FRAME[-1:]
    assert frame[26:32] == bytes(6), "the simulator has no accelerometer"


def test_cyton_accepts_every_footer_of_its_kind() -> None:
    framer = load_profile("openbci_cyton").make_framer(10)
    for number, footer in enumerate((0xC0, 0xC3, 0xC6, 0xD0)):
        framer.push(CYTON_FRAME[:1] + bytes([number]) + CYTON_FRAME[2:-1] + bytes([footer]))
    counters = framer.counters()
    assert (counters["frames"], counters["bad_footers"], counters["skipped_bytes"]) == (3, 1, 33)


def test_cyton_scale_is_the_published_one() -> None:
    microvolts_per_count = 1000 / load_profile("openbci_cyton").scale.counts_per_mv
    assert microvolts_per_count == pytest.approx(4.5e6 / 24 / (2**23 - 1), rel=1e-8)
