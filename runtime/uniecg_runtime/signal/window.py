"""The window that a model takes: one pass from a recording to standardised leads.

Training and the runtime share this code, so that what a model learnt on is what it is given.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.manifest import Artifact, Preprocessing

ORDER = 4  # of the Butterworth magnitude at both edges, as scipy's butter(4) run forwards and backwards
PAD_SECONDS = 1.5
# Share of point reflection at the ends, the rest is a mirror. Against the same 10 s filtered within a longer recording
# (MIT-BIH), pure point reflection errs twice as much as a mirror, for it turns a window that ends within a QRS into a
# step; 0.3 errs as little as the mirror and follows a drifting baseline better.
POINT = 0.3
SHORT_GAP = 0.2  # seconds that are interpolated without harm to a beat
MISSING_SHARE = 0.2  # of a lead's samples; above it the lead counts as missing
NOTCH_QUALITY = 30.0
TINY = 1e-8  # mV; keeps a flat record from dividing by zero, as the published preprocessings do
FLAT_MV = 0.002
FLAT_STANDARDISED = 0.01
PLAUSIBLE_MV = (0.02, 20.0)
FS_RANGE = (50.0, 10_000.0)
LIMB = frozenset(LEADS[:6])


@dataclass(frozen=True, eq=False)
class Window:
    """What the encoder takes, and what it was cut from.

    signal: float32 (leads, samples), scaled as the preprocessing says, 0 where there are no samples.
    lead_facts: float32 (leads, 3): present, scale known, ln(standard deviation in mV / reference) within -3..3.
    recording: the cut stretch at its own rate in `LEADS` order: the given leads, gaps bridged where the lead was used,
    and the derived ones.
    start: seconds into the source. notes: what was derived, padded, bridged or missing.
    """

    signal: NDArray[np.float32]
    lead_facts: NDArray[np.float32]
    recording: Recording
    start: float
    notes: tuple[str, ...]

    def inputs(self, encoder: Artifact) -> dict[str, NDArray[np.float32]]:
        """What the encoder's graph takes, by name, with the batch axis."""
        held = {"signal": self.signal[None], "lead_facts": self.lead_facts[None]}
        return {tensor.name: held[tensor.name] for tensor in encoder.inputs}


def prepare_window(recording: Recording, preprocessing: Preprocessing, start: float = 0.0) -> Window:
    """Cut, resample, filter and scale one window of `preprocessing.samples`, in the order of its leads.

    Takes `start` in seconds. Limb leads that are missing are derived from any two of I, II, III; other missing or
    flat leads become zeros with present = 0. A stretch shorter than the window is zero-padded on the right, and
    missing samples are bridged by straight lines; `notes` tells.

    Raises InputError for what is not a usable ECG: unknown leads, a rate outside 50..10000 Hz, too short, no
    usable lead, an amplitude that cannot be millivolts, or one that is not known where the model needs millivolts.
    """
    _check(recording)
    if preprocessing.scaling != "lead" and recording.units != "mV":
        raise InputError(
            f"expected leads in mV, which this bundle's encoder needs, found standardised ones in {_name(recording)}; "
            "give a recording with its scale."
        )
    cut, notes = _cut(recording, preprocessing, start)
    signal, leads, missing = _usable(cut)
    notes += missing
    if not leads:
        raise InputError(
            f"expected an ECG, found no usable lead in {_name(recording)} ({'; '.join(missing)}); "
            "check the electrodes or the file."
        )
    present = _derive(cut, signal, leads, notes)
    filtered = _filter(present, preprocessing)[:, : preprocessing.samples]
    deviation = filtered.std(axis=1)
    alive = deviation > (FLAT_MV if present.units == "mV" else FLAT_STANDARDISED)
    notes += _flat(present.leads, alive, recording)
    if present.units == "mV":
        _check_millivolts(filtered[alive], recording)
    window, facts = _scale(filtered, deviation, alive, present, preprocessing)
    absent = [lead for lead in preprocessing.leads if lead not in present.leads]
    if absent:
        notes.append(f"missing, given as zeros: {' '.join(absent)}")
    if filtered.shape[1] < preprocessing.samples:
        notes.append(f"{filtered.shape[1] / preprocessing.fs:.1f} s of signal, zeros after it")
    stretch = _as_given(present, cut)
    return Window(window, facts, stretch, start, tuple(notes))


