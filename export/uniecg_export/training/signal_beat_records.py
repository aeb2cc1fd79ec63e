"""What the beat detector learns from and is scored on: MIT-BIH's leads, and the same in noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FS = 360.0
BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")
TOLERANCE, START = 0.15, 5.0  # s
NOISY = 120.0  # s: noise comes and goes after so long, as in NSTDB

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Heart:
    """signal: float32 mV, shape (leads, samples), at `FS`. beats: of the annotators. counted: (stretches, 2), samples
    from..to in which beats count: from 5 s on, without ventricular flutter, and with noise added only in the noise."""

    record: str
    signal: Floats
    beats: Positions
    counted: Positions

    def in_count(self, positions: NDArray[np.float64] | Positions) -> NDArray[np.bool_]:
        """Which of these samples lie in a counted stretch."""
        return np.any((positions[:, None] >= self.counted[:, 0]) & (positions[:, None] < self.counted[:, 1]), axis=1)


def records(data: Path) -> list[str]:
    """Names of the MIT-BIH records that are there."""
    return sorted(path.stem for path in (data / "mitdb").glob("*.hea"))


def hearts(data: Path, record: str) -> dict[str, Heart]:
    """Its first channel, its second, both together, and the plane they span seen from every 30 degrees."""
    both = read_heart(data / "mitdb" / record)
    angles = np.pi / 6 * np.arange(6)
    plane = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32) @ both.signal
    signals = {"first": both.signal[:1], "second": both.signal[1:], "both": both.signal, "plane": plane}
    return {name: replace(both, signal=signal) for name, signal in signals.items()}


def read_heart(path: Path) -> Heart:
    """A record of MIT-BIH or NSTDB with all its channels."""
    import wfdb

    notes = wfdb.rdann(str(path), "atr")
    marks = list(zip(notes.sample.tolist(), notes.symbol, strict=True))
    signal = np.ascontiguousarray(wfdb.rdrecord(str(path)).p_signal.T, dtype=np.float32)
    flutter = np.array([sample for sample, symbol in marks if symbol in "[]"], dtype=np.int64)
    reach = round(TOLERANCE * FS)
    edges = np.array([round(START * FS), *(flutter + np.resize([-reach, reach], flutter.size)), signal.shape[1]])
    beats = np.array([sample for sample, symbol in marks if symbol in BEATS], dtype=np.int64)
    return Heart(path.name, signal, beats, edges.reshape(-1, 2))


def noise_record(data: Path, half: int) -> Heart:
    """118e00's first channel; the noisy minutes of one half alone are counted."""
    heart = read_heart(data / "nstdb" / "118e00")
    minutes = np.array([minute for minute in _noisy_minutes() if (minute >= 17) == bool(half)])
    return replace(heart, signal=heart.signal[:1], counted=(minutes[:, None] + [0, 1]) * round(60 * FS))


def noises(data: Path, half: int) -> dict[str, Floats]:
    """Name -> (2, samples) of unit variance: one half of each recording, em, ma and bw.

    Electrode motion is what 118e00 has more than 118, in its noisy minutes, inverted and backwards, so that the record
    itself stays unseen; it is none of the same half of `noise_record`.
    """
    import wfdb

    motion = read_heart(data / "nstdb" / "118e00").signal - read_heart(data / "mitdb" / "118").signal
    minute = round(60 * FS)
    parts = [motion[:, m * minute : (m + 1) * minute] for m in _noisy_minutes() if (m >= 17) == bool(half)]
    found = {"em": -np.concatenate(parts, axis=1)[:, ::-1]}
    for name in ("ma", "bw"):
        whole = wfdb.rdrecord(str(data / "nstdb" / name)).p_signal.T
        middle = whole.shape[1] // 2
        found[name] = whole[:, middle:] if half else whole[:, :middle]
    return {name: (noise / noise.std(axis=1, keepdims=True)).astype(np.float32) for name, noise in found.items()}


def _noisy_minutes() -> list[int]:
    return [minute for minute in range(5, 30) if (minute - 5) % 4 < 2]


