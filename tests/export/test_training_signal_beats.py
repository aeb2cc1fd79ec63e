"""The recipe of the beat detector's network: labels, noise, scoring, and a fit with the detector itself."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_export.training import signal_beat_records as beat_records
from uniecg_export.training import signal_beats
from uniecg_export.training.signal_beat_records import FS, Heart

ROOT = Path(__file__).parents[2]


def heart(seconds: float = 600, seed: int = 0) -> Heart:
    """Narrow QRS complexes of 1 mV with T waves, at intervals of 0.6 to 1 s."""
    beats = np.cumsum(np.random.default_rng(seed).uniform(0.6, 1.0, int(seconds / 0.6))) * FS
    beats = beats[beats < (seconds - 1) * FS].astype(np.int64)
    time = np.arange(-144, 217) / FS
    wave = np.exp(-((time / 0.012) ** 2) / 2) + 0.2 * np.exp(-(((time - 0.28) / 0.05) ** 2) / 2)
    signal = np.zeros((1, int(seconds * FS)), np.float32)
    for beat in beats[beats > 144]:
        signal[0, beat - 144 : beat + 217] += wave[: signal.shape[1] - beat + 144].astype(np.float32)
    return Heart("made", signal, beats, np.array([[1800, signal.shape[1]]]))


def test_each_beat_names_the_nearest_candidate_within_150_ms() -> None:
    found = beat_records.nearest(np.array([100, 500, 900]), np.array([90.0, 105.0, 560.0, 890.0, 2000.0]))
    assert found.tolist() == [False, True, False, True, False]
    assert beat_records.nearest(np.array([100]), np.array([100.0])).tolist() == [True]
    assert beat_records.nearest(np.array([100]), np.array([])).tolist() == []


def test_beats_are_tallied_where_they_count() -> None:
    made = replace(heart(20), beats=np.array([1000, 2000, 3000, 4000]))
    assert beat_records.tally(made, np.array([1001, 2010, 3200, 4050])).tolist() == [2, 1, 1]
    assert beat_records.f1(np.array([[2, 1, 1]])) == pytest.approx(200 / 3)


def test_noise_is_as_loud_as_asked_and_beats_count_only_in_it() -> None:
    made, generator = heart(), np.random.default_rng(1)
    noise = {"ma": generator.normal(size=(2, 50_000)).astype(np.float32)}
    noisy = beat_records.in_noise(made, noise, generator, ("ma",), 0.0)
    added = (noisy.signal - made.signal)[0]
    counts = np.zeros(added.size, dtype=bool)
    for first, last in noisy.counted:
        counts[first:last] = True
    assert np.all(counts[np.abs(added) > 0.01][2000:])
    assert added[counts].std() == pytest.approx(np.ptp(made.signal) / 8**0.5, rel=0.15)
    assert 0.3 < counts.mean() < 0.7


def test_descent_separates_and_is_repeated_by_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_beats, "EPOCHS", 60)
    generator = np.random.default_rng(2)
    features = generator.normal(size=(4000, signal_beats.FEATURES)).astype(np.float32)
    truth = (features[:, 0] + features[:, 1] > 0).astype(np.float32)
    network, again = (signal_beats.descend(features, truth, np.ones(4000, np.float32), seed=3) for _ in range(2))
    assert np.array_equal(network.rows, again.rows) and network.bias == again.bias
    assert np.mean((network.logits(features) > 0) == truth) > 0.9


def test_weights_are_printed_as_the_detector_includes_them() -> None:
    text = signal_beats.weights_header(signal_beats.rule_of_thumb())
    assert "constexpr float kBias = 0.0F;" in text and "0.8F, 0.6F, 0.0F" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_a_network_fitted_to_what_the_detector_judges_finds_the_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (
        ["-S", str(ROOT), "-B", str(tmp_path), "-DUNIECG_TESTS=ON", "-DUNIECG_PYTHON=OFF"],
        ["--build", str(tmp_path), "--target", "uniecg_beat_candidates"],
    ):
        subprocess.run(["cmake", *command], check=True, capture_output=True)
    tool = tmp_path / "tests/native/uniecg_beat_candidates"
    monkeypatch.setattr(signal_beats, "ROUNDS", 2)
    generator = np.random.default_rng(4)
    noise = {name: generator.normal(size=(2, 50_000)).astype(np.float32) for name in signal_beats.SOURCES}
    network = signal_beats.fit(tool, [heart(seed=5)], noise, seed=0)
    made = heart(seed=6)
    assert beat_records.f1(signal_beats.tally(tool, made, network)) > 99
    rows = signal_beats.judged(tool, made, network)
    assert np.array_equal(rows[:, 1] >= 0, network.logits(rows[:, 2:].astype(np.float32)) >= 0)
    deaf = replace(network, rows=np.zeros_like(network.rows), bias=-1.0)
    assert signal_beats.beats_found(tool, made, deaf).size == 0
