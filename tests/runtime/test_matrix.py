"""The measurement matrix: values as drawn, each with its unit, its quality and its leads, or why there is none."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needs import recordings
from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.cli.records import Told
from uniecg_runtime.signal.amplitudes import NAMES
from uniecg_runtime.signal.matrix import Matrix, measure_matrix
from uniecg_runtime.signal.measure import measure
from uniecg_runtime.signal.survey import PIECE, Report, measure_all
from uniecg_runtime.signal.waves import find_waves


def drawn(seconds: float = 10.0, fs: float = 500.0, **told: Any) -> Recording:
    return simulate(ParametricEcg(**told), seconds, fs, 11)


def matrix(recording: Recording) -> Matrix:
    return measure_matrix(recording, find_waves(recording))


def value(got: Matrix, name: str, lead: str | None = None) -> float:
    held = (got.values if lead is None else got.leads[lead])[name]
    assert held.value is not None, f"{name} was not measured: {held.reason}"
    return held.value


@pytest.mark.parametrize("fs", [125.0, 500.0, 1000.0])
def test_a_normal_ecg_measures_as_it_was_drawn(fs: float) -> None:
    got = matrix(drawn(fs=fs, heart_rate=64, pr=160, qrs=92, qt=400, axis=45))
    assert value(got, "heart_rate") == pytest.approx(64, abs=2)
    assert value(got, "pr") == pytest.approx(160, abs=24)
    assert value(got, "qrs") == pytest.approx(92, abs=18)
    assert value(got, "qt") == pytest.approx(400, abs=30)
    assert value(got, "axis") == pytest.approx(45, abs=12)
    assert value(got, "p_share") > 0.8
    for held in (*got.values.values(), *(cell for row in got.leads.values() for cell in row.values())):
        assert 0.0 <= held.quality <= 1.0 and (held.value is not None or held.reason)


def test_qt_is_corrected_by_the_four_formulas() -> None:
    got = matrix(drawn(heart_rate=80))
    qt, rr = value(got, "qt"), value(got, "rr") / 1000
    assert value(got, "qtc") == pytest.approx(qt / rr**0.5)
    assert value(got, "qtcf") == pytest.approx(qt / rr ** (1 / 3))
    assert value(got, "qtc_framingham") == pytest.approx(qt + 154 * (1 - rr))
    assert value(got, "qtc_hodges") == pytest.approx(qt + 1.75 * (60 / rr - 60))


def test_heights_are_those_of_the_signal_and_scale_with_it() -> None:
    small, large = matrix(drawn(heart_rate=70, gain=0.8)), matrix(drawn(heart_rate=70, gain=1.6))
    for lead in ("II", "V2", "V5"):
        for name in ("r", "t"):
            assert value(large, name, lead) == pytest.approx(2 * value(small, name, lead), rel=0.15, abs=0.02)
    recording = drawn(heart_rate=70, gain=1.6)
    onset = find_waves(recording).common[4, 3]
    assert value(large, "r", "V5") == pytest.approx(recording.signal[10, onset : onset + 60].max(), rel=0.1)
    assert value(large, "p", "II") == pytest.approx(recording.signal[1, onset - 90 : onset].max(), abs=0.03)
    assert value(large, "sokolow_lyon") == pytest.approx(2 * value(small, "sokolow_lyon"), rel=0.1)
    assert value(large, "cornell") == pytest.approx(value(large, "r", "aVL") + abs(value(large, "s", "V3")), rel=1e-9)


def test_st_is_measured_where_it_was_drawn_and_baseline_wander_does_not_move_it() -> None:
    still = drawn(heart_rate=70, st={"V2": 0.3, "V5": -0.2})
    clock = np.arange(5000) / 500.0
    wandering = replace(still, signal=(still.signal + 0.5 * np.sin(2 * np.pi * 0.2 * clock)).astype(np.float32))
    for recording in (still, wandering):
        got = matrix(recording)
        assert value(got, "st_60", "V2") == pytest.approx(0.3, abs=0.06)
        assert value(got, "st_60", "V5") == pytest.approx(-0.2, abs=0.06)
        assert abs(value(got, "st_60", "I")) < 0.06


def test_the_order_of_q_r_and_s_and_a_qs_is_a_q() -> None:
    got = matrix(drawn(heart_rate=70, q_waves=("III", "aVF")))
    assert value(got, "q", "III") < -0.02 and value(got, "q_duration", "III") >= 20
    upside_down = drawn(heart_rate=70)
    upside_down.signal[11] *= -1
    row = matrix(upside_down).leads["V6"]
    assert row["q"].value is None or row["r"].value is not None or row["s"].value is None
    for row in got.leads.values():
        for name, sign in (("q", -1), ("r", 1), ("s", -1), ("r2", 1)):
            held = row[name].value
            assert held is None or held * sign > 0


def test_fibrillation_has_no_pr_and_says_why() -> None:
    got = matrix(simulate(ParametricEcg(heart_rate=90, rhythm="atrial fibrillation"), 10.0, 500.0, 2))
    assert got.values["pr"].value is None and "no P wave" in got.values["pr"].reason
    assert value(got, "p_share") == 0.0 and got.values["p_axis"].value is None
    assert value(got, "qrs") > 60 and value(got, "heart_rate") > 60


def test_without_millivolts_there_are_no_axes_and_voltages() -> None:
    recording = drawn(heart_rate=70)
    scaled = recording.signal / recording.signal.std(axis=1, keepdims=True)
    got = matrix(replace(recording, signal=scaled.astype(np.float32), units="standardised"))
    for name in ("axis", "sokolow_lyon", "cornell"):
        assert got.values[name].value is None and got.values[name].reason == "needs millivolts"
    assert got.leads["V5"]["r"].unit == "SD" and value(got, "qrs") > 60


def test_few_beats_and_noise_are_trusted_less() -> None:
    clean, short = matrix(drawn(heart_rate=70)), matrix(drawn(2.0, heart_rate=70))
    noisy = matrix(drawn(heart_rate=70, muscle=0.15))
    for other in (short, noisy):
        assert other.leads["V5"]["r"].quality < clean.leads["V5"]["r"].quality
    assert short.values["qrs"].quality < clean.values["qrs"].quality


def test_one_lead_gives_intervals_and_no_axis() -> None:
    got = matrix(Recording(drawn(heart_rate=80).signal[1:2], 500.0, ("II",)))
    assert value(got, "heart_rate") == pytest.approx(80, abs=2) and value(got, "pr") > 80
    assert got.values["qrs"].leads == ("II",)
    assert got.values["axis"].reason == "needs two of I, II, III"
    assert got.values["r_transition"].reason == "needs V1 to V6"


@pytest.mark.parametrize("pair", [("I", "II"), ("II", "III"), ("I", "III"), ("I", "aVF")])
def test_the_axis_is_the_same_from_any_two_limb_leads(pair: tuple[str, ...]) -> None:
    recording = drawn(heart_rate=70, axis=-20)
    rows = [LEADS.index(lead) for lead in pair]
    part = Recording(np.ascontiguousarray(recording.signal[rows]), 500.0, pair)
    assert value(matrix(part), "axis") == pytest.approx(value(matrix(recording), "axis"), abs=4)


def test_r_progression_is_told_from_the_chest_leads() -> None:
    got = matrix(drawn(heart_rate=70))
    place = value(got, "r_transition")
    before, behind = f"V{int(place)}", f"V{int(place) + 1}"
    assert 1 <= place < 6
    assert value(got, "r", before) < abs(value(got, "s", before))
    assert value(got, "r", behind) >= abs(got.leads[behind]["s"].value or 0.0)


@pytest.mark.parametrize(
    "signal",
    [np.zeros((2, 5000)), np.full((2, 5000), np.nan), np.zeros((2, 300)), np.full((2, 5000), 3.0)],
)
def test_nothing_to_measure_is_said_of_every_value(signal: np.ndarray) -> None:
    got = matrix(Recording(signal.astype(np.float32), 500.0, ("I", "II")))
    for held in (*got.values.values(), *(cell for row in got.leads.values() for cell in row.values())):
        assert held.value is None and held.reason and held.quality == 0.0


@settings(max_examples=25, deadline=None)
@given(fs=st.floats(60, 2000), seconds=st.floats(0.2, 8), leads=st.integers(1, 12), seed=st.integers(0, 99))
def test_noise_never_raises_and_gives_finite_values(fs: float, seconds: float, leads: int, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(leads, round(fs * seconds))).astype(np.float32)
    got = matrix(Recording(noise, fs, LEADS[:leads]))
    for held in (*got.values.values(), *(cell for row in got.leads.values() for cell in row.values())):
        assert held.value is None or np.isfinite(held.value)
    assert all(tuple(row) == NAMES for row in got.leads.values())


def of(recording: Recording) -> Report:
    def read(start: float, seconds: float) -> Recording:
        first = round(start * recording.fs)
        if first >= recording.signal.shape[1]:
            raise InputError("beyond the end")
        return replace(recording, signal=recording.signal[:, first : first + round(seconds * recording.fs)])

    return measure_all(read)


@pytest.mark.parametrize("seconds", [PIECE, PIECE + 10.0, 2 * PIECE + 123.0])
def test_a_long_recording_is_measured_in_pieces_that_lose_no_beat(seconds: float) -> None:
    recording = simulate(ParametricEcg(heart_rate=60, respiratory_arrhythmia=0.0), seconds, 100.0, 3)
    recording = Recording(np.ascontiguousarray(recording.signal[:2]), 100.0, LEADS[:2])
    got = of(recording)
    assert got.samples == recording.signal.shape[1]
    apart = np.diff(got.waves.beats)
    assert abs(got.waves.beats.size - seconds) < 3 and apart.min() > 60 and apart.max() < 140
    marks = got.waves.leads["II"]
    for column in (3, 4, 5):
        assert np.abs(marks[1:-1, column] - got.waves.beats[1:-1]).max() < 20


def test_a_day_with_the_cable_out_for_a_while_is_measured_around_it(tmp_path: Path) -> None:
    made = simulate(ParametricEcg(heart_rate=60, respiratory_arrhythmia=0.0), 3 * PIECE, 100.0, 3)
    signal = np.ascontiguousarray(made.signal[:2])
    signal[:, round(99 * (PIECE - 20)) : round(101 * (2 * PIECE + 20))] = np.nan
    file = tmp_path / "day.npy"
    np.save(file, signal)
    told = Told(100.0, None, "I,II")
    got = measure_all(lambda start, seconds: told.read(file, start=start, seconds=seconds, allow_empty=True))
    assert got.samples == signal.shape[1]
    assert np.isfinite(signal[1, got.waves.beats - 2]).all()  # the last may be cut in half
    assert abs(got.waves.beats.size - np.isfinite(signal[1]).sum() / 100) < 4
    assert got.matrix.values["heart_rate"].value == pytest.approx(60, abs=1)
    np.save(file, np.full_like(signal, np.nan))
    with pytest.raises(InputError, match="no valid sample"):
        measure_all(lambda start, seconds: told.read(file, start=start, seconds=seconds, allow_empty=True))


def test_a_gap_is_no_long_interval() -> None:
    recording = drawn()
    signal = recording.signal.copy()
    signal[:, round(4.2 * recording.fs) : round(6.3 * recording.fs)] = np.nan
    whole, holed = (measure_matrix(part, find_waves(part)) for part in (recording, replace(recording, signal=signal)))
    assert holed.values["heart_rate"].value == pytest.approx(whole.values["heart_rate"].value, abs=2)
    assert measure(replace(recording, signal=signal)).values["heart_rate"].value == pytest.approx(
        whole.values["heart_rate"].value, abs=2
    )


def test_less_than_a_second_is_refused() -> None:
    recording = drawn()
    short = replace(recording, signal=recording.signal[:, : round(0.5 * recording.fs)])
    with pytest.raises(InputError, match=r"a second of signal or more, found 0\.5 s"):
        measure_all(lambda start, seconds: short)


def test_swapped_electrodes_of_a_long_recording_are_told() -> None:
    recording = simulate(ParametricEcg(heart_rate=60), PIECE + 60, 100.0, 3)
    i, ii, iii, avr, avl, avf = recording.signal[:6]
    swapped = replace(recording, signal=np.stack([-i, iii, ii, avl, avr, avf, *recording.signal[6:]]))
    report = of(swapped)
    assert report.quality.reversal is not None and report.quality.reversal.kind == "RA-LA"


def test_microvolts_taken_for_millivolts_are_refused() -> None:
    recording = drawn()
    with pytest.raises(InputError, match="--units"):
        of(replace(recording, signal=recording.signal * 1000))


def test_intervals_agree_with_ludb_readers() -> None:
    wfdb = pytest.importorskip("wfdb")
    errors = []
    for header in sorted(recordings("ludb/data").glob("*.hea"))[::9]:
        record = str(header.with_suffix(""))
        signal = np.ascontiguousarray(wfdb.rdrecord(record).p_signal.T, dtype=np.float32)
        widths = []
        for lead in LEADS:
            read = wfdb.rdann(record, lead.lower())
            places = [k for k, name in enumerate(read.symbol) if name == "N" and 0 < k < len(read.symbol) - 1]
            widths.append(np.median([2.0 * (read.sample[k + 1] - read.sample[k - 1]) for k in places]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            errors.append(abs(value(matrix(Recording(signal, 500.0, LEADS)), "qrs") - np.median(widths)))
    assert len(errors) >= 10 and np.mean(errors) < 9
