"""The recordings that artifacts are tried on: a person's own where given, simulated ones where not.

Calibration may look at one half; the gates measure on the other.
"""

from __future__ import annotations

import contextlib
import csv
import random
from collections.abc import Iterable, Iterator, Sequence
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
READ = (".hea", ".edf", ".npy", ".csv", ".tsv")  # what says most of itself first


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

    preprocessing: None for a model that takes no recordings; none are read then. Files of one folder that differ in
    their ending alone are one recording. truth: a CSV file with the columns `record` (a file's name without its ending)
    and one per label, 1, 0 or empty. Records with truth are taken where it is given. Raises InputError where fewer than
    8 can be used, or two recordings have the truth of one record.
    """
    if preprocessing is None:
        return TrialSet((), (), "none were read, this model takes none")
    if folder is None:
        if truth is not None:
            raise InputError("expected --recordings with --truth, found none; say where the recordings are.")
        simulated = [simulated_record(seed)[0] for seed in range(most // 2)]
        source = f"{len(simulated)} simulated ECGs (no recordings were given)"
        return TrialSet(tuple(simulated[::2]), tuple(simulated[1::2]), source)
    labels, table = ((), {}) if truth is None else _read_truth(truth)
    found = [(record, paths) for record, paths in _find(folder) if not table or record in table]
    if truth is not None:
        _check_told_apart(found, truth)
    random.Random(0).shuffle(found)
    taken: list[tuple[str, Recording]] = []
    for record, paths in found:
        if len(taken) == most:
            break
        recording = _first_usable(paths, preprocessing)
        if recording is not None:
            taken.append((record, recording))
    if len(taken) < LEAST:
        what = "WFDB, EDF, CSV or NPY recordings" + (f" that {truth} knows" if table else "")
        raise InputError(
            f"expected at least {LEAST} {what} below {folder}, found {len(taken)} that this model can take among "
            f"{len(found)}; give more, or leave --recordings out to use simulated ones."
        )
    measuring = taken[1::2]
    known = np.array([table[record] for record, _ in measuring], np.float32) if table else None
    return TrialSet(
        calibration=tuple(recording for _, recording in taken[::2]),
        measuring=tuple(recording for _, recording in measuring),
        source=f"{len(taken)} of {len(found)} recordings below {folder.name}",
        labels=labels,
        truth=known,
    )


def _find(folder: Path) -> list[tuple[str, list[Path]]]:
    """Each record below `folder`, and the files that may hold it, of which the first that can be used counts."""
    if not folder.is_dir():
        raise InputError(f"expected a folder of recordings at {folder}, found none; check the path.")
    found: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in READ and path.is_file()):
        found.setdefault((path.parent, _record(path.name)), []).append(path)
    return [
        (record, sorted(paths, key=lambda path: READ.index(path.suffix.lower())))
        for (_, record), paths in found.items()
    ]


def _record(name: str) -> str:
    """A file's name without the ending of a recording; other dots are the record's own."""
    return Path(name).stem if Path(name).suffix.lower() in READ else name


def _check_told_apart(found: Sequence[tuple[str, Sequence[Path]]], truth: Path) -> None:
    """Raises InputError where the truth of one record would be that of two recordings."""
    first: dict[str, Path] = {}
    for record, (path, *_) in found:
        if first.setdefault(record, path) != path:
            raise InputError(
                f"expected one recording of each record in {truth}, found {first[record]} and {path}; give the folder "
                "of one of them as --recordings, or names that differ."
            )


def _first_usable(paths: Iterable[Path], preprocessing: Preprocessing) -> Recording | None:
    """The recording, or None where none is an ECG for this model; folders hold other tables too."""
    worth_reading = preprocessing.samples / preprocessing.fs + 2  # seconds; a recording may be a day long
    for path in paths:
        with contextlib.suppress(InputError):
            recording = read_recording(path, seconds=worth_reading)
            prepare_window(recording, preprocessing)
            return recording
    return None


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
            table: dict[str, list[float]] = {}
            for row in rows:
                record = _record(Path(row["record"]).name)
                if record in table:
                    raise ValueError(f"{record[:40]!r} is there twice")
                table[record] = list(_cells(row, labels))
            if not table:
                raise ValueError("there is no row")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{wanted}, could not read it ({error}); mend it.") from None
    return labels, table


def _cells(row: dict[str, str], labels: Sequence[str]) -> Iterator[float]:
    for label in labels:
        text = (row[label] or "").strip()
        if text not in ("", "0", "1"):
            raise ValueError(f"{text[:20]!r} for {label} of {row['record'][:40]}")
        yield float(text) if text else float("nan")
