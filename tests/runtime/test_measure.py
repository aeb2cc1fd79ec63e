"""What is measured on the median beat, and how the prompt says it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needs import recordings
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.manifest import Feature, Prompt
from uniecg_runtime.signal.findings import NAMES
from uniecg_runtime.signal.measure import Measurements, Value, forgive_missed, limb_scales, measure, prompt_text


def value(measurements: Measurements, name: str) -> float:
    held = measurements.values[name].value
    assert held is not None, f"{name} was not measured"
    return held


def drawn(**told: Any) -> Recording:
    return simulate(ParametricEcg(**told), 10.0, 500.0, 11)


def standardised(recording: Recording) -> Recording:
    scaled = recording.signal / recording.signal.std(axis=1, keepdims=True)
    return replace(recording, signal=scaled.astype(np.float32), units="standardised")


def test_every_value_has_its_unit_and_a_normal_ecg_measures_as_it_was_drawn() -> None:
    got = measure(drawn(heart_rate=64, pr=160, qrs=92, qt=400, axis=45))
    assert list(got.values) == ["heart_rate", "rr", "rr_sd", "pr", "qrs", "qt", "qtc", "qtcf", "axis"]
    assert [held.unit for held in got.values.values()] == ["bpm", *["ms"] * 7, "deg"]
    assert value(got, "heart_rate") == pytest.approx(64, abs=2)
    assert value(got, "pr") == pytest.approx(160, abs=24)
    assert value(got, "qrs") == pytest.approx(92, abs=16)
    assert value(got, "qt") == pytest.approx(400, abs=30)
    assert value(got, "axis") == pytest.approx(45, abs=12)
    assert value(got, "qtc") == pytest.approx(value(got, "qt") / (value(got, "rr") / 1000) ** 0.5)
    assert value(got, "qtcf") == pytest.approx(value(got, "qt") / (value(got, "rr") / 1000) ** (1 / 3))


@pytest.mark.parametrize("axis", [-60, -20, 30, 80, 120])
def test_the_axis_is_found_with_and_without_millivolts(axis: int) -> None:
    recording = drawn(heart_rate=70, axis=axis)
    assert value(measure(recording), "axis") == pytest.approx(axis, abs=15)
    assert value(measure(standardised(recording)), "axis") == pytest.approx(axis, abs=15)


def test_limb_scales_are_recovered_and_refused_where_the_law_does_not_hold() -> None:
    recording = drawn(heart_rate=70)
    deviations = recording.signal[:3].std(axis=1)
    scales = limb_scales(standardised(recording).signal, LEADS)
    assert scales is not None
    np.testing.assert_allclose(scales / scales[0], deviations / deviations[0], rtol=0.02)
    noise = np.random.default_rng(0).normal(size=(12, 5000)).astype(np.float32)
    assert limb_scales(noise, LEADS) is None
    assert limb_scales(noise[:2], ("I", "II")) is None
    assert limb_scales(np.repeat(noise[:1], 3, axis=0), ("I", "II", "III")) is None


@pytest.mark.parametrize(("pr", "qrs"), [(140, 90), (220, 90), (160, 140)])
def test_intervals_follow_what_was_drawn(pr: int, qrs: int) -> None:
    conduction = "left bundle branch block" if qrs > 120 else "normal"
    got = measure(drawn(heart_rate=65, pr=pr, qrs=qrs, conduction=conduction))
    assert value(got, "pr") == pytest.approx(pr, abs=26)
    assert value(got, "qrs") == pytest.approx(qrs, abs=24)


def test_fibrillation_has_no_pr_and_an_irregular_rr() -> None:
    for seed in range(5):
        got = measure(simulate(ParametricEcg(heart_rate=90, rhythm="atrial fibrillation"), 10.0, 500.0, seed))
        assert got.values["pr"].value is None
        assert value(got, "rr_sd") > 50


def test_ectopic_beats_do_not_widen_the_usual_qrs() -> None:
    got = measure(simulate(ParametricEcg(heart_rate=75, pvc=0.2), 20.0, 500.0, 4))
    assert value(got, "qrs") < 115


def test_st_elevation_is_found_where_it_was_drawn_and_only_in_millivolts() -> None:
    recording = drawn(heart_rate=70, st={"V2": 0.4, "V3": 0.4, "V4": 0.3})
    assert {"V2", "V3", "V4"} <= set(measure(recording).findings["ST elevation"])
    assert "ST elevation" not in measure(drawn(heart_rate=70)).findings
    assert not {"ST elevation", "low voltage", "tall R"} & measure(standardised(recording)).findings.keys()


def test_t_inversion_is_found_in_both_units_and_never_in_avr() -> None:
    recording = drawn(heart_rate=70, t_inversion=("V4", "V5", "V6"))
    for form in (recording, standardised(recording)):
        assert {"V5", "V6"} <= set(measure(form).findings["T inversion"])
    normal = measure(drawn(heart_rate=70)).findings
    assert "T inversion" not in normal and "Q wave" not in normal


def test_low_voltage_is_found_from_the_gain() -> None:
    assert "low voltage" in measure(drawn(heart_rate=70, gain=0.25)).findings
    assert "low voltage" not in measure(drawn(heart_rate=70)).findings


def test_findings_keep_their_order_and_the_order_of_leads() -> None:
    got = measure(drawn(heart_rate=70, gain=1.8, t_inversion=("V6", "V5"), st={"V5": -0.3, "V6": -0.3}))
    assert list(got.findings) == [name for name in NAMES if name in got.findings]
    for leads in got.findings.values():
        assert list(leads) == sorted(leads, key=LEADS.index)


def test_one_lead_gives_a_rate_and_no_axis() -> None:
    recording = drawn(heart_rate=80)
    got = measure(Recording(recording.signal[1:2], 500.0, ("II",)))
    assert value(got, "heart_rate") == pytest.approx(80, abs=2)
    assert got.values["axis"].value is None


@pytest.mark.parametrize("rate", [125.0, 250.0, 1000.0])
def test_the_sampling_rate_hardly_changes_the_values(rate: float) -> None:
    ecg = ParametricEcg(heart_rate=70)
    one = measure(simulate(ecg, 10.0, 500.0, 11))
    other = measure(simulate(ecg, 10.0, rate, 11))
    for name, margin in (("heart_rate", 1), ("qrs", 10), ("qt", 14), ("pr", 14)):
        assert value(one, name) == pytest.approx(value(other, name), abs=margin)


@pytest.mark.parametrize("signal", [np.zeros((2, 5000)), np.full((2, 5000), np.nan), np.zeros((2, 20))])
def test_without_a_beat_nothing_is_measured(signal: np.ndarray) -> None:
    got = measure(Recording(signal.astype(np.float32), 500.0, ("I", "II")))
    assert all(held.value is None for held in got.values.values())
    assert got.findings == {} and got.beats.size == 0


@settings(max_examples=30, deadline=None)
@given(fs=st.floats(60, 1500), seconds=st.floats(0.2, 12), leads=st.integers(1, 12), seed=st.integers(0, 99))
def test_noise_never_raises_and_gives_finite_values(fs: float, seconds: float, leads: int, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(leads, round(fs * seconds))).astype(np.float32)
    got = measure(Recording(noise, fs, LEADS[:leads]))
    assert all(held.value is None or np.isfinite(held.value) for held in got.values.values())


def test_one_missed_beat_is_forgiven_only_in_a_regular_rhythm() -> None:
    regular = np.array([800.0, 810, 790, 1605, 800, 795])
    assert forgive_missed(regular).max() < 820 and forgive_missed(regular).size == 7
    irregular = np.array([500.0, 900, 640, 1300, 700, 420])
    np.testing.assert_array_equal(forgive_missed(irregular), irregular)


def test_the_prompt_says_values_dashes_and_findings() -> None:
    measured = Measurements(
        {"heart_rate": Value(71.6, "bpm"), "pr": Value(None, "ms"), "axis": Value(-0.2, "deg")},
        {"T inversion": ("V5", "V6"), "ST elevation": ("V2",), "tall R": ("V5",)},
        np.empty(0, dtype=np.int64),
    )
    prompt = Prompt(
        first_turn_with_signal="",
        first_turn="",
        next_turn="",
        interpret_question="",
        features=(Feature("heart_rate", "HR"), Feature("pr", "PR"), Feature("axis", "axis"), Feature("qt", "QT")),
        findings=("ST elevation", "T inversion"),
        draw_prefix="",
        end_token="",
        context=1,
        max_new_tokens=1,
    )
    assert prompt_text(measured, prompt) == "HR 72 PR - axis 0 QT -; ST elevation V2; T inversion V5 V6"


def _readers(wfdb: Any, record: str) -> dict[str, float]:
    """Median over the leads of each lead's median PR, QRS and QT in ms as annotated; nan where most leads have none."""
    per_lead = [_lead_intervals(wfdb.rdann(record, lead.lower())) for lead in LEADS]
    out = {}
    for name in ("pr", "qrs", "qt"):
        held = [one[name] for one in per_lead if one[name]]
        out[name] = float(np.median([np.median(found) for found in held])) if len(held) >= 6 else float("nan")
    return out


