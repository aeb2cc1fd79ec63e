"""What the generator learns from: strips stretched to another rate, and amplitudes that were lost."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import INDEPENDENT_LEADS, LEADS, Recording, twelve_leads
from uniecg_export.families.uniecg_nano import NanoConfig
from uniecg_export.families.uniecg_nano_prompt import preprocessing
from uniecg_export.training.generator import ROWS, _limb_log_ratio, stretched, strips
from uniecg_export.training.labels import NAMES
from uniecg_export.training.records import Records
from uniecg_runtime.signal.beats import detect_beats
from uniecg_runtime.signal.measure import measure
from uniecg_runtime.signal.window import prepare_window

FS = 128.0


@cache
def strip(rate: float, seed: int = 0, rhythm: str = "sinus") -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Ten seconds in the independent leads, and their beats."""
    recording = simulate(ParametricEcg(heart_rate=rate, rhythm=rhythm, baseline=0.0), 10.0, FS, seed)  # type: ignore[arg-type]
    return recording.signal[ROWS], detect_beats(recording)


def detected_rate(millivolts: NDArray[np.float32]) -> float:
    beats = detect_beats(Recording(np.ascontiguousarray(millivolts), FS, INDEPENDENT_LEADS))
    return float(60 * FS * (len(beats) - 1) / (beats[-1] - beats[0]))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from((50.0, 65.0, 80.0, 110.0, 140.0)), st.floats(0.6, 1.65), st.integers(0, 3))
@example(80.0, 1.0, 0)
def test_a_stretched_strip_beats_at_the_rate_it_claims(rate: float, factor: float, seed: int) -> None:
    original, beats = strip(rate, seed)
    found = stretched(original, beats, factor, FS)
    told = rate * factor
    if found is None:
        assert not 34 < told < 190
        return
    made, claimed = found
    assert made.shape == original.shape
    assert made.dtype == np.float32
    assert claimed == pytest.approx(told, rel=0.04)
    assert detected_rate(made) == pytest.approx(claimed, rel=0.04)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from((50.0, 80.0, 140.0)), st.floats(0.6, 1.65))
def test_a_splice_leaves_no_step_and_no_new_amplitude(rate: float, factor: float) -> None:
    original, beats = strip(rate)
    found = stretched(original, beats, factor, FS)
    if found is None:
        return
    made = found[0]
    assert np.isfinite(made).all()
    assert made.max() <= original.max() + 1e-3
    assert made.min() >= original.min() - 1e-3
    steepest = np.abs(np.diff(original)).max()
    assert np.abs(np.diff(made)).max() <= max(1.0, factor) * 1.05 * steepest


def test_a_drifting_baseline_is_cross_faded_where_beats_are_repeated() -> None:
    drift = np.tile(np.linspace(0, 1, 1280, dtype=np.float32), (8, 1))
    found = stretched(drift, np.arange(100, 1250, 100), 1.2, FS)
    assert found is not None
    assert np.abs(np.diff(found[0])).max() < 0.35


def test_an_irregular_rhythm_stays_irregular_and_at_its_mean_rate() -> None:
    original, beats = strip(90.0, 2, "atrial fibrillation")
    found = stretched(original, beats, 1.2, FS)
    assert found is not None
    again = detect_beats(Recording(found[0], FS, INDEPENDENT_LEADS))
    intervals = np.diff(again)
    assert intervals.std() / intervals.mean() > 0.08
    assert detected_rate(found[0]) == pytest.approx(found[1], rel=0.1)


@pytest.mark.parametrize(
    ("beats", "factor"),
    [
        ([], 1.0),
        ([400], 1.0),
        ([200, 400, 600], 1.0),
        ([5, 20, 400, 600, 800, 1279], 1.0),  # only three are whole
        (list(range(100, 1200, 100)), 3.0),  # 230 per minute
        (list(range(100, 1200, 100)), 0.3),  # 23 per minute
    ],
)
def test_too_few_beats_or_a_rate_no_heart_keeps_up_give_none(beats: list[int], factor: float) -> None:
    assert stretched(np.zeros((8, 1280), np.float32), np.array(beats, np.int64), factor, FS) is None


def test_stretching_leaves_its_input_alone() -> None:
    original, beats = strip(80.0)
    before = original.copy()
    stretched(original, beats, 1.1, FS)
    np.testing.assert_array_equal(original, before)


