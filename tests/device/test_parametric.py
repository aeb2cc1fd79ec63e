"""The parametric simulator: what it is told is what the signal shows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording

QUIET: dict[str, Any] = {"baseline": 0.0, "muscle": 0.0}
INFERIOR = ("II", "III", "aVF")


def lead(recording: Recording, name: str) -> NDArray[np.float32]:
    return recording.signal[recording.leads.index(name)]


def r_peaks(recording: Recording) -> NDArray[np.int64]:
    """Independent of the simulator: maxima of the vector speed, at least 200 ms apart."""
    speed = np.abs(np.gradient(recording.signal.astype(float), axis=1)).sum(axis=0)
    speed = np.convolve(speed, np.ones(round(0.06 * recording.fs)), "same")
    peaks: list[int] = []
    for index in np.argsort(speed)[::-1]:
        if speed[index] < 0.35 * speed.max():
            break
        if all(abs(index - other) > 0.2 * recording.fs for other in peaks):
            peaks.append(int(index))
    return np.sort(np.array(peaks))


@pytest.mark.parametrize("rhythm", ["sinus", "atrial fibrillation", "atrial flutter", "paced"])
@pytest.mark.parametrize("rate", [48, 75, 110, 150])
def test_mean_interval_is_the_rate_asked_for(rhythm: Any, rate: float) -> None:
    recording = simulate(ParametricEcg(heart_rate=rate, rhythm=rhythm, **QUIET), 30, 250, seed=rate)
    peaks = r_peaks(recording)[1:-1]  # one at the very edge may be cut through
    found = 60 * recording.fs / np.diff(peaks).mean()
    assert found == pytest.approx(rate, rel=0.06 if rhythm == "atrial fibrillation" else 0.01)


def test_atrial_fibrillation_is_irregular_and_sinus_rhythm_is_not() -> None:
    spread = {}
    for rhythm in ("sinus", "atrial fibrillation"):
        peaks = r_peaks(simulate(ParametricEcg(rhythm=rhythm, **QUIET), 30, 250, seed=5))  # type: ignore[arg-type]
        spread[rhythm] = np.diff(peaks).std() / np.diff(peaks).mean()
    assert spread["sinus"] < 0.06 < 0.12 < spread["atrial fibrillation"]


@pytest.mark.parametrize("seed", range(5))
def test_a_normal_ecg_looks_like_one(seed: int) -> None:
    recording = simulate(ParametricEcg(**QUIET), 10, 500, seed)
    r_wave = {name: float(lead(recording, name).max()) for name in LEADS}
    s_wave = {name: float(lead(recording, name).min()) for name in LEADS}
    assert 0.5 < r_wave["II"] < 1.8
    assert abs(s_wave["aVR"]) > r_wave["aVR"]
    assert abs(s_wave["V1"]) > r_wave["V1"]
    assert r_wave["V5"] > abs(s_wave["V5"])
    assert r_wave["V1"] < r_wave["V3"] < 1.5 * r_wave["V4"]
    peak = r_peaks(recording)[3]
    p_wave = recording.signal[:, peak - 85 : peak - 35]
    assert 0.04 < p_wave[LEADS.index("II")].max() < 0.25
    assert p_wave[LEADS.index("aVR")].min() < -0.02
    t_wave = recording.signal[:, peak + 75 : peak + 175]
    assert 0.1 < t_wave[LEADS.index("II")].max() < 0.7


@pytest.mark.parametrize("axis", [-150, -60, -10, 40, 75, 120])
@pytest.mark.parametrize("seed", [0, 1])
def test_net_qrs_points_along_the_axis(axis: float, seed: int) -> None:
    recording = simulate(ParametricEcg(axis=axis, heart_rate=50, pr=300, **QUIET), 10, 500, seed)
    peak = r_peaks(recording)[2]
    area = recording.signal[:, peak - 32 : peak + 32].sum(axis=1)
    found = np.degrees(np.arctan2(area[LEADS.index("aVF")] * 2 / np.sqrt(3), area[LEADS.index("I")]))
    assert (found - axis + 180) % 360 - 180 == pytest.approx(0, abs=8)


def test_st_elevation_reaches_the_leads_it_was_asked_for() -> None:
    raised = simulate(ParametricEcg(st={"II": 0.2, "III": 0.2, "aVF": 0.2, "V2": -0.15}, **QUIET), 10, 500, 7)
    plain = simulate(ParametricEcg(**QUIET), 10, 500, 7)
    at = r_peaks(plain)[3] + round(0.11 * 500)
    change = raised.signal[:, at] - plain.signal[:, at]
    for name in INFERIOR:
        assert change[LEADS.index(name)] == pytest.approx(0.2, abs=0.02)
    assert change[LEADS.index("V2")] == pytest.approx(-0.15, abs=0.02)
    assert change[LEADS.index("I")] == pytest.approx(0, abs=0.02)
    assert change[LEADS.index("aVL")] == pytest.approx(-0.1, abs=0.02)  # the reciprocal change


@pytest.mark.parametrize("leads", [INFERIOR, ("I", "aVL", "V5", "V6"), ("V1", "V2", "V3", "V4")])
def test_t_inversion_and_q_waves_appear_where_asked(leads: tuple[str, ...]) -> None:
    recording = simulate(ParametricEcg(heart_rate=60, t_inversion=leads, q_waves=leads, **QUIET), 10, 500, 3)
    peak = r_peaks(recording)[3]
    for name in leads:
        t_wave = lead(recording, name)[peak + 80 : peak + 170]
        assert t_wave[np.abs(t_wave).argmax()] < -0.1, name
        first = lead(recording, name)[peak - 35 : peak + 15]
        assert first.min() < -0.1, name


def test_fibrillation_has_no_p_waves() -> None:
    """Averaged over beats, what precedes QRS cancels in fibrillation and adds up in sinus rhythm."""
    heights = {}
    for rhythm in ("sinus", "atrial fibrillation"):
        recording = simulate(ParametricEcg(heart_rate=60, rhythm=rhythm, **QUIET), 60, 250, 2)  # type: ignore[arg-type]
        peaks = [p for p in r_peaks(recording) if 100 < p < recording.signal.shape[1] - 100]
        average = np.mean([lead(recording, "II")[p - 45 : p - 15] for p in peaks], axis=0)
        heights[rhythm] = np.ptp(average)
    assert heights["sinus"] > 2.5 * heights["atrial fibrillation"]


def test_flutter_waves_beat_three_hundred_times_a_minute() -> None:
    recording = simulate(ParametricEcg(heart_rate=75, rhythm="atrial flutter", gain=0.5, **QUIET), 30, 250, 1)
    spectrum = np.abs(np.fft.rfft(lead(recording, "aVF") * np.hanning(7500)))
    frequency = np.fft.rfftfreq(7500, 1 / 250)
    band = (frequency > 4.2) & (frequency < 5.8)
    assert frequency[band][spectrum[band].argmax()] == pytest.approx(5.0, abs=0.1)


def test_premature_beats_are_early_and_wide() -> None:
    recording = simulate(ParametricEcg(heart_rate=70, pvc=0.2, **QUIET), 30, 250, 4)
    intervals = np.diff(r_peaks(recording))
    assert (intervals < 0.8 * np.median(intervals)).sum() >= 3
    assert (intervals > 1.2 * np.median(intervals)).sum() >= 3


def test_gain_scales_voltage() -> None:
    low, usual = (simulate(ParametricEcg(gain=g, **QUIET), 10, 250, 0).signal for g in (0.4, 1.0))
    np.testing.assert_allclose(low, 0.4 * usual, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.floats(20, 300),
    rhythm=st.sampled_from(["sinus", "atrial fibrillation", "atrial flutter", "paced"]),
    conduction=st.sampled_from(
        ["normal", "left bundle branch block", "right bundle branch block", "left anterior fascicular block"]
    ),
    seconds=st.floats(1, 20),
    fs=st.sampled_from([50, 125, 128, 500, 1000]),
    seed=st.integers(0, 2**32),
    ectopic=st.floats(0, 0.25),
    axis=st.floats(-180, 180),
)
def test_any_parameters_give_a_plausible_lawful_signal(
    rate: float, rhythm: Any, conduction: Any, seconds: float, fs: float, seed: int, ectopic: float, axis: float
) -> None:
    parameters = ParametricEcg(
        heart_rate=rate, rhythm=rhythm, conduction=conduction, pvc=ectopic, pac=ectopic, axis=axis, mains=0.02
    )
    recording = simulate(parameters, seconds, fs, seed)
    assert recording.synthetic and recording.leads == LEADS and recording.units == "mV"
    assert recording.signal.shape == (12, round(seconds * fs))
    assert recording.signal.dtype == np.float32 and recording.signal.flags.c_contiguous
    assert np.isfinite(recording.signal).all() and np.abs(recording.signal).max() < 15
    i, ii, iii = recording.signal[:3]
    np.testing.assert_allclose(iii, ii - i, atol=1e-6)
    assert np.array_equal(recording.signal, simulate(parameters, seconds, fs, seed).signal)


def test_seeds_differ() -> None:
    assert not np.array_equal(simulate(ParametricEcg(), seed=0).signal, simulate(ParametricEcg(), seed=1).signal)


@pytest.mark.parametrize(
    "wrong",
    [
        {"heart_rate": 0},
        {"heart_rate": float("nan")},
        {"rhythm": "waltz"},
        {"conduction": "none"},
        {"st": {"V9": 0.1}},
        {"q_waves": ("X",)},
        {"pvc": 0.4, "pac": 0.4},
        {"gain": -1},
    ],
)
def test_impossible_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        ParametricEcg(**wrong)


@pytest.mark.parametrize(("seconds", "fs"), [(0, 500), (1e9, 500), (10, 1), (10, 1e6)])
def test_impossible_stretches_are_refused(seconds: float, fs: float) -> None:
    with pytest.raises(InputError):
        simulate(ParametricEcg(), seconds, fs)


def test_training_can_draw_many() -> None:
    simulate(ParametricEcg(), 10, 128)
    elapsed = []
    for seed in range(20):
        begin = time.process_time()
        simulate(ParametricEcg(heart_rate=120, pvc=0.1, st={"V2": 0.2}), 10, 128, seed)
        elapsed.append(time.process_time() - begin)
    assert np.median(elapsed) < 0.015  # 1 ms on a quiet core