def band_pass(
    signal: NDArray[np.floating],
    fs: float,
    target_fs: float,
    low_hz: float | None,
    high_hz: float | None,
    notch_hz: float | None = None,
) -> NDArray[np.float32]:
    """Zero-phase band-pass and resampling in one FFT pass: (leads, n) at `fs` to (leads, n') at `target_fs`.

    The gain is that of a Butterworth filter of order 4 run forwards and backwards, 1 / (1 + (f / high)^8) and its
    mirror at `low_hz`, and of a second-order notch of quality 30 run so; an edge that is None is not there. Nothing at
    or above either Nyquist rate passes. The ends are continued by a blend of mirror and point reflection that fades
    out. NaN is not allowed.
    """
    leads, count = signal.shape
    if fs == target_fs and low_hz is None and high_hz is None and notch_hz is None:
        return np.ascontiguousarray(signal, dtype=np.float32)
    pad = min(int(PAD_SECONDS * fs), count - 1)
    source, target, step = _lengths(count + 2 * pad, fs, target_fs)
    offset = -(-pad // step) * step  # a whole number of output samples, so that sample 0 stays sample 0
    padded = _reflect(signal, offset, source, pad)
    spectrum = np.fft.rfft(padded, axis=1)
    gain = _gain(source, target, fs, low_hz, high_hz, notch_hz)
    kept = np.zeros((leads, target // 2 + 1), dtype=spectrum.dtype)
    np.multiply(spectrum[:, : gain.size], gain, out=kept[:, : gain.size])
    output = np.fft.irfft(kept, target, axis=1)
    first = round(offset * target / source)
    length = max(1, round(count * target / source))
    if low_hz is None:  # the reflection is about the mean, which only a high-pass takes out for good
        output += signal.mean(axis=1, keepdims=True, dtype=np.float64)
    return np.ascontiguousarray(output[:, first : first + length], dtype=np.float32)


def bridge_gaps(row: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """A lead with its NaN replaced by straight lines, and the longest gap in samples; one sample must exist."""
    bad = ~np.isfinite(row)
    if not bad.any():
        return row, 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(np.int8), [0]])))
    filled = row.copy()
    good = np.flatnonzero(~bad)
    filled[bad] = np.interp(np.flatnonzero(bad), good, row[good])
    return filled, int((edges[1::2] - edges[::2]).max())


def _name(recording: Recording) -> str:
    return repr(recording.name) if recording.name else "the recording"


def _check(recording: Recording) -> None:
    if recording.signal.ndim != 2 or recording.signal.shape[0] != len(recording.leads):
        raise InputError(
            f"expected one row per lead, found shape {recording.signal.shape} for {len(recording.leads)} leads; "
            "give the signal as (leads, samples)."
        )
    unknown = [lead for lead in recording.leads if lead not in LEADS]
    if unknown or len(set(recording.leads)) != len(recording.leads):
        raise InputError(
            f"expected each lead once, out of {' '.join(LEADS)}, found {' '.join(recording.leads) or 'none'}; "
            "name the leads with --leads."
        )
    if not FS_RANGE[0] <= recording.fs <= FS_RANGE[1]:
        raise InputError(
            f"expected a sampling rate of {FS_RANGE[0]:.0f} to {FS_RANGE[1]:.0f} Hz, found {recording.fs:g}; "
            "give the true one with --fs."
        )


def _cut(recording: Recording, preprocessing: Preprocessing, start: float) -> tuple[Recording, list[str]]:
    first = round(start * recording.fs) if math.isfinite(start) else -1
    seconds = preprocessing.samples / preprocessing.fs
    available = recording.signal.shape[1] - first
    if first < 0 or available < preprocessing.min_seconds * recording.fs:
        raise InputError(
            f"expected at least {preprocessing.min_seconds:g} s of signal from {start:g} s on, found "
            f"{max(0, available) / recording.fs if first >= 0 else 0:.1f} s in {_name(recording)}; "
            "give a longer recording or an earlier start."
        )
    cut = recording.signal[:, first : first + round(seconds * recording.fs)]
    notes = [f"generated signal (SYNTHETIC): {_name(recording)}"] if recording.synthetic else []
    return replace(recording, signal=cut), notes


def _usable(cut: Recording) -> tuple[list[NDArray[np.float32]], list[str], list[str]]:
    """Rows without NaN, their leads, and notes about the gaps."""
    rows: list[NDArray[np.float32]] = []
    leads: list[str] = []
    notes: list[str] = []
    missing = ~np.isfinite(cut.signal)
    shares = missing.mean(axis=1) if missing.any() else np.zeros(len(cut.leads))
    for lead, row, share in zip(cut.leads, cut.signal, shares, strict=True):
        if share > MISSING_SHARE:
            notes.append(f"{lead}: {share:.0%} of the samples missing, not used")
            continue
        if share:
            row, longest = bridge_gaps(row)
            kind = "interpolated" if longest <= SHORT_GAP * cut.fs else "bridged by a straight line"
            notes.append(f"{lead}: gaps of up to {longest / cut.fs:.2f} s {kind}")
        rows.append(row)
        leads.append(lead)
    return rows, leads, notes


