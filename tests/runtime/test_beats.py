"""Where the ventricles beat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from needs import recordings
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import Recording
from uniecg_runtime.signal.beats import detect_beats

BEAT_SYMBOLS = set("NLRBAaJSVrFejnE/fQ?")


def rate(beats: NDArray[np.int64], fs: float) -> float:
    return 60.0 * fs / float(np.diff(beats).mean())


def matched(reference: NDArray[np.int64], beats: NDArray[np.int64], tolerance: int) -> int:
    """How many of `reference` have a beat of their own within `tolerance`."""
    hits = place = 0
    for sample in reference:
        while place < beats.size and beats[place] < sample - tolerance:
            place += 1
        if place < beats.size and beats[place] <= sample + tolerance:
            hits, place = hits + 1, place + 1
    return hits


@pytest.mark.parametrize("bpm", [35, 50, 75, 110, 150, 190])
@pytest.mark.parametrize("fs", [125.0, 128.0, 250.0, 500.0, 1000.0])
def test_the_rate_is_found_from_slow_to_fast_at_every_sampling_rate(bpm: int, fs: float) -> None:
    recording = simulate(ParametricEcg(heart_rate=bpm), 20.0, fs, 3)
    assert rate(detect_beats(recording), fs) == pytest.approx(bpm, abs=2)


@pytest.mark.parametrize("rhythm", ["atrial fibrillation", "atrial flutter", "paced"])
def test_other_rhythms_are_counted(rhythm: str) -> None:
    ecg = ParametricEcg(heart_rate=80, rhythm=rhythm)  # type: ignore[arg-type]
    assert rate(detect_beats(simulate(ecg, 30.0, 500.0, 5)), 500.0) == pytest.approx(80, abs=4)


@pytest.mark.parametrize("conduction", ["left bundle branch block", "right bundle branch block"])
def test_a_wide_qrs_is_one_beat(conduction: str) -> None:
    ecg = ParametricEcg(heart_rate=70, conduction=conduction)  # type: ignore[arg-type]
    assert rate(detect_beats(simulate(ecg, 20.0, 500.0, 5)), 500.0) == pytest.approx(70, abs=2)


def test_one_lead_and_standardised_leads_do_as_well() -> None:
    recording = simulate(ParametricEcg(heart_rate=66), 20.0, 128.0, 9)
    scaled = recording.signal / recording.signal.std(axis=1, keepdims=True)
    whole = detect_beats(recording)
    for lead in range(12):
        alone = Recording(scaled[lead : lead + 1], 128.0, (recording.leads[lead],), units="standardised")
        beats = detect_beats(alone)
        assert matched(whole, beats, 10) >= whole.size - 1 and beats.size <= whole.size + 1, recording.leads[lead]


def test_two_leads_of_noise_do_not_spoil_ten_good_ones() -> None:
    recording = simulate(ParametricEcg(heart_rate=66), 20.0, 250.0, 9)
    noisy = recording.signal.copy()
    noisy[2:4] += np.random.default_rng(1).normal(0, 3, size=noisy[2:4].shape).astype(np.float32)
    noisy[5] = np.nan
    whole = detect_beats(recording)
    beats = detect_beats(replace(recording, signal=noisy))
    assert matched(whole, beats, 15) == whole.size == beats.size


def test_a_dropout_in_the_middle_costs_only_its_own_beats() -> None:
    recording = simulate(ParametricEcg(heart_rate=60), 30.0, 250.0, 9)
    signal = recording.signal.copy()
    signal[:, 3000:3500] = np.nan
    whole = detect_beats(recording)
    outside = whole[(whole < 2950) | (whole > 3550)]
    beats = detect_beats(replace(recording, signal=signal))
    assert matched(outside, beats, 15) == outside.size
    assert beats.size <= outside.size + 1


@pytest.mark.parametrize("silence", [0.0, np.nan])
def test_a_long_silence_has_no_beats(silence: float) -> None:
    """Most of the recording is silence, in which the rounding of the filter must not be taken for a heart."""
    recording = simulate(ParametricEcg(heart_rate=60), 280.0, 250.0, seed=2)
    signal = recording.signal.copy()
    signal[:, 10_000:60_000] = silence
    beats = detect_beats(replace(recording, signal=signal))
    assert not ((beats > 10_050) & (beats < 59_950)).any()  # where it begins and ends the signal jumps
    assert abs(beats.size - 80) <= 3


def test_a_recording_longer_than_a_chunk_has_no_seam() -> None:
    recording = simulate(ParametricEcg(heart_rate=75), 320.0, 125.0, 2)
    beats = detect_beats(Recording(recording.signal[1:2], 125.0, ("II",)))
    gaps = np.diff(beats) / 125.0
    assert gaps.min() > 0.5 and gaps.max() < 1.2


@pytest.mark.parametrize(
    "signal", [np.zeros((1, 5000)), np.full((1, 5000), np.nan), np.zeros((1, 3)), np.zeros((0, 9))]
)
def test_no_signal_has_no_beats(signal: NDArray[np.float64]) -> None:
    leads = ("II",)[: signal.shape[0]]
    assert detect_beats(Recording(signal.astype(np.float32), 500.0, leads)).size == 0


@settings(max_examples=40, deadline=None)
@given(fs=st.floats(50, 2000), seconds=st.floats(0.1, 12), seed=st.integers(0, 99), scale=st.floats(1e-6, 1e6))
def test_noise_gives_ascending_indices_within_the_signal(fs: float, seconds: float, seed: int, scale: float) -> None:
    count = round(fs * seconds)
    noise = np.random.default_rng(seed).normal(0, scale, size=(2, count)).astype(np.float32)
    beats = detect_beats(Recording(noise, fs, ("I", "II")))
    assert beats.dtype == np.int64
    assert (np.diff(beats) > 0).all() and (beats >= 0).all() and (beats < count).all()


def test_mit_bih_beats_are_found() -> None:
    wfdb = pytest.importorskip("wfdb")
    hits = found = expected = 0
    for name in ("101", "104", "106", "108", "119", "201", "203", "208", "217", "223"):
        record = str(recordings("mitdb") / name)
        signal = np.ascontiguousarray(wfdb.rdrecord(record).p_signal.T[:1], dtype=np.float32)
        marks = wfdb.rdann(record, "atr")
        reference = marks.sample[[symbol in BEAT_SYMBOLS for symbol in marks.symbol]]
        beats = detect_beats(Recording(signal, 360.0, ("II",)))
        hits, found, expected = hits + matched(reference, beats, 54), found + beats.size, expected + reference.size
    assert 2 * hits / (found + expected) >= 0.985
