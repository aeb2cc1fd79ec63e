"""How well bad recordings and swapped electrodes are told: `python benchmarks/signal_quality.py`.

On the recordings in $UNIECG_DATA. Quality: CinC 2011 against people's labels, cross-validated by record (the weights
are fitted again without each tenth), and the share of clean recordings that are called unacceptable. Reversal:
electrodes swapped by permuting potentials on recordings that no weight was fitted to (PTB-XL folds 8 and 9, LUDB,
CinC 2021).
Intervals: 95 %, bootstrap over records (AUROC) or Wilson.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import LEADS, Recording
from uniecg_export.training.signal_quality import cross_validated, faults_and_labels
from uniecg_export.training.signal_records import connected
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.signal.measure import limb_scales
from uniecg_runtime.signal.quality import ACCEPTABLE, assess
from uniecg_runtime.signal.reversal import find_reversal
from uniecg_runtime.signal.window import bridge_gaps
from uniecg_runtime.signal.work_signal import work_signal

# By name of the swap: cable -> where it is. The right leg's potential is taken to be the left leg's.
PLACES: dict[str, dict[str, str]] = {
    "RA-LA": {"RA": "LA", "LA": "RA"},
    "RA-LL": {"RA": "LL", "LL": "RA"},
    "LA-LL": {"LA": "LL", "LL": "LA"},
    "RA-LA-LL": {"RA": "LA", "LA": "LL", "LL": "RA"},
    "RA-LL-LA": {"RA": "LL", "LA": "RA", "LL": "LA"},
    "RA-RL": {"RA": "LL"},
    "LA-RL": {"LA": "LL"},
}
SEEN = {"twelve leads": LEADS, "limb leads": LEADS[:6], "I alone": ("I",), "II alone": ("II",), "V5 alone": ("V5",)}
WINDOWS = 6  # of 10 s, out of each half hour of the MIT-BIH recordings


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="labels,clean,noise,reversal")
    options = parser.parse_args()
    data = Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")).expanduser()
    parts: dict[str, Callable[[Path], None]] = {"labels": labels, "clean": clean, "noise": noise, "reversal": reversal}
    for name in options.only.split(","):
        parts[name](data)


def labels(data: Path) -> None:
    """AUROC and operating point on CinC 2011."""
    faults, bad = faults_and_labels(data)
    scores = cross_validated(faults, bad)
    low, high = resampled(scores, bad)
    print(f"CinC 2011, {len(bad)} recordings, {bad.sum()} unacceptable, 10-fold cross-validation by record")
    print(f"  AUROC {auroc(scores, bad):.3f} [{low:.3f}, {high:.3f}]")
    for limit in (0.5, ACCEPTABLE, 0.9):
        called = scores < limit
        print(f"  acceptable from {limit:.2f}: sensitivity {share(called[bad])}  specificity {share(~called[~bad])}")


def clean(data: Path) -> None:
    """Clean recordings that are called unacceptable, by source."""
    scores: dict[str, list[float]] = defaultdict(list)
    for source in connected(data):
        if source.name != "cinc2011":
            scores[source.name].append(assess(source.recording).score)
    for path in sorted((data / "mitdb").glob("*.hea")):
        scores["mitdb, windows of 10 s"] += [assess(window).score for window in windows(read_recording(path))]
    print(f"\nCalled unacceptable (score under {ACCEPTABLE:g}), of recordings that were published as readable")
    for name, values in scores.items():
        print(f"  {name:28} {share(np.array(values) < ACCEPTABLE)}  median score {np.median(values):.3f}")


def noise(data: Path) -> None:
    """CinC 2017, one lead: the recordings that people called noise against the others."""
    rows = dict(csv.reader((data / "cinc2017" / "REFERENCE.csv").open()))
    paths = [path for path in sorted((data / "cinc2017").glob("*.hea")) if path.stem in rows]
    kind = np.array([rows[path.stem] for path in paths])
    scores = np.array([assess(read_recording(path, leads=("I",))).score for path in paths])
    bad = kind == "~"
    low, high = resampled(scores, bad)
    print(f"\nCinC 2017, one lead, {bad.sum()} noise of {len(bad)}")
    print(f"  AUROC {auroc(scores, bad):.3f} [{low:.3f}, {high:.3f}]")
    for name in ("~", "N", "A", "O"):
        print(f"  called unacceptable of {name}: {share(scores[kind == name] < ACCEPTABLE)}")


def reversal(data: Path) -> None:
    """False alarms, and each swap by source: found at all, and by its name."""
    told: dict[str, dict[str, list[str | None]]] = defaultdict(lambda: defaultdict(list))
    for source in connected(data):
        if source.taught or set(source.recording.leads) != set(LEADS):
            continue
        for seen, swap, kind in suspected(source.recording):
            told[f"all, {seen}"][swap].append(kind)
            if seen == "twelve leads":
                told[source.name][swap].append(kind)
    print("\nElectrodes swapped by permuting potentials: suspected of a swap, and in brackets with the right name")
    for name, by_swap in told.items():
        print(f"  {name}: false alarms {share(np.array([k is not None for k in by_swap['none']]))}")
        for swap, kinds in by_swap.items():
            if swap != "none":
                found = np.array([kind is not None for kind in kinds])
                print(f"    {swap:9} {share(found)}  ({np.mean([kind == swap for kind in kinds]):.3f})")


def suspected(recording: Recording) -> Iterable[tuple[str, str, str | None]]:
    """Which leads are seen, each swap, and what is then suspected."""
    whole = on_one_scale(recording)
    if whole is None:
        return
    turned = replace(whole, signal=-whole.signal)
    swaps = ((name, swapped(whole, places)) for name, places in PLACES.items())
    for name, given in chain([("none", whole)], swaps, [("inverted", turned)]):
        if whole.units == "mV" or "RL" not in name:  # a lead without a signal has no scale to be found again
            work = work_signal(given)
            for seen, leads in SEEN.items():
                if len(leads) > 1 or name in ("none", "inverted"):
                    found = find_reversal(work, leads)
                    yield seen, name, None if found is None else found.kind


def on_one_scale(recording: Recording) -> Recording | None:
    """In `LEADS` order without gaps; a standardised one with the limb leads' ratios, None where they are lost."""
    rows = np.stack([bridge_gaps(recording.signal[recording.leads.index(lead)])[0] for lead in LEADS])
    if recording.units != "mV":
        scales = limb_scales(rows, LEADS)
        if scales is None:
            return None
        rows[:3] *= scales[:, None]
    return replace(recording, signal=rows, leads=LEADS)


