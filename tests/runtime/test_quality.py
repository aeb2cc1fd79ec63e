"""Whether a recording can be read."""

from __future__ import annotations

import csv
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needs import recordings
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.signal.quality import REASONS, Quality, assess

CINC2011_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


def ecg(fs: float = 250.0, seconds: float = 10.0) -> Recording:
    return simulate(ParametricEcg(heart_rate=70), seconds, fs, 3)


def with_lead(row: int, samples: np.ndarray) -> Recording:
    signal = ecg().signal.copy()
    signal[row] = samples
    return replace(ecg(), signal=signal)


def faulty(fault: str) -> np.ndarray:
    """V2 of `ecg()` with one fault."""
    time = np.arange(2500) / 250
    beats = ecg().signal[7]
    made = {
        "off": np.full(2500, np.nan),
        "flat": np.full(2500, 0.2),
        "railed": np.clip(beats * 20, -5, 5),
        "noise": beats * 0.2 + np.random.default_rng(0).normal(0, 1.0, 2500),
        "wander": beats + 6 * np.sin(2 * np.pi * 0.15 * time),
        "mains": beats + 0.7 * np.sin(2 * np.pi * 49.9 * time),
    }
    return np.asarray(made[fault], dtype=np.float32)


def test_a_clean_ecg_is_acceptable_and_has_nothing_to_say() -> None:
    quality = assess(ecg())
    assert quality.score > 0.95 and quality.acceptable and quality.leads == {} and quality.reversal is None
    assert quality.index.keys() == set(LEADS) and min(quality.index.values()) > 0.95


@pytest.mark.parametrize("reason", REASONS)
def test_each_fault_is_named_on_its_lead_and_lowers_that_index_alone(reason: str) -> None:
    quality, clean = assess(with_lead(7, faulty(reason))), assess(ecg())
    assert reason in quality.leads.pop("V2") and quality.leads == {}
    assert quality.index["V2"] < min(0.9, clean.index["V2"] - 0.1)
    assert quality.score < clean.score
    assert all(quality.index[lead] > 0.9 for lead in LEADS if lead != "V2")


@pytest.mark.parametrize("reason", ["off", "flat", "railed"])
def test_a_lead_that_is_lost_has_one_reason_and_an_index_near_zero(reason: str) -> None:
    quality = assess(with_lead(7, faulty(reason)))
    assert quality.leads == {"V2": (reason,)} and quality.index["V2"] < 0.1


def test_every_lost_lead_costs_more_until_the_recording_is_not_acceptable() -> None:
    signal, scores = ecg().signal.copy(), []
    for row in range(11, 5, -1):
        signal[row] = 0.0
        scores.append(assess(replace(ecg(), signal=signal)))
    assert all(after.score < before.score for before, after in pairwise(scores))
    assert not scores[-1].acceptable and scores[-1].score < 0.3


@pytest.mark.parametrize("fs", [100.0, 125.0, 128.0, 257.3, 360.0, 500.0, 1000.0, 2000.0])
def test_the_rate_does_not_matter(fs: float) -> None:
    quality = assess(ecg(fs))
    assert quality.acceptable and quality.score == pytest.approx(assess(ecg(500.0)).score, abs=0.03)


@pytest.mark.parametrize("leads", [("I",), ("II", "V1"), ("I", "II", "III"), LEADS[6:]])
def test_a_few_leads_are_judged_like_twelve(leads: tuple[str, ...]) -> None:
    rows = [LEADS.index(lead) for lead in leads]
    alone = assess(replace(ecg(), signal=ecg().signal[rows], leads=leads))
    assert alone.acceptable and set(alone.index) == set(leads)
    noise = np.random.default_rng(0).normal(0, 0.5, (len(leads), 2500)).astype(np.float32)
    assert not assess(replace(ecg(), signal=noise, leads=leads)).acceptable


def test_missing_samples_of_a_moment_do_no_harm() -> None:
    signal = ecg().signal.copy()
    signal[:, 1000:1050] = np.nan
    assert assess(replace(ecg(), signal=signal)).acceptable


