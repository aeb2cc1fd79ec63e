"""Swapped electrodes: a recording with two cables exchanged says so, one as it should be says nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from needs import recordings
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.signal import reversal
from uniecg_runtime.signal.quality import assess
from uniecg_runtime.signal.reversal import DOUBT, UNDO, probabilities

SWAPS = {
    "RA-LA": {"RA": "LA", "LA": "RA"},
    "RA-LL": {"RA": "LL", "LL": "RA"},
    "LA-LL": {"LA": "LL", "LL": "LA"},
    "RA-LA-LL": {"RA": "LA", "LA": "LL", "LL": "RA"},
    "RA-LL-LA": {"RA": "LL", "LA": "RA", "LL": "LA"},
    "RA-RL": {"RA": "LL"},
    "LA-RL": {"LA": "LL"},
    "RA-RL and LA-LL": {"RA": "LL", "LA": "LL", "LL": "LA"},
}


def swapped(recording: Recording, kind: str) -> Recording:
    """The leads as the cables record them from other limbs; RL has the potential of LL."""
    lead = dict(zip(recording.leads, recording.signal, strict=True))
    at = {"RA": -(lead["I"] + lead["II"]) / 3}  # against the mean of the three
    at |= {"LA": at["RA"] + lead["I"], "LL": at["RA"] + lead["II"]}
    ra, la, ll = (at[SWAPS[kind].get(cable, cable)] for cable in ("RA", "LA", "LL"))
    mean = (ra + la + ll) / 3
    limb = [la - ra, ll - ra, ll - la, ra - (la + ll) / 2, la - (ra + ll) / 2, ll - (ra + la) / 2]
    rows = [*limb, *(lead[name] - mean for name in LEADS[6:])]
    return replace(recording, signal=np.stack(rows).astype(np.float32), leads=LEADS)


def ecg(heart_rate: float = 70.0, seed: int = 3) -> Recording:
    return simulate(ParametricEcg(heart_rate=heart_rate), 10.0, 500.0, seed)


def kind(recording: Recording) -> str | None:
    found = assess(recording).reversal
    return None if found is None else found.kind


def test_electrodes_where_they_belong_raise_no_suspicion() -> None:
    assert [kind(ecg(rate, seed)) for rate in (50.0, 70.0, 120.0) for seed in (1, 2)] == [None] * 6


@pytest.mark.parametrize("swap", SWAPS)
def test_each_swap_is_told_by_its_name_with_a_probability(swap: str) -> None:
    found = assess(swapped(ecg(), swap)).reversal
    assert found is not None and found.kind == swap
    assert 0.5 < found.probability <= 1.0 and (swap in found.why or "lead" in found.why)


def test_an_ecg_with_every_sign_turned_is_told() -> None:
    assert kind(replace(ecg(), signal=-ecg().signal)) == "inverted"


@pytest.mark.parametrize("lead", reversal.UPRIGHT)
def test_one_lead_alone_tells_that_its_sign_is_turned(lead: str) -> None:
    alone = replace(ecg(), signal=ecg().signal[[LEADS.index(lead)]], leads=(lead,))
    assert kind(alone) is None
    assert kind(replace(alone, signal=-alone.signal)) == "inverted"
    assert kind(replace(alone, signal=-20 * alone.signal, units="standardised")) == "inverted"


def test_a_lead_that_points_either_way_tells_nothing_alone() -> None:
    alone = replace(ecg(), signal=-ecg().signal[[LEADS.index("V2")]], leads=("V2",))
    assert kind(alone) is None


@pytest.mark.parametrize("kept", [("I", "II"), ("II", "III"), ("I", "III")])
def test_two_limb_leads_and_the_chest_are_enough(kept: tuple[str, ...]) -> None:
    def part(recording: Recording) -> Recording:
        leads = (*kept, *LEADS[6:])
        rows = [recording.leads.index(lead) for lead in leads]
        return replace(recording, signal=recording.signal[rows], leads=leads)

    assert kind(part(ecg())) is None and kind(part(swapped(ecg(), "RA-LA"))) == "RA-LA"


def test_limb_leads_alone_say_less_but_something() -> None:
    limb = replace(ecg(), signal=ecg().signal[:6], leads=LEADS[:6])
    assert kind(limb) is None
    turned = swapped(ecg(), "RA-LA")
    assert kind(replace(turned, signal=turned.signal[:6], leads=LEADS[:6])) is not None


def test_leads_that_lost_their_scale_are_judged_by_the_limb_leads_ratios() -> None:
    def standardised(recording: Recording) -> Recording:
        scaled = recording.signal / recording.signal.std(axis=1, keepdims=True)
        return replace(recording, signal=scaled.astype(np.float32), units="standardised")

    assert kind(standardised(ecg())) is None
    assert kind(standardised(swapped(ecg(), "RA-LA"))) == "RA-LA"


def test_what_cannot_be_judged_raises_no_suspicion() -> None:
    turned = swapped(ecg(), "RA-LA")
    noise = np.random.default_rng(0).normal(0, 1, turned.signal.shape).astype(np.float32)
    for recording in (
        replace(turned, signal=turned.signal[3:4], leads=("aVR",)),
        replace(turned, signal=turned.signal[6:], leads=LEADS[6:]),
        replace(turned, signal=turned.signal[:, :700]),
        replace(turned, signal=np.zeros_like(turned.signal)),
        replace(turned, signal=noise),
        swapped(ecg(190.0), "RA-LA"),
    ):
        assert kind(recording) is None


def test_a_lead_too_noisy_to_use_is_done_without() -> None:
    signal = ecg().signal.copy()
    signal[0] = np.random.default_rng(0).normal(0, 3.0, signal.shape[1])
    assert kind(replace(ecg(), signal=signal)) is None


def test_undoing_a_swap_twice_goes_round() -> None:
    for name, matrix in UNDO.items():
        turns = 3 if name.count("-") == 2 else 2
        assert np.array_equal(np.linalg.matrix_power(np.array(matrix), turns), np.eye(2)), name


def test_probabilities_sum_to_one_however_large_the_likeness() -> None:
    likely = probabilities(np.array([1e4, 0.0, -1e4]))
    assert likely.sum() == pytest.approx(1.0) and likely[0] == pytest.approx(1.0)


def test_swaps_of_real_recordings_are_found_and_false_alarms_are_few() -> None:
    paths = sorted((recordings("ludb") / "data").glob("*.hea"), key=lambda path: int(path.stem))[::4]
    right = [read_recording(path) for path in paths]
    assert np.mean([kind(recording) is not None for recording in right]) <= 0.05
    for swap in ("RA-LA", "RA-LL", "RA-RL"):
        assert np.mean([kind(swapped(recording, swap)) is not None for recording in right]) >= 0.9, swap


def test_a_swap_is_told_where_the_labels_are_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DOUBT < 0.5
    monkeypatch.setattr(reversal, "DOUBT", 0.0)  # never doubted
    assert kind(swapped(ecg(), "RA-LA")) is None
