"""Beats of a finished recording, from two detectors."""

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
from uniecg_runtime.signal import heartbeats
from uniecg_runtime.signal.beats import detect_beats
from uniecg_runtime.signal.heartbeats import find_heartbeats


@pytest.mark.parametrize("told", [{}, {"pvc": 0.2}, {"rhythm": "atrial fibrillation"}])
def test_in_a_clean_signal_the_beats_are_those_of_the_detector_that_sees_both_ways(told: dict[str, object]) -> None:
    recording = simulate(ParametricEcg(heart_rate=80, **told), 60.0, 500.0, 4)  # type: ignore[arg-type]
    seen, placed = find_heartbeats(recording)
    np.testing.assert_array_equal(seen, detect_beats(recording))
    assert np.abs(placed - seen).max() <= 60
    assert (np.diff(placed) > 0).all()


@pytest.mark.parametrize("samples", [0, 100, 5000])
def test_nothing_to_hear_gives_nothing(samples: int) -> None:
    flat = Recording(np.zeros((2, samples), np.float32), 500.0, ("I", "II"))
    assert [beats.size for beats in find_heartbeats(flat)] == [0, 0]
    assert [beats.size for beats in find_heartbeats(replace(flat, signal=flat.signal[:0], leads=()))] == [0, 0]


@settings(max_examples=25, deadline=None)
@given(fs=st.sampled_from([50.0, 128.0, 360.0, 1000.0]), seconds=st.floats(1, 45), seed=st.integers(0, 99))
def test_noise_gives_ascending_beats_within_the_signal(fs: float, seconds: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    signal = random.normal(0, 1, (2, round(fs * seconds))).astype(np.float32)
    signal[random.random(signal.shape) < 0.01] = random.choice([np.nan, np.inf])
    for beats in find_heartbeats(Recording(signal, fs, ("I", "II"))):
        assert beats.dtype == np.int64
        assert (np.diff(beats) > 0).all() and (beats >= 0).all() and (beats < signal.shape[1]).all()


@given(
    beats=st.lists(st.integers(0, 300), unique=True, max_size=20).map(sorted),
    streamed=st.lists(st.integers(0, 300), unique=True, max_size=20).map(sorted),
    reach=st.integers(0, 100),
)
def test_placing_keeps_the_order_whatever_the_detectors_say(beats: list[int], streamed: list[int], reach: int) -> None:
    given_, other = (np.array(places, dtype=np.int64) for places in (beats, streamed))
    placed = heartbeats._placed(given_, other, reach)
    assert placed.size == given_.size and (np.diff(placed) > 0).all()
    assert (np.abs(placed - given_) <= reach).all()


def test_moving_electrodes_are_withstood() -> None:
    """118e00: from the fifth minute on, two of four hold the motion of electrodes, as strong as the beats."""
    wfdb = pytest.importorskip("wfdb")
    record = wfdb.rdrecord(str(recordings("nstdb") / "118e00"), channels=[0], sampfrom=360 * 300, sampto=360 * 900)
    marks = wfdb.rdann(str(recordings("nstdb") / "118e00"), "atr", sampfrom=360 * 300, sampto=360 * 900)
    truth = (marks.sample - 360 * 300)[[symbol in "NLRAV" for symbol in marks.symbol]]
    noisy = Recording(np.ascontiguousarray(record.p_signal.T, np.float32), 360.0, ("II",))
    alone, chosen = (f1(truth, beats) for beats in (detect_beats(noisy), find_heartbeats(noisy)[1]))
    assert chosen > alone + 0.04


def f1(truth: NDArray[np.int64], beats: NDArray[np.int64]) -> float:
    hits = sum(bool(beats.size) and np.abs(beats - beat).min() <= 54 for beat in truth)
    return 2 * hits / (truth.size + beats.size)
