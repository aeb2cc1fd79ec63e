"""The recordings that artifacts are tried on: a person's own where given, simulated ones where not.

Calibration may look at one half; the gates measure on the other.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.signals import Recording
from uniecg_export.training.simulated import simulated_record
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.manifest import Preprocessing
from uniecg_runtime.signal.window import prepare_window

MOST = 96  # recordings, by default; half calibrate, half measure
LEAST = 8
MAX_TRUTH_BYTES = 64 << 20
READ = {".hea", ".edf", ".csv", ".tsv", ".npy"}


@dataclass(frozen=True, eq=False)
class TrialSet:
    """Recordings to calibrate with and others to measure on.

    source: what they are, in words. labels: of the columns of `truth` (measuring recordings, labels): 1, 0 or NaN
    where unknown; no labels where nobody said what is true.
    """

    calibration: tuple[Recording, ...]
    measuring: tuple[Recording, ...]
    source: str
    labels: tuple[str, ...] = ()
    truth: NDArray[np.float32] | None = None


def read_trial_set(
    folder: Path | None, preprocessing: Preprocessing | None, truth: Path | None = None, most: int = MOST
) -> TrialSet:
    """Recordings below `folder` that this model can take, at most `most`, drawn with a fixed seed; simulated without.

    truth: a CSV file with the columns `record` (a file's name without its ending) and one per label, 1, 0 or empty.
    Records with truth are taken where it is given. Raises InputError where fewer than 8 can be used.
    """
    if folder is None:
        if truth is not None:
            raise InputError("expected --recordings with --truth, found none; say where the recordings are.")
        simulated = [simulated_record(seed)[0] for seed in range(most // 2)]
        source = f"{len(simulated)} simulated ECGs (no recordings were given)"
        return TrialSet(tuple(simulated[::2]), tuple(simulated[1::2]), source)
    labels, table = ((), {}) if truth is None else _read_truth(truth)
    paths = [path for path in _find(folder) if not table or path.stem in table]
    random.Random(0).shuffle(paths)
    taken: list[tuple[Path, Recording]] = []
    for path in paths:
        if len(taken) == most:
            break
        recording = _usable(path, preprocessing)
        if recording is not None:
            taken.append((path, recording))
    if len(taken) < LEAST:
        what = "WFDB, EDF, CSV or NPY recordings" + (f" that {truth} knows" if table else "")
        raise InputError(
            f"expected at least {LEAST} {what} below {folder}, found {len(taken)} that this model can take among "
            f"{len(paths)}; give more, or leave --recordings out to use simulated ones."
        )
    measuring = taken[1::2]
    known = np.array([table[path.stem] for path, _ in measuring], np.float32) if table else None
    return TrialSet(
        calibration=tuple(recording for _, recording in taken[::2]),
        measuring=tuple(recording for _, recording in measuring),
        source=f"{len(taken)} of {len(paths)} recordings below {folder.name}",
        labels=labels,
        truth=known,
    )


def _find(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"expected a folder of recordings at {folder}, found none; check the path.")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in READ and path.is_file())


def _usable(path: Path, preprocessing: Preprocessing | None) -> Recording | None:
    """The recording, or None where it is no ECG or not one for this model; folders hold other tables too."""
    try:
        recording = read_recording(path, seconds=_longest(preprocessing))
        if preprocessing is not None:
            prepare_window(recording, preprocessing)
    except InputError:
        return None
    return recording


def _longest(preprocessing: Preprocessing | None) -> float | None:
    """Seconds that are worth reading of a recording that may be a day long."""
    return None if preprocessing is None else preprocessing.samples / preprocessing.fs + 2


def _read_truth(path: Path) -> tuple[tuple[str, ...], dict[str, list[float]]]:
    """Labels, and what is true of each record. Raises InputError for a table that is none."""
    wanted = f"expected a CSV table with a column 'record' and a column of 1, 0 or nothing per label in {path}"
    try:
        if path.stat().st_size > MAX_TRUTH_BYTES:
            raise InputError(f"{wanted}, found more than {MAX_TRUTH_BYTES} bytes; give the table alone.")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            labels = tuple(name for name in rows.fieldnames or () if name != "record")
            if "record" not in (rows.fieldnames or ()) or not labels or len(set(labels)) != len(labels):
                raise InputError(f"{wanted}, found the columns {', '.join(rows.fieldnames or ()) or 'none'}; mend it.")
            table = {Path(row["record"]).stem: list(_cells(row, labels)) for row in rows}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{wanted}, could not read it ({error}); mend it.") from None
    return labels, table


def _cells(row: dict[str, str], labels: Sequence[str]) -> Iterator[float]:
    for label in labels:
        text = (row[label] or "").strip()
        if text not in ("", "0", "1"):
            raise ValueError(f"{text[:20]!r} for {label} of {row['record'][:40]}")
        yield float(text) if text else float("nan")