def _lead_intervals(marks: Any) -> dict[str, list[float]]:
    waves: list[tuple[str, int, int]] = []
    begin: int | None = None
    kind = ""
    for sample, symbol in zip(marks.sample, marks.symbol, strict=True):
        if symbol == "(":
            begin = int(sample)
        elif symbol in "pNt":
            kind = symbol
        elif begin is not None and kind:
            waves.append((kind, begin, int(sample)))
            begin, kind = None, ""
    out: dict[str, list[float]] = {"pr": [], "qrs": [], "qt": []}
    for place, (kind, onset, end) in enumerate(waves):
        if kind != "N":
            continue
        out["qrs"].append(2.0 * (end - onset))
        if place and waves[place - 1][0] == "p":
            out["pr"].append(2.0 * (onset - waves[place - 1][1]))
        if place + 1 < len(waves) and waves[place + 1][0] == "t":
            out["qt"].append(2.0 * (waves[place + 1][2] - onset))
    beats = len(out["qrs"])
    return {name: found if len(found) > beats / 2 else [] for name, found in out.items()}


def test_intervals_agree_with_ludb_readers() -> None:
    wfdb = pytest.importorskip("wfdb")
    errors: dict[str, list[float]] = {"pr": [], "qrs": [], "qt": []}
    for header in sorted(recordings("ludb/data").glob("*.hea")):
        record = str(header.with_suffix(""))
        signal = np.ascontiguousarray(wfdb.rdrecord(record).p_signal.T, dtype=np.float32)
        got = measure(Recording(signal, 500.0, LEADS))
        for name, truth in _readers(wfdb, record).items():
            held = got.values[name].value
            if held is not None and np.isfinite(truth):
                errors[name].append(abs(held - truth))
    assert min(len(found) for found in errors.values()) > 80
    assert np.mean(errors["qrs"]) < 12
    assert np.mean(errors["pr"]) < 12
    assert np.mean(errors["qt"]) < 20
