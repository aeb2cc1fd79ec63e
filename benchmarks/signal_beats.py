"""Heart beats on MIT-BIH and in noise: our stream, `uniecg measure`, and with --peers what people run today.

usage: python benchmarks/signal_beats.py [--data FOLDER] [--records 101 102 ...] [--peers]
       python benchmarks/signal_beats.py --leads 2 [--off] [--fs HZ]
       python benchmarks/signal_beats.py --ludb [--leads 12] [--off] [--fs HZ]

First channel, beats within 150 ms from 5 s on, ventricular flutter left out (EC57); one scorer for all. Noise: the
noisy two of every four minutes of 118e00 from the fifth on. Location: found less annotated position. CPU: per hour of
recording, of this thread. Peers: pip install wfdb neurokit2.

--leads: so many channels together. --off: in every other sixteenth of the recording one lead is NaN, another
each time. --fs: resampled before. --ludb: 10 s of 12 leads each, from the readers' first QRS to their last; truth
is the middle of the QRS peaks they marked in the leads.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.beats import BeatDetector
from uniecg_device.conditioning import resample

BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")
TOLERANCE, START = 0.15, 5.0  # s
BLOCK = 3600  # samples pushed at once

Positions = NDArray[np.int64]
Signal = NDArray[np.float32]
Detector = Callable[[Signal, float], Positions]


@dataclass(frozen=True, eq=False)
class Recording:
    """signal: mV, shape (leads, samples). beats: annotated. counted: (stretches, 2), samples from..to in which beats
    count. paced: whether a pacemaker is at work."""

    name: str
    signal: Signal
    fs: float
    beats: Positions
    counted: Positions
    paced: bool

    def among(self, positions: Positions) -> Positions:
        """Those that count."""
        inside = (positions[:, None] >= self.counted[:, 0]) & (positions[:, None] <= self.counted[:, 1])
        return positions[inside.any(axis=1)]


@dataclass(frozen=True, eq=False)
class Score:
    """found, false, missed: beats. errors: ms, of those found. cpu: s for an hour of recording."""

    found: int
    false: int
    missed: int
    errors: NDArray[np.float64]
    cpu: float

    def row(self, name: str) -> str:
        sensitivity = 100 * self.found / max(self.found + self.missed, 1)
        precision = 100 * self.found / max(self.found + self.false, 1)
        f1 = 200 * self.found / max(2 * self.found + self.false + self.missed, 1)
        spread, bias = (self.errors.std(), self.errors.mean()) if self.errors.size else (np.nan, np.nan)
        return (
            f"{name:28} Se {sensitivity:6.2f}  PPV {precision:6.2f}  F1 {f1:6.2f}  "
            f"SD {spread:5.1f} ms  bias {bias:+5.1f} ms  CPU {self.cpu:7.3f} s/h"
        )


def ours(signal: Signal, fs: float) -> Positions:
    detector = BeatDetector(fs, len(signal))
    parts = [detector.push(signal[:, first : first + BLOCK]).positions for first in range(0, signal.shape[1], BLOCK)]
    parts.append(detector.push(np.repeat(signal[:, -1:], round(2.5 * fs), axis=1)).positions)
    return np.concatenate(parts)


def measured(signal: Signal, fs: float) -> Positions:
    """Those of `uniecg measure`, which sees the whole record."""
    from uniecg_device.signals import LEADS
    from uniecg_device.signals import Recording as Measured
    from uniecg_runtime.signal.heartbeats import find_heartbeats

    return find_heartbeats(Measured(np.ascontiguousarray(signal), fs, LEADS[: len(signal)]))[1]


def xqrs(signal: Signal, fs: float) -> Positions:
    from wfdb.processing import XQRS

    detector = XQRS(sig=signal[0].astype(np.float64), fs=fs)
    detector.detect(verbose=False)
    return np.asarray(detector.qrs_inds, dtype=np.int64)


def neurokit(method: str) -> Detector:
    def detect(signal: Signal, fs: float) -> Positions:
        import neurokit2

        clean = neurokit2.ecg_clean(signal[0].astype(np.float64), sampling_rate=fs, method=method)
        return np.asarray(neurokit2.ecg_findpeaks(clean, sampling_rate=fs, method=method)["ECG_R_Peaks"], np.int64)

    return detect


def match(truth: Positions, found: Positions, reach: float) -> Positions:
    """Differences of the pairs: each beat with one found within `reach`, in order, the nearer of two."""
    pairs: list[int] = []
    place = 0
    for beat in truth:
        while place < found.size and found[place] < beat - reach:
            place += 1
        while place + 1 < found.size and abs(found[place + 1] - beat) < abs(found[place] - beat):
            place += 1
        if place < found.size and abs(found[place] - beat) <= reach:
            pairs.append(int(found[place] - beat))
            place += 1
    return np.array(pairs, dtype=np.int64)


def mitdb(path: Path, leads: int, noisy: bool = False) -> Recording:
    """A record of MIT-BIH, or with `noisy` one of NSTDB."""
    import wfdb

    header, notes = wfdb.rdrecord(str(path), channels=list(range(leads))), wfdb.rdann(str(path), "atr")
    signal, fs = np.ascontiguousarray(header.p_signal.T, dtype=np.float32), float(header.fs)
    marks = list(zip(notes.sample.tolist(), notes.symbol, strict=True))
    flutter = [sample for sample, symbol in marks if symbol in "[]"]
    reach = TOLERANCE * fs
    edges = [START * fs, *(f + reach * (-1) ** (k + 1) for k, f in enumerate(flutter)), signal.shape[1]]
    counted = np.array(edges, dtype=np.int64).reshape(-1, 2)
    if noisy:
        minutes = np.array([minute for minute in range(5, 31) if (minute - 5) % 4 < 2])
        counted = np.column_stack([minutes * 60 * fs, (minutes + 1) * 60 * fs - 1]).astype(np.int64)
    beats = np.array([sample for sample, symbol in marks if symbol in BEATS], dtype=np.int64)
    return Recording(path.name, signal, fs, beats, counted, any(symbol == "/" for _, symbol in marks))


def ludb(path: Path, leads: int) -> Recording:
    """A record of LUDB. A beat is the middle of its marks in the leads, where half of them have one."""
    import wfdb

    header = wfdb.rdrecord(str(path))
    fs = float(header.fs)
    notes = [wfdb.rdann(str(path), name.lower()) for name in header.sig_name]
    marks = np.sort(np.concatenate([note.sample[np.array(note.symbol) == "N"] for note in notes]))
    groups = np.split(marks, np.flatnonzero(np.diff(marks) > 0.1 * fs) + 1)
    beats = np.array([round(np.median(group)) for group in groups if group.size >= len(notes) / 2], dtype=np.int64)
    counted = np.array([[beats[0] - TOLERANCE * fs, beats[-1] + TOLERANCE * fs]], dtype=np.int64)
    signal = np.ascontiguousarray(header.p_signal.T[:leads], dtype=np.float32)
    paced = any("pacing" in comment or "Pacemaker" in comment for comment in header.comments)
    return Recording(path.name, signal, fs, beats, counted, paced)


def resampled(recording: Recording, fs: float) -> Recording:
    """The same at another rate; marks go to the nearest sample."""
    scale = fs / recording.fs
    beats, counted = (np.round(scale * marks).astype(np.int64) for marks in (recording.beats, recording.counted))
    return replace(recording, signal=resample(recording.signal, recording.fs, fs), fs=fs, beats=beats, counted=counted)


def with_leads_off(recording: Recording) -> Recording:
    """Every other sixteenth of it one lead is NaN, another each time."""
    signal = recording.signal.copy()
    for number, part in enumerate(np.array_split(np.arange(signal.shape[1]), 16)):
        if number % 2:
            signal[number // 2 % len(signal), part] = np.nan
    return replace(recording, signal=signal)


def score(recording: Recording, detect: Detector) -> Score:
    fs, signal = recording.fs, recording.signal
    begun = time.thread_time()
    found = np.unique(detect(signal, fs))
    cpu = (time.thread_time() - begun) * 3600 * fs / signal.shape[1]
    truth, found = recording.among(recording.beats), recording.among(found)
    errors = match(truth, found, TOLERANCE * fs)
    return Score(errors.size, found.size - errors.size, truth.size - errors.size, errors * 1000 / fs, cpu)


def total(scores: list[Score]) -> Score:
    return Score(
        sum(one.found for one in scores),
        sum(one.false for one in scores),
        sum(one.missed for one in scores),
        np.concatenate([one.errors for one in scores]),
        float(np.mean([one.cpu for one in scores])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")))
    parser.add_argument("--records", nargs="*")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--ludb", action="store_true")
    parser.add_argument("--leads", type=int)
    parser.add_argument("--off", action="store_true")
    parser.add_argument("--fs", type=float)
    options = parser.parse_args()
    data = options.data.expanduser()
    folder = data / "ludb" / "data" if options.ludb else data / "mitdb"
    names = options.records or sorted(path.stem for path in folder.glob("*.hea"))
    leads = options.leads or (12 if options.ludb else 1)
    read = ludb if options.ludb else mitdb
    recordings = [prepared(read(folder / name, leads), options.off, options.fs) for name in names]
    detectors: dict[str, Detector] = {"uniecg": ours, "uniecg measure": measured}
    if options.peers:
        detectors |= {"wfdb XQRS": xqrs, "NeuroKit2 Pan-Tompkins": neurokit("pantompkins1985")}
        detectors |= {"NeuroKit2 neurokit": neurokit("neurokit"), "NeuroKit2 Hamilton": neurokit("hamilton2002")}
    for name, detect in detectors.items():
        scores = {}
        for recording in recordings:
            scores[recording.name] = score(recording, detect)
            if not options.ludb:
                print(scores[recording.name].row(f"{name} {recording.name}"), flush=True)
        paced = [scores[recording.name] for recording in recordings if recording.paced]
        print(total(list(scores.values())).row(f"{name}, all {len(names)}"))
        if paced:
            print(total(paced).row(f"{name}, paced {len(paced)}"))
        if not options.ludb:
            noisy = prepared(mitdb(data / "nstdb" / "118e00", leads, noisy=True), options.off, options.fs)
            print(score(noisy, detect).row(f"{name} 118e00, noisy"), flush=True)


def prepared(recording: Recording, off: bool, fs: float | None) -> Recording:
    other = resampled(recording, fs) if fs else recording
    return with_leads_off(other) if off else other


if __name__ == "__main__":
    main()