@settings(max_examples=25, deadline=None)
@given(st.floats(-1.2, 1.2), st.floats(0.2, 5.0), st.integers(0, 5))
def test_the_ratio_of_the_limb_leads_is_recovered_from_standardised_ones(
    log_ratio: float, size: float, seed: int
) -> None:
    shapes = np.random.default_rng(seed).normal(size=(2, 1280))
    shapes /= shapes.std(1, keepdims=True)
    eight = np.zeros((8, 1280), np.float32)
    eight[:2] = shapes * size * np.array([[np.exp(log_ratio)], [1.0]])
    leads = twelve_leads(eight)[:3]
    standardised = leads / leads.std(1, keepdims=True)
    assert _limb_log_ratio(standardised.astype(np.float32)) == pytest.approx(log_ratio, abs=0.02)


def test_the_ratio_of_a_whole_ecg_is_recovered_through_the_runtimes_window() -> None:
    recording = simulate(ParametricEcg(heart_rate=70, axis=20), 10.0, 500.0, 1)
    window = prepare_window(recording, preprocessing(NanoConfig()))
    expected = window.lead_facts[0, 2] - window.lead_facts[1, 2]
    assert _limb_log_ratio(window.signal) == pytest.approx(float(expected), abs=0.05)


def test_leads_that_do_not_obey_einthoven_give_no_ratio() -> None:
    rng = np.random.default_rng(0)
    assert _limb_log_ratio(rng.normal(size=(12, 1280)).astype(np.float32)) is None
    assert _limb_log_ratio(np.zeros((12, 1280), np.float32)) is None


def records(recordings: list[Recording], fold: list[int], source: str) -> Records:
    windows = [prepare_window(recording, preprocessing(NanoConfig())) for recording in recordings]
    n = len(recordings)
    return Records(
        names=tuple(recording.name for recording in recordings),
        signal=np.stack([window.signal for window in windows]),
        lead_facts=np.stack([window.lead_facts for window in windows]),
        labels=np.eye(n, len(NAMES), dtype=np.float32),
        known=np.ones((n, len(NAMES)), np.float32),
        fold=np.array(fold),
        age=np.full(n, np.nan, np.float32),
        sex=np.full(n, np.nan, np.float32),
        source=(source,) * n,
        measurements=tuple(measure(recording) for recording in recordings),
    )


def drawn(seed: int, units: str = "mV") -> Recording:
    made = simulate(ParametricEcg(heart_rate=60 + 4 * seed, axis=10.0 * seed, gain=0.8 + 0.05 * seed), 10.0, FS, seed)
    signal = made.signal if units == "mV" else made.signal / made.signal.std(1, keepdims=True)
    return Recording(np.ascontiguousarray(signal), FS, LEADS, name=f"{units}-{seed}", units=units)  # type: ignore[arg-type]


def test_strips_hold_millivolts_impute_lost_ones_and_leave_fold_9_out() -> None:
    known, lost = [drawn(seed) for seed in range(10)], drawn(4, "standardised")
    real = records([*known, drawn(11), lost], [*range(1, 9), 0, 0, 9, 1], "ptbxl")
    simulated = records([drawn(12), drawn(13)], [0, 0], "simulated")
    made = strips(real, simulated, NanoConfig())
    assert len(made.millivolts) == len(made.beats) == len(made.labels) == len(made.weight) == 11 + 2
    assert made.weight.sum() == pytest.approx(1.0)
    assert made.weight[-2:].sum() == pytest.approx(0.2)
    for k, recording in enumerate(known):
        expected = real.signal[k, ROWS] * (0.15 * np.exp(real.lead_facts[k, ROWS, 2]))[:, None]
        np.testing.assert_allclose(made.millivolts[k], expected, rtol=1e-4, atol=1e-5)
        truth = recording.signal[ROWS]
        assert np.corrcoef(made.millivolts[k].ravel(), truth.ravel())[0, 1] > 0.9
    truth, imputed = made.millivolts[4].std(1), made.millivolts[10].std(1)
    assert np.log(imputed[0] / imputed[1]) == pytest.approx(np.log(truth[0] / truth[1]), abs=0.1)
    assert np.all((imputed > truth / 3) & (imputed < truth * 3))
