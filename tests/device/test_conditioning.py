"""Filters and resampling: scipy's numbers, labels that tell the truth, nothing shifted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uniecg_device.conditioning import BANDS, Band, Filter, Mains, Resampler, condition, resample
from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate

RATES = (100.0, 125.0, 250.0, 360.0, 500.0, 1000.0, 2000.0)
EDGES = {"monitor": (0.5, 2, 40.0, 4), "diagnostic": (0.05, 1, 150.0, 2), "st": (0.05, 1, 40.0, 4)}


def ecg(fs: float, seconds: float = 10.0) -> NDArray[np.float32]:
    return simulate(ParametricEcg(heart_rate=70), seconds, fs, 1).signal


def sos(sections: NDArray[np.float64]) -> NDArray[np.float64]:
    """As scipy has it: b0, b1, b2, 1, a1, a2."""
    return np.insert(sections, 3, 1.0, axis=1)


@pytest.mark.parametrize("fs", RATES)
@pytest.mark.parametrize("band", BANDS)
def test_designs_are_those_of_scipy(band: Band, fs: float) -> None:
    scipy = pytest.importorskip("scipy.signal")
    low, low_order, high, high_order = EDGES[band]
    mains: Mains = 50 if fs > 110 else 0
    ours = Filter(band, fs, 1, mains)._native.sections(False)
    parts = [
        scipy.butter(low_order, low, "high", fs=fs, output="sos"),
        scipy.butter(high_order, min(high, 0.4 * fs), fs=fs, output="sos"),
    ]
    if mains:
        b, a = scipy.iirnotch(mains, 30, fs=fs)
        parts.append(np.concatenate([b, a])[None])
    hz = np.geomspace(0.01, 0.49 * fs, 500)
    _, expected = scipy.freqz_sos(np.concatenate(parts), worN=hz, fs=fs)
    _, found = scipy.freqz_sos(sos(ours), worN=hz, fs=fs)
    assert np.abs(found - expected).max() < 1e-9


@pytest.mark.parametrize("band", BANDS)
def test_a_stream_and_a_window_are_filtered_as_scipy_would(band: Band) -> None:
    scipy = pytest.importorskip("scipy.signal")
    fs, signal = 500.0, ecg(500.0)
    stream = Filter(band, fs, 12, 50)
    sections = sos(stream._native.sections(False))
    settled = scipy.sosfilt_zi(sections)[:, None, :] * signal[:, 0].astype(float)[None, :, None]
    expected, _ = scipy.sosfilt(sections, signal.astype(float), zi=settled)
    found = np.concatenate([stream.push(part) for part in np.array_split(signal, 7, axis=1)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)

    sections = sos(stream._native.sections(True))
    pad = signal.shape[1] - 1
    rows = np.pad(signal.astype(float), ((0, 0), (pad, pad)), mode="reflect")
    for _ in range(2):
        settled = scipy.sosfilt_zi(sections)[:, None, :] * rows[:, : pad + 1].mean(axis=1)[None, :, None]
        rows = scipy.sosfilt(sections, rows, zi=settled)[0][:, ::-1]
    window, _ = condition(signal, fs, band, 50)
    np.testing.assert_allclose(window, rows[:, pad : pad + signal.shape[1]], rtol=1e-6, atol=1e-8)


def test_the_label_tells_what_was_done_and_what_st_levels_are_worth() -> None:
    monitor = Filter("monitor", 500, 1, 50)
    assert (monitor.label, monitor.st_safe) == ("0.5-40 Hz, notch 50 Hz", False)
    assert Filter("st", 500, 1).st_safe and Filter("diagnostic", 500, 1).st_safe
    assert Filter("diagnostic", 250, 1, 60).label == "0.05-100 Hz, notch 60 Hz"
    assert condition(ecg(500), 500, "monitor")[1] == "0.5-40 Hz, zero phase"


def test_a_real_time_high_pass_at_half_a_hertz_fakes_st_shifts_and_the_others_do_not() -> None:
    """Behind a wide QRS of 1 mV without any ST shift."""
    t = np.arange(5000) / 500
    beat = np.exp(-(((t % 0.8) - 0.2) ** 2) / (2 * 0.04**2))
    signal = beat[None].astype(np.float32)
    st_level = slice(round((8 + 0.2 + 0.16) * 500), round((8 + 0.2 + 0.2) * 500))
    baseline = slice(round((8 + 0.75) * 500), round((8 + 0.78) * 500))

    def shift(filtered: NDArray[np.float32]) -> float:
        return float(filtered[0, st_level].mean() - filtered[0, baseline].mean())

    assert shift(Filter("monitor", 500, 1).push(signal)) < -0.1
    assert abs(shift(Filter("st", 500, 1).push(signal))) < 0.03
    for band in BANDS:
        assert abs(shift(condition(signal, 500, band)[0])) < 0.03


def test_mains_and_wander_go_and_the_qrs_stays() -> None:
    clean = ecg(500.0)
    t = np.arange(clean.shape[1]) / 500
    dirty = clean + (0.5 * np.sin(2 * np.pi * 50 * t) + 1.0 * np.sin(2 * np.pi * 0.1 * t)).astype(np.float32)
    reference, _ = condition(clean, 500, "monitor")
    found, _ = condition(dirty, 500, "monitor", 50)
    middle = slice(1000, 4000)
    assert np.sqrt(np.mean((found - reference)[:, middle] ** 2)) < 0.03


@pytest.mark.parametrize("band", BANDS)
def test_the_delay_is_stated_in_milliseconds(band: Band) -> None:
    delay = Filter(band, 500, 1).delay()
    assert 0 < delay < 25
    pulse = np.exp(-(((np.arange(3000) - 1500) / 12.0) ** 2) / 2) * np.cos(
        2 * np.pi * 10 * (np.arange(3000) - 1500) / 500
    )
    signal = pulse[None].astype(np.float32)
    found = Filter(band, 500, 1).push(signal)[0]
    assert 2 * (int(np.argmax(found)) - 1500) == pytest.approx(delay, abs=4)


@pytest.mark.parametrize(("fs_in", "fs_out"), [(360, 500), (500, 125), (250, 1000), (500, 360), (257, 500), (128, 128)])
def test_resampling_keeps_every_lead_and_its_time(fs_in: float, fs_out: float) -> None:
    seconds = 8.0
    t_in, t_out = np.arange(round(seconds * fs_in)) / fs_in, np.arange(round(seconds * fs_out)) / fs_out
    waves = (5.0, 13.0)
    signal = np.stack([np.sin(2 * np.pi * hz * t_in) for hz in waves]).astype(np.float32)
    expected = np.stack([np.sin(2 * np.pi * hz * t_out) for hz in waves])
    found = resample(signal, fs_in, fs_out)
    assert found.shape == expected.shape
    middle = slice(round(fs_out), round(7 * fs_out))
    assert np.abs(found - expected)[:, middle].max() < 2e-3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=12), st.sampled_from([(360, 500), (500, 125), (500, 500)]))
def test_a_resampled_stream_is_the_resampled_window_however_divided(parts: list[int], rates: tuple[int, int]) -> None:
    signal = np.random.default_rng(1).normal(size=(2, sum(parts))).astype(np.float32)
    resampler = Resampler(*rates, 2)
    pieces = [resampler.push(piece) for piece in np.split(signal, np.cumsum(parts)[:-1], axis=1)]
    whole = resample(signal, *rates)
    np.testing.assert_array_equal(np.concatenate([*pieces, resampler.finish()], axis=1), whole)
    assert whole.shape[1] == -(-sum(parts) * rates[1] // rates[0])


def test_a_missing_sample_makes_only_its_neighbours_missing() -> None:
    signal = ecg(500.0)[:2]
    signal[0, 2500] = np.nan
    down = resample(signal, 500, 125)
    assert 0 < np.isnan(down[0]).sum() < 60
    assert np.isfinite(down[1]).all()
    window, _ = condition(signal, 500, "monitor")
    assert np.flatnonzero(np.isnan(window[0])).tolist() == [2500] and np.isfinite(window[1]).all()


def test_what_cannot_be_conditioned_is_refused_with_a_reason() -> None:
    with pytest.raises(InputError, match="monitor, diagnostic or st, found loud"):
        Filter("loud", 500, 1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="leave the notch out"):
        Filter("monitor", 100, 1, 50)
    with pytest.raises(InputError, match="expected a rate"):
        Filter("monitor", float("nan"), 1)
    with pytest.raises(InputError, match="shape"):
        Filter("monitor", 500, 2).push(ecg(500)[:3])
    with pytest.raises(InputError, match="ratio of whole numbers"):
        resample(ecg(500), 500, 499.9999)
    assert condition(np.empty((2, 0), np.float32), 500, "st")[0].shape == (2, 0)
    assert np.isnan(condition(np.full((1, 50), np.nan, np.float32), 500, "st")[0]).all()
