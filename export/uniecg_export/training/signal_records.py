"""Recordings for the small models of `uniecg_runtime.signal`: those judged for quality, and those connected rightly."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uniecg_device.signals import LEADS, Recording
from uniecg_export.training.labels import read_annotations
from uniecg_export.training.records import CINC2011_LEADS
from uniecg_runtime.formats.read import read_recording

SECONDS = 10.0
TAUGHT_FOLDS = range(1, 8)  # of PTB-XL; 8 and 9 are for the figures


@dataclass(frozen=True, eq=False)
class Source:
    """A recording of at most 10 s with where it comes from; fold: PTB-XL's, 0 elsewhere."""

    name: str
    fold: int
    recording: Recording

    @property
    def taught(self) -> bool:
        """Whether models may learn from it: PTB-XL's folds 1 to 7, CODE-15 % with SaMi-Trop, and CinC 2011."""
        return self.fold in TAUGHT_FOLDS or self.name in ("code15_samitrop", "cinc2011")


def judged(data: Path) -> Iterator[tuple[Recording, bool]]:
    """CinC 2011's recordings, and whether people called them unacceptable."""
    signals = np.load(data / "cinc2011" / "x_int16_adu200permV.npy", mmap_mode="r")
    order = [CINC2011_LEADS.index(lead) for lead in LEADS]
    for row in _rows(data / "cinc2011" / "index.csv"):
        signal = np.ascontiguousarray(signals[int(row["row"])][order].astype(np.float32) / 200)
        yield Recording(signal, 500.0, LEADS, name=row["record"]), row["quality"] == "unacceptable"


def connected(data: Path) -> Iterator[Source]:
    """Twelve-lead recordings as they are, nearly all with their electrodes where they belong.

    The z-scored part of PTB-XL keeps the limb leads' ratios, which is all that is needed. CinC 2011 gives those that
    were called acceptable; the part of CinC 2021 that is PTB-XL again is left out.
    """
    yield from _ptbxl(data)
    yield from (Source("cinc2011", 0, recording) for recording, bad in judged(data) if not bad)
    for folder in ("code15_samitrop", "ludb/data"):
        name = folder.removesuffix("/data")
        yield from (Source(name, 0, first_seconds(path)) for path in sorted((data / folder).glob("*.hea")))
    for folder_2021 in sorted(path for path in (data / "cinc2021").iterdir() if path.is_dir()):
        if folder_2021.name != "ptbxl":
            paths = sorted(folder_2021.glob("*.hea"))
            yield from (Source(f"cinc2021/{folder_2021.name}", 0, first_seconds(path)) for path in paths)


def first_seconds(path: Path) -> Recording:
    """The first 10 s of a file."""
    whole = read_recording(path)
    signal = np.ascontiguousarray(whole.signal[:, : round(SECONDS * whole.fs)])
    return replace(whole, signal=signal)


def _ptbxl(data: Path) -> Iterator[Source]:
    annotations = read_annotations(data / "ptbxl")
    for path in sorted((data / "ptbxl").rglob("records500/**/*.hea")):
        annotation = annotations.get(int(path.stem.split("_")[0]))
        if annotation is not None:
            yield Source("ptbxl", annotation.fold, first_seconds(path))
    signals = np.load(data / "ptbxl_zscored" / "x_int16_125hz.npy", mmap_mode="r")
    for row in _rows(data / "ptbxl_zscored" / "index.csv"):
        signal = np.ascontiguousarray(signals[int(row["row"])].astype(np.float32) / 1000)
        recording = Recording(signal, 125.0, LEADS, name=row["ecg_id"], units="standardised")
        yield Source("ptbxl_zscored", int(row["strat_fold"]), recording)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
