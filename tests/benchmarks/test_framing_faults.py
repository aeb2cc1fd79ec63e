"""A line with 1 % of its bytes hit: every whole frame comes out, and the framer's counts are what was injected."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

import framing_faults
from framing_faults import FAULTS, measure
from uniecg_device.faults import Faults
from uniecg_device.grammar import Counter

BITS_ALONE = Faults(flip=0.43)


@pytest.mark.parametrize("faults", [FAULTS, BITS_ALONE])
@pytest.mark.parametrize("seed", range(3))
def test_every_whole_frame_is_recovered_and_every_count_is_exact(faults: Faults, seed: int) -> None:
    outcome = measure(20_000, seed, faults)
    assert outcome.share_hit >= 0.01
    assert outcome.exact, outcome


def test_a_clean_line_has_nothing_to_count() -> None:
    outcome = measure(1000, faults=Faults())
    counters = outcome.counters
    assert outcome.exact and (counters["frames"], counters["skipped_bytes"]) == (1000, 0)


def test_what_a_framer_does_not_count_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert framing_faults.PROFILE.frame is not None
    frame = replace(framing_faults.PROFILE.frame, counter=Counter(bits=((2, 3, 0),), modulus=16))
    monkeypatch.setattr(framing_faults, "PROFILE", replace(framing_faults.PROFILE, frame=frame))
    # Stalls of some 50 frames are more than a counter of 4 bits can tell.
    outcome = measure(5000, faults=Faults(stall=0.002, seconds=0.1))
    assert not outcome.exact and outcome.wrong > 0