def _derive(cut: Recording, rows: Sequence[NDArray[np.float32]], leads: list[str], notes: list[str]) -> Recording:
    """Leads in `LEADS` order, with those that Einthoven's law gives for missing or dead ones."""
    smallest = FLAT_MV if cut.units == "mV" else FLAT_STANDARDISED
    given = list(zip(leads, rows, strict=True))
    have = {lead: row for lead, row in given if lead not in LIMB or float(np.ptp(row)) > smallest}
    if cut.units == "mV":
        _einthoven(have, notes)
    for lead, row in given:
        have.setdefault(lead, row)
    ordered = [lead for lead in LEADS if lead in have]
    signal = np.stack([have[lead] for lead in ordered])
    return replace(cut, signal=np.ascontiguousarray(signal, dtype=np.float32), leads=tuple(ordered))


def _einthoven(have: dict[str, NDArray[np.float32]], notes: list[str]) -> None:
    """Add the limb leads that two of I, II, III determine (standardised leads have lost the scale that this needs)."""
    pair = [lead for lead in ("I", "II", "III") if lead in have][:2]
    if len(pair) < 2 or have.keys() >= LIMB:
        return
    if pair == ["I", "II"]:
        i, ii = have["I"], have["II"]
    elif pair == ["I", "III"]:
        i, ii = have["I"], have["I"] + have["III"]
    else:
        i, ii = have["II"] - have["III"], have["II"]
    derived = {"I": i, "II": ii, "III": ii - i, "aVR": -(i + ii) / 2, "aVL": i - ii / 2, "aVF": ii - i / 2}
    added = [lead for lead in derived if lead not in have]
    have.update({lead: derived[lead] for lead in added})
    notes.append(f"derived from {pair[0]} and {pair[1]}: {' '.join(added)}")


def _as_given(present: Recording, cut: Recording) -> Recording:
    """`present` with the leads that could not be used put back, so that what is wrong with them can be told."""
    unused = [row for row, lead in enumerate(cut.leads) if lead not in present.leads]
    if not unused:
        return present
    leads = (*present.leads, *(cut.leads[row] for row in unused))
    signal = np.concatenate([present.signal, cut.signal[unused]])
    order = sorted(range(len(leads)), key=lambda row: LEADS.index(leads[row]))
    return replace(
        present,
        signal=np.ascontiguousarray(signal[order], dtype=np.float32),
        leads=tuple(leads[row] for row in order),
    )


def _flat(leads: tuple[str, ...], alive: NDArray[np.bool_], recording: Recording) -> list[str]:
    if not alive.any():
        raise InputError(
            f"expected an ECG, found only flat leads in {_name(recording)} ({' '.join(leads)}); check the electrodes."
        )
    dead = [lead for lead, ok in zip(leads, alive, strict=True) if not ok]
    return [f"flat, given as zeros: {' '.join(dead)}"] if dead else []


def _check_millivolts(filtered: NDArray[np.float32], recording: Recording) -> None:
    count = filtered.shape[1]
    low, high = int(0.01 * (count - 1)), int(0.99 * (count - 1))
    ranked = np.partition(filtered, (low, high), axis=1)
    spread = float(np.median(ranked[:, high] - ranked[:, low]))
    if not PLAUSIBLE_MV[0] <= spread <= PLAUSIBLE_MV[1]:
        raise InputError(
            f"expected leads of {PLAUSIBLE_MV[0]:g} to {PLAUSIBLE_MV[1]:g} mV, found {spread:.3g} as the median range "
            f"in {_name(recording)}: it looks like {'microvolts or ADC counts' if spread > 1 else 'volts'}, "
            "give the unit with --units."
        )


def _filter(present: Recording, preprocessing: Preprocessing) -> NDArray[np.float32]:
    pre = preprocessing
    band = pre.highpass_hz, pre.lowpass_hz, pre.notch_hz
    filtered = band_pass(present.signal, present.fs, pre.fs, *band)
    if pre.median_seconds is None:
        return filtered
    width = 2 * int(pre.median_seconds * pre.fs / 2) + 1
    return filtered - np.stack([running_median(row, width) for row in filtered])


