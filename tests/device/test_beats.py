"""Heart beats as they come, and the statistics of their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from needs import recordings
from uniecg_device.beats import BeatDetector, Beats, find_beats, rhythm_statistics
from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate

BEAT_SYMBOLS = set("NLRBAaJSVrFejnE/fQ?")


def heart(bpm: int, fs: float, seconds: float = 20.0, rhythm: str = "sinus") -> NDArray[np.float32]:
    return simulate(ParametricEcg(heart_rate=bpm, rhythm=rhythm), seconds, fs, 3).signal  # type: ignore[arg-type]


def rate(beats: Beats, fs: float) -> float:
    return 60.0 * fs / float(np.diff(beats.positions).mean())


@pytest.mark.parametrize("bpm", [30, 60, 120, 190])
@pytest.mark.parametrize("fs", [100.0, 128.0, 360.0, 500.0, 2000.0])
def test_the_rate_is_found_from_slow_to_fast_at_every_sampling_rate(bpm: int, fs: float) -> None:
    assert rate(find_beats(heart(bpm, fs), fs), fs) == pytest.approx(bpm, abs=2)


@pytest.mark.parametrize("rhythm", ["atrial fibrillation", "atrial flutter", "paced"])
def test_other_rhythms_are_counted(rhythm: str) -> None:
    assert rate(find_beats(heart(80, 500.0, 30.0, rhythm), 500.0), 500.0) == pytest.approx(80, abs=4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=8))
def test_what_is_found_does_not_depend_on_how_samples_came(parts: list[int]) -> None:
    signal = heart(75, 250.0, 20.0)[:2]
    whole = BeatDetector(250.0, 2).push(signal)
    detector = BeatDetector(250.0, 2)
    pieces = [detector.push(piece) for piece in np.split(signal, np.minimum(np.cumsum(parts), 5000), axis=1)]
    np.testing.assert_array_equal(np.concatenate([piece.positions for piece in pieces]), whole.positions)
    np.testing.assert_array_equal(np.concatenate([piece.lags for piece in pieces]), whole.lags)


def test_a_beat_is_found_within_300_ms() -> None:
    for fs in (100.0, 360.0, 1000.0):
        beats = BeatDetector(fs, 12).push(heart(70, fs))
        later = beats.positions > 3 * fs
        assert later.sum() > 15 and beats.lags[later].max() <= 0.3 * fs


def test_leads_that_are_off_flat_or_railed_do_not_matter() -> None:
    signal = heart(66, 500.0)
    expected = find_beats(signal, 500.0).positions
    signal[0] = np.nan
    signal[1] = 0.0
    signal[2] = 32.0
    signal[3, 3000:6000] = np.nan
    found = find_beats(signal, 500.0).positions
    assert abs(len(found) - len(expected)) <= 1
    assert np.abs(found[:, None] - expected).min(axis=1).max() <= 10


def test_after_a_gap_on_all_leads_beats_come_again() -> None:
    signal = heart(80, 250.0, 30.0)
    detector = BeatDetector(250.0, 12)
    detector.push(signal)
    detector.skip(250 * 600)
    behind = detector.push(signal)
    assert rate(behind, 250.0) == pytest.approx(80, abs=2) and behind.positions[0] >= 250 * 630


def test_short_empty_and_senseless_inputs_give_an_answer() -> None:
    assert find_beats(np.empty((1, 0), np.float32), 500.0).positions.size == 0
    assert find_beats(np.full((3, 5000), np.nan, np.float32), 500.0).positions.size == 0
    assert find_beats(np.zeros((3, 5000), np.float32), 500.0).positions.size == 0
    one = find_beats(heart(120, 500.0)[:, :600], 500.0).positions  # 1.2 s: two or three beats
    assert 1 <= one.size <= 3 and one.max() < 600
    with pytest.raises(InputError, match="expected a rate"):
        BeatDetector(10.0, 1)
    with pytest.raises(InputError, match="shape"):
        BeatDetector(500.0, 2).push(np.zeros((3, 5), np.float32))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-3, 1.0, 1e4, 1e38]))
def test_noise_of_any_size_is_survived(seed: int, size: float) -> None:
    random = np.random.default_rng(seed)
    signal = np.clip(random.normal(size=(2, 6000)) * size, -3e38, 3e38).astype(np.float32)
    signal[random.random(signal.shape) < 0.01] = np.nan
    beats = find_beats(signal, 250.0)
    assert (np.diff(beats.positions) > 0).all() and beats.positions.size <= 6000 / 250 / 0.2


def test_statistics_of_a_steady_and_of_a_fibrillating_heart() -> None:
    steady = rhythm_statistics(np.arange(0, 50_000, 400), 500.0)
    assert steady is not None
    assert (steady.heart_rate, steady.sdnn, steady.rmssd, steady.irregularity) == pytest.approx((75, 0, 0, 0))
    fibrillating = rhythm_statistics(find_beats(heart(80, 500.0, 60.0, "atrial fibrillation"), 500.0).positions, 500.0)
    sinus = rhythm_statistics(find_beats(heart(80, 500.0, 60.0), 500.0).positions, 500.0)
    assert fibrillating is not None and sinus is not None
    assert fibrillating.irregularity > 0.4 > 0.2 > sinus.irregularity


def test_an_interval_across_a_gap_is_no_interval() -> None:
    positions = np.concatenate([np.arange(0, 5000, 500), np.arange(60_000, 65_000, 500)])
    statistics = rhythm_statistics(positions, 500.0)
    assert statistics is not None and statistics.longest == 1.0 and statistics.rmssd == 0.0
    assert rhythm_statistics(positions[:3], 500.0) is None


@pytest.mark.parametrize("record", ["101", "119", "208", "223"])
def test_real_beats_are_found_as_they_come(record: str) -> None:
    wfdb = pytest.importorskip("wfdb")
    path = str(recordings("mitdb") / record)
    signal = wfdb.rdrecord(path, sampto=108_000).p_signal[:, :1].T.astype(np.float32)
    notes = wfdb.rdann(path, "atr", sampto=108_000)
    truth = np.array([s for s, k in zip(notes.sample, notes.symbol, strict=True) if k in BEAT_SYMBOLS and s > 1800])
    found = BeatDetector(360.0, 1).push(signal).positions
    found = found[found > 1800]
    nearest = np.abs(found[:, None] - truth)
    assert np.count_nonzero(nearest.min(axis=0) <= 54) >= 0.985 * truth.size
    assert np.count_nonzero(nearest.min(axis=1) <= 54) >= 0.985 * found.size
