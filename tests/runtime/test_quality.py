"""Whether a recording can be read."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from needs import recordings
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import Recording
from uniecg_runtime.signal.quality import REASONS, assess

CINC2011_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


def ecg() -> Recording:
    return simulate(ParametricEcg(heart_rate=70), 10.0, 250.0, 3)


def with_lead(row: int, samples: np.ndarray) -> Recording:
    signal = ecg().signal.copy()
    signal[row] = samples
    return replace(ecg(), signal=signal)


def test_a_clean_ecg_is_acceptable_and_has_nothing_to_say() -> None:
    quality = assess(ecg())
    assert quality.score == 1.0 and quality.acceptable and quality.leads == {}


def test_each_fault_is_named_on_its_lead() -> None:
    time = np.arange(2500) / 250
    beats = ecg().signal[7]
    noise = np.random.default_rng(0).normal(0, 1.0, 2500)
    faults = {
        "off": np.full(2500, np.nan),
        "flat": np.full(2500, 0.2),
        "railed": np.clip(beats * 20, -5, 5),
        "noise": beats * 0.2 + noise,
        "wander": beats + 6 * np.sin(2 * np.pi * 0.15 * time),
    }
    assert set(faults) == set(REASONS)
    for reason, samples in faults.items():
        quality = assess(with_lead(7, samples))
        assert quality.leads == {"V2": (reason,)}, reason
        assert 0.9 <= quality.score < 1.0 and quality.acceptable


def test_many_bad_leads_are_not_acceptable() -> None:
    signal = ecg().signal.copy()
    signal[6:] = 0.0
    quality = assess(replace(ecg(), signal=signal))
    assert quality.score == pytest.approx(0.5) and not quality.acceptable


def test_nothing_to_judge_scores_zero() -> None:
    for signal in (np.zeros((2, 0)), np.zeros((2, 100)), np.full((2, 2500), np.nan)):
        quality = assess(Recording(signal.astype(np.float32), 250.0, ("I", "II")))
        assert quality.score == 0.0 and not quality.acceptable and set(quality.leads) == {"I", "II"}


def test_standardised_leads_are_judged_by_proportion() -> None:
    scaled = ecg().signal / ecg().signal.std(axis=1, keepdims=True)
    scaled[4] = 0.0
    quality = assess(replace(ecg(), signal=scaled.astype(np.float32), units="standardised"))
    assert quality.leads == {"aVL": ("flat",)}


def test_recordings_called_unacceptable_score_lower() -> None:
    signals = np.load(recordings("cinc2011") / "x_int16_adu200permV.npy", mmap_mode="r")
    scores: dict[str, list[float]] = {"acceptable": [], "unacceptable": []}
    for line in csv.DictReader((recordings("cinc2011") / "index.csv").read_text().splitlines()):
        signal = signals[int(line["row"])].astype(np.float32) / 200
        scores[line["quality"]].append(assess(Recording(signal, 500.0, CINC2011_LEADS)).score)
    good, bad = np.array(scores["acceptable"]), np.array(scores["unacceptable"])
    above = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    assert above > 0.82
    assert (good >= 0.8).mean() > 0.93