def in_noise(
    heart: Heart, noise: dict[str, Floats], generator: np.random.Generator, kinds: tuple[str, ...], snr: float
) -> Heart:
    """With noise of these kinds in every other two minutes, of another place in each lead.

    snr: dB of the first kind, the next being 6 dB fainter: of an eighth of the square of the QRS's height to the
    noise's variance.
    """
    samples = heart.signal.shape[1]
    block = round(NOISY * FS)
    phase = int(generator.integers(2 * block))
    on = (np.arange(samples) + phase) // block % 2 == 1
    signal = heart.signal.copy()
    for lead in signal:
        height = _qrs_height(lead, heart.beats)
        for place, kind in enumerate(kinds):
            scale = height / np.sqrt(8) * 10 ** (-(snr + 6 * place) / 20)
            source = generator.choice(noise[kind]) * generator.choice([-1, 1])
            first = int(generator.integers(source.size))
            added = np.resize(np.roll(source, -first), samples)
            lead += np.where(on, scale * added, 0).astype(np.float32)
    return replace(heart, signal=signal, counted=_without(heart.counted, ~on))


def interrupted(heart: Heart, generator: np.random.Generator) -> Heart:
    """With electrodes that come off for 0.5 to 5 s, 4 to 20 s apart: all leads or one, which then is NaN."""
    samples = heart.signal.shape[1]
    signal, off = heart.signal.copy(), np.zeros(samples, dtype=bool)
    place = 0.0
    while (place := place + generator.uniform(4, 20) * FS) < samples:
        first, place = int(place), place + generator.uniform(0.5, 5) * FS
        everything = len(signal) == 1 or generator.random() < 0.5
        signal[slice(None) if everything else generator.integers(len(signal)), first : int(place)] = np.nan
        off[first : int(place)] = everything
    return replace(heart, signal=signal, counted=_without(heart.counted, off))


def _without(counted: Positions, out: NDArray[np.bool_]) -> Positions:
    inside = np.zeros(out.size, dtype=bool)
    for first, last in counted:
        inside[first:last] = True
    return np.flatnonzero(np.diff(inside & ~out, prepend=False, append=False)).reshape(-1, 2)


def _qrs_height(lead: Floats, beats: Positions) -> float:
    """Mean over the first 300 beats without the extremes, peak to peak within 50 ms."""
    reach = round(0.05 * FS)
    sizes = np.sort([np.ptp(lead[max(0, beat - reach) : beat + reach]) for beat in beats[:300]])
    out = sizes.size // 20
    return float(np.mean(sizes[out : sizes.size - out]))


def nearest(beats: Positions, places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the ascending places is the one nearest to some beat and within 150 ms of it."""
    found = np.zeros(places.size, dtype=bool)
    if not places.size:
        return found
    behind = np.searchsorted(places, beats).clip(1, places.size - 1) if places.size > 1 else np.zeros(beats.size, int)
    before = (behind - 1).clip(0)
    near = np.where(np.abs(places[before] - beats) <= np.abs(places[behind] - beats), before, behind)
    found[near[np.abs(places[near] - beats) <= TOLERANCE * FS]] = True
    return found


def tally(heart: Heart, found: Positions) -> NDArray[np.int64]:
    """Beats found, false and missed among those that count."""
    truth, found = heart.beats[heart.in_count(heart.beats)], found[heart.in_count(found)]
    right = place = 0
    for beat in truth.tolist():
        while place < found.size and found[place] < beat - TOLERANCE * FS:
            place += 1
        while place + 1 < found.size and abs(found[place + 1] - beat) < abs(found[place] - beat):
            place += 1
        if place < found.size and found[place] <= beat + TOLERANCE * FS:
            right += 1
            place += 1
    return np.array([right, found.size - right, truth.size - right])


def f1(tallies: NDArray[np.int64]) -> float:
    """In %, of the sum of tallies (any, 3)."""
    right, false, missed = tallies.reshape(-1, 3).sum(axis=0)
    return float(200 * right / max(2 * right + false + missed, 1))
