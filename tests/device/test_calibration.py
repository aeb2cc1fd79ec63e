"""A known signal gives a device's scale, whatever lies beside it; what is no such signal is refused."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uniecg_device import calibration
from uniecg_device.calibration import Applied, Measured, calibrated, measure, write_calibrated
from uniecg_device.counts import Samples
from uniecg_device.encoder import to_counts
from uniecg_device.errors import InputError, ProfileError
from uniecg_device.known_signal import Fit, fit_sine, fit_square
from uniecg_device.profile import FOLDER, Profile, load_profile, parse_profile, profile_names
from uniecg_device.signals import INDEPENDENT_LEADS, Recording
from uniecg_device.simulator import Simulator

Signal = NDArray[np.float64]

E8 = load_profile("e8_12lead")
TEXT = (FOLDER / "e8_12lead.toml").read_text()
DAY = date(2026, 11, 3)
PULSE = Applied(1.0)


def times(fs: float, seconds: float = 10.0) -> Signal:
    return np.arange(round(seconds * fs)) / fs


def square(time: Signal, hz: float = 2.0, duty: float = 0.5, phase: float = 0.3) -> Signal:
    return ((time * hz + phase) % 1 < duty).astype(float)


def high_pass(samples: Signal, fs: float, hz: float) -> Signal:
    keep, result = np.exp(-2 * np.pi * hz / fs), np.zeros_like(samples)
    for k in range(1, len(samples)):
        result[k] = keep * (result[k - 1] + samples[k] - samples[k - 1])
    return result


def beside(time: Signal, seed: int, noise: float, hum: float, wander: float) -> Signal:
    """Noise (rms), mains hum and wander (amplitudes) in mV."""
    random = np.random.default_rng(seed)
    mains, slow = random.choice([49.97, 50, 60]), random.uniform(0.05, 0.4)
    waves = hum * np.sin(2 * np.pi * mains * time + random.uniform(0, 6))
    waves += wander * np.sin(2 * np.pi * slow * time + random.uniform(0, 6))
    return waves + random.normal(0, noise, len(time)) if noise else waves


def sent(profile: Profile, millivolts: Signal | list[Signal], off: int = 0) -> Samples:
    """What a device of this scale sends while all its channels, or each its own, see that."""
    rows = millivolts if isinstance(millivolts, list) else [millivolts] * len(profile.channel)
    counts, _ = to_counts(profile, np.array(rows, np.float32))
    numbers = np.arange(counts.shape[1])
    return Samples(counts.astype(np.int32), np.full(counts.shape[1], off, np.uint32), numbers, numbers)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([250.0, 500.0, 1000.0]),
    st.sampled_from([(1.0, 0.5), (2.0, 0.5), (2.0, 0.3), (4.0, 0.5), (1.0, 0.15)]),
    st.sampled_from([0.0, 0.05, 0.5]),
    st.floats(0, 0.01),
    st.floats(0, 0.04),
    st.floats(0, 0.3),
    st.integers(0, 1000),
)
def test_a_square_wave_among_noise_hum_wander_and_behind_a_high_pass(
    fs: float, wave: tuple[float, float], cut: float, noise: float, hum: float, wander: float, seed: int
) -> None:
    time = times(fs)
    pulses = square(time, *wave, phase=seed / 1000)
    pulses = high_pass(pulses, fs, cut) if cut else pulses
    fit = fit_square(800 * (pulses + beside(time, seed, noise, hum, wander)), fs)
    assert fit.counts == pytest.approx(800, rel=0.02)
    assert fit.residual < 0.04


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([125.0, 500.0, 1000.0]),
    st.floats(1, 20),
    st.floats(-2e-3, 2e-3),
    st.floats(0, 0.01),
    st.floats(0, 0.02),
    st.integers(0, 1000),
)
def test_a_sine_though_the_clocks_differ(
    fs: float, hz: float, apart: float, noise: float, hum: float, seed: int
) -> None:
    time = times(fs)
    wave = 0.5 * np.sin(2 * np.pi * hz * (1 + apart) * time + seed) + beside(time, seed, noise, hum, 0.02)
    fit = fit_sine(800 * wave + 512, fs, hz)
    assert fit.counts == pytest.approx(800, rel=0.01)
    assert fit.residual < 0.04


def test_few_samples_a_second_want_a_slow_square_wave() -> None:
    with pytest.raises(InputError, match="enough samples"):
        fit_square(1000 * square(times(25), hz=2.5), 25)
    assert fit_square(1000 * square(times(25), hz=1), 25).counts == pytest.approx(1000, rel=1e-3)


def test_clean_signals_are_measured_to_a_part_in_ten_thousand() -> None:
    time = times(500)
    exact = fit_square(1423 * square(time), 500)
    assert exact.counts == pytest.approx(1423, rel=1e-4) and exact.residual < 1e-6 and exact.cycles == 20
    exact = fit_sine(1423 / 2 * np.sin(2 * np.pi * 5 * time), 500, 5)
    assert exact.counts == pytest.approx(1423, rel=1e-6) and exact.residual < 1e-6


def test_overshoot_and_slow_edges_are_left_out() -> None:
    time = times(500)
    since = (time * 2 + 0.3) % 0.5 / 2
    ringing = 0.3 * np.exp(-since / 0.004) * np.where(square(time) > 0, 1, -1)
    assert fit_square(1000 * (square(time) + ringing), 500).counts == pytest.approx(1000, rel=0.002)


ECG = 1000 * np.exp(-(((times(500) % 0.8) - 0.4) ** 2) / 2 / 0.012**2)
NOISE = np.random.default_rng(0).normal(0, 100, 5000)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros(5000), "flat line"),
        (NOISE, "no square wave|no two plateaus"),
        (np.cumsum(NOISE), "square wave|no two plateaus"),
        (ECG, "no square wave"),
        (1000 * np.sin(2 * np.pi * times(500)), "no two plateaus"),
        (1000 * square(times(500)) + NOISE, "no two plateaus"),
        (1000 * square(times(500)) * (1 + 0.2 * np.sin(times(500))), "no two plateaus"),
        (1000 * square(times(500), hz=0.25), "at least 6 steps"),
        (1000 * square(times(500), hz=10), "at least 80 ms"),
        (1000 * high_pass(square(times(500)), 500, 1.5), "high-pass"),
        (1000 * square(times(500, 0.1)), "measure longer"),
    ],
)
def test_what_is_no_square_wave_is_refused(samples: Signal, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fit_square(samples, 500)


@pytest.mark.parametrize(
    ("samples", "hz", "says"),
    [
        (np.zeros(5000), 5, "no sine of 5 Hz"),
        (NOISE, 5, "no sine"),
        (ECG, 1.25, "no sine"),
        (1000 * square(times(500)), 2, "no sine"),
        (1000 * np.sin(2 * np.pi * 6 * times(500)), 5, "no sine of 5 Hz"),
        (1000 * np.sin(2 * np.pi * 0.4 * times(500)), 0.4, "at least 5 cycles"),
        (1000 * np.sin(2 * np.pi * 240 * times(500)), 240, "below 200 Hz"),
    ],
)
def test_what_is_no_sine_is_refused(samples: Signal, hz: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fit_sine(samples, 500, hz)


def test_clipping_electrodes_and_unknown_leads_are_told_by_lead() -> None:
    wave = 1.3 * square(times(500))
    with pytest.raises(InputError, match=r"lead I: clipped: .* of 5000 samples .* 0 .. 4095"):
        measure(E8, sent(E8, 2 * wave), Applied(2.6))
    with pytest.raises(InputError, match="lead V1: the electrode is off in 5000 of 5000"):
        measure(E8, sent(E8, wave, off=0b100), Applied(1.3))
    assert len(measure(E8, sent(E8, wave, off=0b100), Applied(1.3), ["II", "V6"])) == 2
    with pytest.raises(InputError, match=r"--lead out of I II V1 .*, found aVR"):
        measure(E8, sent(E8, wave), Applied(1.3), ["aVR"])
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="more than 0 millivolts"):
            Applied(wrong)


# The profile


def found(profile: Profile, counts_per_mv: Callable[[int], float], leads: tuple[str, ...] = ()) -> list[Measured]:
    return [
        Measured(channel.lead, counts_per_mv(k), profile.scale_of(channel)[0], Fit(counts_per_mv(k), 0.004, 20.0))
        for k, channel in enumerate(profile.channel)
        if not leads or channel.lead in leads
    ]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", profile_names())
def test_every_profile_can_be_calibrated_and_keeps_all_else(name: str, per_channel: bool) -> None:
    text, old = (FOLDER / f"{name}.toml").read_text(), load_profile(name)
    edited = calibrated(text, found(old, lambda k: 900.5), PULSE, DAY, per_channel=per_channel)
    new = parse_profile(edited)
    assert all(new.scale_of(channel)[0] == 900.5 for channel in new.channel)
    assert [new.scale_of(c)[1] for c in new.channel] == [old.scale_of(c)[1] for c in old.channel]
    assert (new.scale.basis, new.scale.confidence) == ("measured", "high")
    assert "2026-11-03 with a square wave, 1 mV peak to peak, 20 cycles" in new.scale.provenance
    plain = [msgspec.structs.replace(channel, counts_per_mv=None) for channel in new.channel]
    assert plain == [msgspec.structs.replace(channel, counts_per_mv=None) for channel in old.channel]
    same = msgspec.structs.replace(new, scale=old.scale, channel=old.channel)
    assert same == old
    for line in text.splitlines():
        assert line in edited, "every line is there still, if only as a comment"


def test_a_profile_that_was_wrong_says_what_it_said() -> None:
    new = parse_profile(calibrated(TEXT, found(E8, lambda k: 1184.0), Applied(1.0, 5.0, 'ProSim "8"\x07'), DAY)).scale
    assert new.disagreement == "Before, this profile said 1423 counts per mV (measured)."
    assert 'sine of 5 Hz, 1 mV peak to peak (ProSim "8" )' in new.provenance and "II 1184, 0.40 %" in new.provenance
    right = parse_profile(calibrated(TEXT, found(E8, lambda k: 1420.0), PULSE, DAY)).scale
    assert right.disagreement == "" and right.counts_per_mv == 1420


def test_one_lead_speaks_for_the_others_and_says_so() -> None:
    new = parse_profile(calibrated(TEXT, found(E8, lambda k: 1400.0, ("II",)), PULSE, DAY)).scale
    assert new.counts_per_mv == 1400 and new.confidence == "medium"
    assert "taken to be the same: I, V1, V2" in new.provenance


def test_channels_that_disagree_are_refused_unless_each_may_have_its_own() -> None:
    apart = found(E8, lambda k: 1400.0 + 10 * k)
    with pytest.raises(InputError, match=r"within 2 %.*I 1400, II 1410.*--per-channel"):
        calibrated(TEXT, apart, PULSE, DAY)
    new = parse_profile(calibrated(TEXT, apart, PULSE, DAY, per_channel=True))
    assert [new.scale_of(channel)[0] for channel in new.channel] == [1400.0 + 10 * k for k in range(8)]


def test_a_channel_with_a_scale_of_its_own_leaves_the_shared_one_alone() -> None:
    text, old = (FOLDER / "bitalino_6ch.toml").read_text(), load_profile("bitalino_6ch")
    new = parse_profile(calibrated(text, found(old, lambda k: 22.0, ("CH5",)), PULSE, DAY))
    assert new.channel[4].counts_per_mv == 22 and new.channel[5].counts_per_mv == 21.3333
    assert (new.scale.counts_per_mv, new.scale.basis) == (341.3333, "datasheet")
    assert new.scale.provenance.startswith(old.scale.provenance) and "CH5 22, 0.40 %" in new.scale.provenance


def test_a_calibrated_profile_can_be_calibrated_again() -> None:
    once = calibrated(TEXT, found(E8, lambda k: 1300.0), PULSE, DAY)
    twice = parse_profile(calibrated(once, found(E8, lambda k: 1310.0), PULSE, DAY))
    assert twice.scale.counts_per_mv == 1310 and twice.scale.disagreement == ""


def test_text_that_looks_like_a_table_is_none() -> None:
    odd = TEXT.replace('notes = """\n', 'notes = """\n[scale]\ncounts_per_mv = 1\n[[channel]]\nlead = "I"\n')
    new = tomllib.loads(calibrated(odd, found(E8, lambda k: 1300.0), PULSE, DAY, per_channel=True))
    assert new["notes"].startswith("[scale]\ncounts_per_mv = 1\n[[channel]]")
    assert new["scale"]["counts_per_mv"] == 1300


def test_a_layout_that_cannot_be_edited_is_refused() -> None:
    scale = TEXT[TEXT.index("[scale]") : TEXT.index("[[channel]]")]
    inline = 'scale = { counts_per_mv = 1, offset = 0, basis = "measured", confidence = "low", provenance = "" }\n'
    with pytest.raises(ProfileError, match="another layout"):
        calibrated(inline + TEXT.replace(scale, ""), found(E8, lambda k: 1300.0), PULSE, DAY)


def test_no_file_is_overwritten_and_no_built_in_added(tmp_path: Path) -> None:
    text = calibrated(TEXT, found(E8, lambda k: 1300.0), PULSE, DAY)
    assert write_calibrated(tmp_path / "mine.toml", text).scale.counts_per_mv == 1300
    for out, says in (
        (tmp_path / "mine.toml", "exists already"),
        (tmp_path / "mine.txt", "mine.toml"),
        (tmp_path / "absent" / "mine.toml", "found none"),
        (FOLDER / "new.toml", "built-in"),
        (FOLDER / "e8_12lead.toml", "built-in"),
    ):
        with pytest.raises(InputError, match=says):
            write_calibrated(out, text)
    assert not (FOLDER / "new.toml").exists() and (FOLDER / "e8_12lead.toml").read_text() == TEXT


# At a device


def with_scale(profile: Profile, counts_per_mv: float) -> Profile:
    return msgspec.structs.replace(profile, scale=msgspec.structs.replace(profile.scale, counts_per_mv=counts_per_mv))


def test_a_device_whose_scale_is_not_the_profiles() -> None:
    device = with_scale(E8, 1234.0)
    wave = np.tile(square(times(500)).astype(np.float32), (8, 1))
    with Simulator(device, Recording(wave, 500.0, INDEPENDENT_LEADS), speed=4.0) as simulator:
        samples = calibration.capture(E8, simulator.url, 4.0)
    new = parse_profile(calibrated(TEXT, measure(E8, samples, PULSE), PULSE, DAY))
    assert new.scale.counts_per_mv == pytest.approx(1234, rel=1e-3)


def test_the_longest_stretch_without_a_gap_is_measured() -> None:
    numbers = np.concatenate([np.arange(700), np.arange(900, 3000)])
    rows = np.tile(numbers.astype(np.int32), (2, 1))
    whole = Samples(rows, np.zeros(len(numbers), np.uint32), numbers, numbers)
    longest = calibration._longest([whole], skip=500)
    assert (longest.numbers[0], longest.numbers[-1]) == (900, 2999)
    assert np.array_equal(longest.counts[1], longest.numbers)