def running_median(row: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Median over `width` samples (odd) around each sample; beyond the ends there are zeros, as in scipy's medfilt."""
    half = width // 2
    values = [0.0] * half + [float(x) for x in row] + [0.0] * half
    window = sorted(values[:width])
    medians = [window[half]]
    for old, new in zip(values, values[width:], strict=False):
        del window[bisect_left(window, old)]
        insort(window, new)
        medians.append(window[half])
    return np.array(medians, np.float32)


def _scale(
    filtered: NDArray[np.float32],
    deviation: NDArray[np.float32],
    alive: NDArray[np.bool_],
    present: Recording,
    preprocessing: Preprocessing,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    window = np.zeros((len(preprocessing.leads), preprocessing.samples), dtype=np.float32)
    facts = np.zeros((len(preprocessing.leads), 3), dtype=np.float32)
    rows = [row for row, lead in enumerate(present.leads) if alive[row] and lead in preprocessing.leads]
    places = [preprocessing.leads.index(present.leads[row]) for row in rows]
    window[places, : filtered.shape[1]] = filtered[rows]
    filled = window[:, : filtered.shape[1]]
    if preprocessing.scaling == "lead":
        filled[places] = (filtered[rows] - filtered[rows].mean(axis=1, keepdims=True)) / deviation[rows][:, None]
    elif preprocessing.scaling == "record" and rows:
        filled[:] = (filled - filled[places].mean()) / (filled[places].std() + TINY)
    elif preprocessing.scaling == "minmax" and rows:
        low, high = filled[places].min(), filled[places].max()
        filled[:] = (filled - low) / (high - low + TINY)
    for row, place in zip(rows, places, strict=True):
        facts[place, 0] = 1.0
        if present.units == "mV" and preprocessing.reference_mv is not None:
            facts[place, 1:] = 1.0, min(3.0, max(-3.0, math.log(deviation[row] / preprocessing.reference_mv)))
    return window, facts


@lru_cache(maxsize=64)
def _lengths(at_least: int, fs: float, target_fs: float) -> tuple[int, int, int]:
    """Source and target FFT lengths in the ratio of the rates, and the source samples of the smallest such pair."""
    ratio = Fraction(target_fs).limit_denominator(1000) / Fraction(fs).limit_denominator(1000)
    ratio = ratio.limit_denominator(2000)  # at worst 0.25 ms off after 1000 s
    step = ratio.denominator
    blocks = _smooth(-(-at_least // step) + 1)
    if ratio.numerator * blocks % 2:
        blocks = _smooth(blocks + 1, even=True)
    return step * blocks, ratio.numerator * blocks, step


def _smooth(at_least: int, even: bool = False) -> int:
    """The next number with no prime factor over 5: FFTs of such lengths are quick."""
    number = at_least
    while True:
        rest = number
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and not (even and number % 2):
            return number
        number += 1


def _reflect(signal: NDArray[np.floating], offset: int, length: int, pad: int) -> NDArray[np.float64]:
    """`signal` at `offset` within `length`, its ends continued by reflection that fades to 0."""
    count = signal.shape[1]
    padded = np.zeros((signal.shape[0], length))
    body = padded[:, offset : offset + count]
    np.subtract(signal, signal.mean(axis=1, keepdims=True, dtype=np.float64), out=body)
    after = min(pad, length - offset - count)
    if pad > 0:
        fade = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, pad + 1) / (pad + 1))
        before = 2 * POINT * body[:, :1] + (1 - 2 * POINT) * body[:, pad:0:-1]
        behind = 2 * POINT * body[:, -1:] + (1 - 2 * POINT) * body[:, -2 : -2 - after : -1]
        padded[:, offset - pad : offset] = before * fade[::-1]
        padded[:, offset + count : offset + count + after] = behind * fade[:after]
    return padded


@lru_cache(maxsize=64)
def _gain(
    source: int, target: int, fs: float, low_hz: float | None, high_hz: float | None, notch_hz: float | None
) -> NDArray[np.float64]:
    """Filter gain per bin of the source spectrum, up to the lower Nyquist rate, times the change of length."""
    bins = min(source, target) // 2
    frequency = np.arange(bins) * (fs / source)
    gain = np.full(bins, target / source)
    if high_hz is not None:
        gain /= 1.0 + (frequency / high_hz) ** (2 * ORDER)
    if low_hz is not None:
        rise = (frequency / low_hz) ** (2 * ORDER)
        gain *= np.where(frequency > low_hz, 1.0 / (1.0 + 1.0 / np.maximum(rise, 1e-12)), rise / (1.0 + rise))
    if notch_hz is not None:
        detuned = (frequency**2 - notch_hz**2) ** 2
        gain *= detuned / (detuned + (frequency * notch_hz / NOTCH_QUALITY) ** 2)
    return gain