def test_nothing_to_judge_scores_zero() -> None:
    for signal in (np.zeros((2, 0)), np.zeros((2, 100)), np.full((2, 2500), np.nan), np.zeros((2, 2500))):
        quality = assess(Recording(signal.astype(np.float32), 250.0, ("I", "II")))
        assert quality.score < 0.02 and not quality.acceptable and set(quality.leads) == {"I", "II"}
    assert assess(Recording(np.zeros((0, 2500), np.float32), 250.0, ())) == Quality(0.0, False, {})


def test_standardised_leads_are_judged_by_proportion() -> None:
    scaled = ecg().signal / ecg().signal.std(axis=1, keepdims=True)
    scaled[4] = 0.0
    quality = assess(replace(ecg(), signal=scaled.astype(np.float32), units="standardised"))
    assert quality.leads == {"aVL": ("flat",)}
    assert all(quality.index[lead] > 0.9 for lead in LEADS if lead != "aVL")


def test_a_reader_is_warned_of_a_bad_signal_and_of_a_turned_one() -> None:
    assert assess(ecg()).warnings == ()
    signal = ecg().signal.copy()
    signal[6:9] = 0.0
    (bad,) = assess(replace(ecg(), signal=signal)).warnings
    assert "not acceptable" in bad and "V1: flat; V2: flat; V3: flat" in bad
    (turned,) = assess(replace(ecg(), signal=-ecg().signal)).warnings
    assert "every sign may be turned" in turned


def test_it_is_plain_data() -> None:
    plain = asdict(assess(ecg()))
    assert set(plain) == {"score", "acceptable", "leads", "index", "reversal"}
    assert type(plain["score"]) is float and type(plain["acceptable"]) is bool
    assert all(type(value) is float for value in plain["index"].values())


@settings(max_examples=60)
@given(
    fs=st.sampled_from([100.0, 250.0, 333.3, 2000.0]),
    seconds=st.sampled_from([0.0, 0.5, 1.0, 1.7, 3.0]),
    leads=st.sampled_from([("V3",), ("I", "II"), LEADS]),
    scale=st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e30]),
    spoilt=st.sampled_from([np.nan, np.inf, -np.inf, 3e38, 0.0]),
    units=st.sampled_from(["mV", "standardised"]),
    seed=st.integers(0, 99),
)
def test_whatever_the_signal_there_is_a_finite_answer(fs, seconds, leads, scale, spoilt, units, seed) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(seed)
    signal = (scale * random.normal(size=(len(leads), round(fs * seconds)))).astype(np.float32)
    signal[random.random(signal.shape) < random.choice([0.0, 0.1, 0.9])] = spoilt
    quality = assess(Recording(signal, fs, leads, units=units))
    assert 0.0 <= quality.score <= 1.0 and np.isfinite(quality.score)
    assert all(0.0 <= value <= 1.0 for value in quality.index.values())
    assert {reason for reasons in quality.leads.values() for reason in reasons} <= set(REASONS)


def test_recordings_called_unacceptable_score_lower() -> None:
    signals = np.load(recordings("cinc2011") / "x_int16_adu200permV.npy", mmap_mode="r")
    told: dict[str, list[Quality]] = {"acceptable": [], "unacceptable": []}
    for line in list(csv.DictReader((recordings("cinc2011") / "index.csv").read_text().splitlines()))[::4]:
        signal = signals[int(line["row"])].astype(np.float32) / 200
        told[line["quality"]].append(assess(Recording(signal, 500.0, CINC2011_LEADS)))
    good, bad = (np.array([quality.score for quality in told[kind]]) for kind in ("acceptable", "unacceptable"))
    above = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    assert above >= 0.93
    assert np.mean([quality.acceptable for quality in told["acceptable"]]) > 0.85
    assert np.mean([quality.acceptable for quality in told["unacceptable"]]) < 0.3


def test_recordings_of_a_clinic_stay_acceptable() -> None:
    paths = sorted(recordings("ptbxl").rglob("records500/**/*.hea"))[::10]
    assert np.mean([assess(read_recording(path)).acceptable for path in paths]) > 0.95


@pytest.mark.parametrize("heart_rate", [30.0, 150.0, 250.0])
def test_a_slow_or_fast_heart_is_no_noise(heart_rate: float) -> None:
    quality = assess(simulate(ParametricEcg(heart_rate=heart_rate), 10.0, 500.0, 1))
    assert quality.acceptable and quality.leads == {}
