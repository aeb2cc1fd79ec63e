"""The window that a model takes."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replace_fields

from needs import recordings
from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.manifest import Preprocessing
from uniecg_runtime.signal.window import band_pass, bridge_gaps, prepare_window, running_median

TEN_SECONDS = Preprocessing(
    fs=128.0,
    samples=1280,
    leads=LEADS,
    highpass_hz=0.5,
    lowpass_hz=40.0,
    reference_mv=0.15,
    min_seconds=2.0,
    missing_lead="derive_then_zero",
)


def ecg(fs: float = 500.0, seconds: float = 10.0) -> Recording:
    return simulate(ParametricEcg(heart_rate=72), seconds, fs, 7)


def only(recording: Recording, leads: str) -> Recording:
    names = tuple(leads.split())
    rows = [recording.leads.index(lead) for lead in names]
    return replace(recording, signal=np.ascontiguousarray(recording.signal[rows]), leads=names)


def changed(recording: Recording, lead: str, samples: slice, value: float) -> Recording:
    signal = recording.signal.copy()
    signal[recording.leads.index(lead), samples] = value
    return replace(recording, signal=signal)


def test_a_window_is_standardised_and_keeps_the_scale_beside_the_shape() -> None:
    window = prepare_window(ecg(), TEN_SECONDS)
    assert window.signal.shape == (12, 1280) and window.signal.dtype == np.float32
    assert window.lead_facts.shape == (12, 3) and window.lead_facts.dtype == np.float32
    np.testing.assert_allclose(window.signal.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(window.signal.std(axis=1), 1, atol=1e-4)
    assert (window.lead_facts[:, :2] == 1).all()
    louder = prepare_window(replace(ecg(), signal=2 * ecg().signal), TEN_SECONDS)
    np.testing.assert_allclose(louder.lead_facts[:, 2] - window.lead_facts[:, 2], np.log(2), atol=1e-5)
    np.testing.assert_allclose(louder.signal, window.signal, atol=1e-4)


@pytest.mark.parametrize("fs", [125.0, 128.0, 250.0, 257.0, 360.0, 400.0, 499.97, 1000.0])
def test_the_sampling_rate_hardly_changes_the_window(fs: float) -> None:
    reference = prepare_window(ecg(500.0), TEN_SECONDS).signal
    signal = np.stack([np.interp(np.arange(round(10 * fs)) / fs, np.arange(5000) / 500, row) for row in ecg().signal])
    other = replace(ecg(), signal=signal.astype(np.float32), fs=fs)
    window = prepare_window(other, TEN_SECONDS).signal
    agreement = [np.corrcoef(a, b)[0, 1] for a, b in zip(reference, window, strict=True)]
    assert min(agreement) > 0.98


def test_an_impulse_keeps_its_place_at_every_rate() -> None:
    for fs in (125.0, 250.0, 360.0, 500.0, 1000.0):
        signal = np.zeros((1, round(10 * fs)))
        signal[0, round(4 * fs)] = fs
        assert abs(int(np.argmax(band_pass(signal, fs, 128.0, 0.5, 40.0)[0])) - 4 * 128) <= 1


def test_the_band_pass_has_half_gain_at_its_edges_and_none_far_outside() -> None:
    time = np.arange(30_000) / 500
    for hertz, gain in ((0.2, 0.0), (0.5, 0.5), (5.0, 1.0), (20.0, 1.0), (40.0, 0.5), (62.0, 0.03)):
        wave = np.sin(2 * np.pi * hertz * time)[None]
        passed = band_pass(wave, 500.0, 128.0, 0.5, 40.0)[0, 1280:-1280]
        assert float(passed.std() * np.sqrt(2)) == pytest.approx(gain, abs=0.03), hertz


def test_the_order_of_leads_does_not_matter() -> None:
    given_order = only(ecg(), "V6 V5 V4 V3 V2 V1 aVF aVL aVR III II I")
    np.testing.assert_array_equal(
        prepare_window(given_order, TEN_SECONDS).signal, prepare_window(ecg(), TEN_SECONDS).signal
    )


@pytest.mark.parametrize("pair", ["I II", "I III", "II III"])
def test_limb_leads_follow_from_any_two(pair: str) -> None:
    window = prepare_window(only(ecg(), f"{pair} V2"), TEN_SECONDS)
    whole = prepare_window(ecg(), TEN_SECONDS)
    np.testing.assert_allclose(window.signal[:6], whole.signal[:6], atol=1e-3)
    assert window.lead_facts[:, 0].tolist() == [1] * 6 + [0, 1, 0, 0, 0, 0]
    assert not window.signal[6].any()
    assert any("derived" in note for note in window.notes) and any("V1 V3" in note for note in window.notes)
    assert window.recording.leads == (*LEADS[:6], "V2")


def test_one_lead_is_enough_and_the_rest_is_said_to_be_missing() -> None:
    window = prepare_window(only(ecg(), "II"), TEN_SECONDS)
    assert window.lead_facts[:, 0].sum() == 1
    assert any("missing" in note for note in window.notes)


def test_standardised_leads_have_no_scale_and_are_not_combined() -> None:
    window = prepare_window(replace(only(ecg(), "I II"), units="standardised"), TEN_SECONDS)
    assert window.lead_facts[:, 0].sum() == 2
    assert not window.lead_facts[:, 1:].any()


def test_a_flat_lead_is_zero_and_kept_for_the_judgement_of_quality() -> None:
    window = prepare_window(changed(ecg(), "V3", slice(None), 0.7), TEN_SECONDS)
    assert not window.signal[8].any() and not window.lead_facts[8].any()
    assert any("V3" in note for note in window.notes)
    assert "V3" in window.recording.leads


def test_a_flat_limb_lead_is_derived_from_the_others() -> None:
    window = prepare_window(changed(ecg(), "aVF", slice(None), 0.0), TEN_SECONDS)
    np.testing.assert_allclose(window.signal[5], prepare_window(ecg(), TEN_SECONDS).signal[5], atol=1e-3)


def test_gaps_are_bridged_and_a_lead_with_too_many_is_missing() -> None:
    short = prepare_window(changed(ecg(), "V2", slice(1000, 1050), np.nan), TEN_SECONDS)
    assert short.lead_facts[7, 0] == 1 and any("V2" in note and "interpolated" in note for note in short.notes)
    long = prepare_window(changed(ecg(), "V2", slice(1000, 2500), np.nan), TEN_SECONDS)
    assert long.lead_facts[7, 0] == 0 and any("V2" in note and "missing" in note for note in long.notes)


def test_a_short_recording_is_padded_with_zeros() -> None:
    window = prepare_window(ecg(seconds=6.0), TEN_SECONDS)
    assert not window.signal[:, 768:].any()
    np.testing.assert_allclose(window.signal[:, :768].std(axis=1), 1, atol=1e-3)
    assert any("6.0 s" in note for note in window.notes)


def test_start_cuts_a_later_stretch() -> None:
    long = ecg(seconds=30.0)
    later = prepare_window(long, TEN_SECONDS, start=12.0)
    cut = prepare_window(replace(long, signal=long.signal[:, 6000:11000]), TEN_SECONDS)
    np.testing.assert_array_equal(later.signal, cut.signal)
    assert later.start == 12.0 and later.recording.duration == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda r: replace(r, signal=r.signal * 1000), "microvolts or ADC counts"),
        (lambda r: replace(r, signal=r.signal / 1000 * 3), "volts|flat"),
        (lambda r: replace(r, signal=r.signal * 0), "flat"),
        (lambda r: replace(r, signal=r.signal * np.nan), "no usable lead"),
        (lambda r: replace(r, signal=r.signal[:, :500]), "at least 2 s"),
        (lambda r: replace(r, signal=r.signal[:, :0]), "at least 2 s"),
        (lambda r: replace(r, fs=10.0), "sampling rate"),
        (lambda r: replace(r, fs=float("nan")), "sampling rate"),
        (lambda r: replace(r, leads=(*LEADS[:11], "V7")), "V7"),
        (lambda r: replace(r, leads=(*LEADS[:11], "I")), "once"),
        (lambda r: replace(r, signal=r.signal[:5]), "one row per lead"),
    ],
)
def test_what_is_no_ecg_is_refused_with_a_reason(broken: object, why: str) -> None:
    assert callable(broken)
    with pytest.raises(InputError, match=why):
        prepare_window(broken(ecg()), TEN_SECONDS)


@pytest.mark.parametrize("start", [-1.0, 9.0, float("inf"), float("nan"), 1e300])
def test_a_start_outside_the_recording_is_refused(start: float) -> None:
    with pytest.raises(InputError, match="at least 2 s"):
        prepare_window(ecg(), TEN_SECONDS, start=start)


@settings(max_examples=40, deadline=None)
@given(
    fs=st.floats(50, 2000),
    seconds=st.floats(2.1, 14),
    gap=st.tuples(st.floats(0, 1), st.floats(0, 0.5)),
    seed=st.integers(0, 99),
)
def test_any_stretch_gives_a_finite_window_of_the_right_shape(
    fs: float, seconds: float, gap: tuple[float, float], seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(size=(3, round(fs * seconds))).astype(np.float32)
    first = int(gap[0] * noise.shape[1])
    noise[0, first : first + int(gap[1] * noise.shape[1])] = np.nan
    window = prepare_window(Recording(noise, fs, ("V1", "V2", "V3")), TEN_SECONDS)
    assert window.signal.shape == (12, 1280)
    assert np.isfinite(window.signal).all() and np.isfinite(window.lead_facts).all()


def test_bridge_gaps_joins_the_neighbours_by_a_line() -> None:
    row, longest = bridge_gaps(np.array([np.nan, 1, np.nan, np.nan, 4, np.nan], dtype=np.float32))
    assert row.tolist() == [1, 1, 2, 3, 4, 4] and longest == 2


def test_both_published_forms_of_a_record_come_out_alike() -> None:
    """The z-scored set was band-passed by others; the same ids in raw millivolts must give nearly the same window."""
    wfdb = pytest.importorskip("wfdb")
    table = list(csv.DictReader((recordings("ptbxl_zscored") / "index.csv").read_text().splitlines()))
    rows = {int(line["ecg_id"]): int(line["row"]) for line in table}
    scored = np.load(recordings("ptbxl_zscored") / "x_int16_125hz.npy", mmap_mode="r")
    agreement = []
    for header in sorted(recordings("ptbxl/records500").rglob("*.hea")):
        row = rows.get(int(header.stem[:5]))
        if row is None:
            continue
        signal = np.ascontiguousarray(wfdb.rdrecord(str(header.with_suffix(""))).p_signal.T, dtype=np.float32)
        one = prepare_window(Recording(signal, 500.0, LEADS), TEN_SECONDS).signal
        shape = scored[row].astype(np.float32) / 1000
        other = prepare_window(Recording(shape, 125.0, LEADS, units="standardised"), TEN_SECONDS).signal
        agreement += [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(one, other, strict=True)]
    assert len(agreement) >= 12
    assert np.median(agreement) > 0.997 and min(agreement) > 0.93


RAW = Preprocessing(fs=500.0, samples=5000, leads=LEADS, min_seconds=2.0, scaling="none")
MIMIC = (*LEADS[:4], "aVF", "aVL", *LEADS[6:])


def test_without_filter_or_scaling_the_millivolts_pass_as_they_are_in_the_models_own_order() -> None:
    recording = ecg()
    recording = replace(recording, signal=recording.signal + np.float32(0.25))  # an offset is a fact too
    window = prepare_window(recording, replace_fields(RAW, leads=MIMIC))
    np.testing.assert_array_equal(window.signal, recording.signal[[recording.leads.index(lead) for lead in MIMIC]])
    resampled = prepare_window(recording, replace_fields(RAW, fs=250.0, samples=2500))
    middle = slice(100, -100)
    np.testing.assert_allclose(resampled.signal[:, middle], recording.signal[:, ::2][:, middle], atol=0.02)


def test_a_short_stretch_has_zeros_after_it_whatever_the_scaling() -> None:
    for scaling in ("none", "lead", "record", "minmax"):
        window = prepare_window(ecg(seconds=6.0), replace_fields(RAW, scaling=scaling))
        assert window.signal[:, :3000].any() and not window.signal[:, 3000:].any()


def test_record_scalings_keep_the_ratio_of_the_leads() -> None:
    recording = ecg()
    standard = prepare_window(recording, replace_fields(RAW, scaling="record")).signal
    assert abs(standard.mean()) < 1e-5 and abs(standard.std() - 1) < 1e-4
    mapped = prepare_window(recording, replace_fields(RAW, scaling="minmax")).signal
    assert mapped.min() == 0 and abs(mapped.max() - 1) < 1e-6
    spread = recording.signal.std(axis=1)
    for scaled in (standard, mapped):
        np.testing.assert_allclose(scaled.std(axis=1) / scaled.std(axis=1)[1], spread / spread[1], rtol=1e-4)


def test_an_encoder_of_one_lead_gets_that_lead() -> None:
    window = prepare_window(ecg(), replace_fields(RAW, leads=("II",)))
    np.testing.assert_array_equal(window.signal[0], ecg().signal[1])


def test_millivolts_are_not_made_up_where_the_scale_was_lost() -> None:
    lost = replace(ecg(), units="standardised")
    assert prepare_window(lost, TEN_SECONDS).signal.any()
    with pytest.raises(InputError, match="expected leads in mV"):
        prepare_window(lost, RAW)


def test_the_notch_takes_the_mains_and_little_else() -> None:
    t = np.arange(5000) / 500
    for hz, gain in ((50, 0.0), (40, 1.0), (60, 1.0), (10, 1.0)):
        wave = np.sin(2 * np.pi * hz * t)[None]
        passed = band_pass(wave, 500.0, 500.0, None, None, 50.0)[0, 1000:-1000]
        assert abs(np.abs(passed).max() - gain) < 0.03, hz


@given(st.integers(0, 2**32 - 1), st.sampled_from((1, 3, 21)))
@settings(max_examples=30)
def test_the_running_median_is_the_median_of_each_neighbourhood(seed: int, width: int) -> None:
    row = np.random.default_rng(seed).integers(-5, 5, 40).astype(np.float32)
    padded = np.pad(row, width // 2)
    expected = np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)
    np.testing.assert_array_equal(running_median(row, width), expected)