def swapped(recording: Recording, places: dict[str, str]) -> Recording:
    """The twelve leads as they are when the cables of `places` are where it says."""
    i, ii = recording.signal[0], recording.signal[1]
    sites = {"RA": np.zeros_like(i), "LA": i, "LL": ii}
    ra, la, ll = (sites[places.get(cable, cable)] for cable in ("RA", "LA", "LL"))
    chest = recording.signal[6:] + (i + ii) / 3 - (ra + la + ll) / 3
    new_i, new_ii = la - ra, ll - ra
    limb = np.stack([new_i, new_ii, new_ii - new_i, -(new_i + new_ii) / 2, new_i - new_ii / 2, new_ii - new_i / 2])
    return replace(recording, signal=np.concatenate([limb, chest]))


def windows(recording: Recording) -> Iterable[Recording]:
    """Stretches of 10 s, evenly over the recording."""
    length = round(10 * recording.fs)
    for start in np.linspace(0, recording.signal.shape[1] - length, WINDOWS).astype(int):
        yield replace(recording, signal=np.ascontiguousarray(recording.signal[:, start : start + length]))


def auroc(scores: NDArray[np.float64], bad: NDArray[np.bool_]) -> float:
    """How often a good recording scores above a bad one, ties by half."""
    good, worse = scores[~bad][:, None], scores[bad]
    return float((good > worse).mean() + 0.5 * (good == worse).mean())


def resampled(scores: NDArray[np.float64], bad: NDArray[np.bool_], draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the AUROC over bootstrap draws of the recordings."""
    random = np.random.default_rng(0)
    drawn = (random.integers(0, len(bad), len(bad)) for _ in range(draws))
    values = [auroc(scores[rows], bad[rows]) for rows in drawn if 0 < bad[rows].sum() < len(bad)]
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def share(which: NDArray[np.bool_]) -> str:
    """`0.912 [0.880, 0.936] n=389`, by Wilson."""
    n, p, z = len(which), float(np.mean(which)), 1.96
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return f"{p:.3f} [{max(0.0, low):.3f}, {min(1.0, high):.3f}] n={n}"


if __name__ == "__main__":
    main()
