"""Write a recording as WFDB (format 16) or CSV. Generated ones carry the synthetic mark in their first comment."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.files import replacing
from uniecg_runtime.formats.labels import header_comments

_RECORD_NAME = re.compile(r"^[A-Za-z0-9_-]+$")
_GAINS = (4000, 2000, 1000, 500, 200, 100, 50, 20, 10, 5, 2, 1)  # counts per mV
_FULL_SCALE = 32000
_MISSING = -32768


def write_wfdb(recording: Recording, path: str | Path) -> Path:
    """Write `NAME.hea` and `NAME.dat` beside it; returns the header's path.

    The gain is the finest of a row of round ones that does not clip, 4000 per mV where nothing exceeds 8 mV.
    Limb leads that obey Einthoven's law obey it exactly in the stored counts too. NaN is stored as
    WFDB's invalid sample. Raises InputError for a name that WFDB does not allow and where it cannot be written; what
    was there before then stays as it was.
    """
    header = Path(path)
    if header.suffix.lower() != ".hea":
        raise InputError(f"A WFDB record is written to a .hea file, not to {header.name}.")
    name = header.stem
    if not _RECORD_NAME.match(name):
        raise InputError(f"The WFDB record name {name!r} may hold letters, digits, - and _ only.")
    counts, gain, baselines = _counts(recording)
    lines = [f"{name} {len(recording.leads)} {recording.fs:.12g} {counts.shape[1]}"]
    unit = "mV" if recording.units == "mV" else "NU"
    for lead, row, baseline in zip(recording.leads, counts, baselines, strict=True):
        checksum = int(np.int64(row.sum(dtype=np.int64)).astype(np.int16))
        first = int(row[0]) if row.size else 0
        lines.append(f"{name}.dat 16 {gain:g}({baseline})/{unit} 16 0 {first} {checksum} 0 {lead}")
    lines += [f"# {comment}" for comment in header_comments(recording)]
    text = "\n".join([*lines, ""]).encode("utf-8", "replace")
    try:
        with replacing(header) as described, replacing(header.with_suffix(".dat")) as stored:
            stored.write_bytes(counts.T.astype("<i2").tobytes())
            described.write_bytes(text)  # both are whole before either takes its place
    except OSError as error:
        raise InputError(f"Cannot write {header}: {error.strerror or error}.") from None
    return header


def _counts(recording: Recording) -> tuple[NDArray[np.int16], float, list[int]]:
    """Stored integers (leads, samples), counts per unit, and the count of zero per lead."""
    signal = np.where(np.isfinite(recording.signal), recording.signal, np.float32(np.nan)).astype(np.float64)
    missing = np.isnan(signal)
    low, high = _range(signal, missing)
    largest = float(np.maximum(np.abs(low), np.abs(high)).max(initial=0.0))
    baselines = np.zeros(len(signal), np.int64)
    if largest * _GAINS[2] <= _FULL_SCALE:
        gain = _gain(largest)
    else:  # an electrode's offset would eat the resolution: store around the middle of each lead
        gain = _gain(float((high - low).max(initial=0.0)) / 2)
        baselines = -np.rint((high + low) / 2 * gain).astype(np.int64)
    # The limb leads that follow Einthoven are rounded together, so that the law survives rounding.
    counts = np.rint(np.nan_to_num(signal) * gain) + baselines[:, None]
    if not baselines.any() and _obeys_einthoven(recording, signal):
        counts[[recording.leads.index(lead) for lead in LEADS[:6]]] = _limb_counts(recording, signal, gain)
    stored = np.clip(counts, -_FULL_SCALE - 700, _FULL_SCALE + 700).astype(np.int16)
    stored[missing] = _MISSING
    return stored, gain, [int(b) for b in baselines]


def _range(signal: NDArray[np.float64], missing: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low = np.where(missing, np.inf, signal).min(axis=1, initial=np.inf)
    high = np.where(missing, -np.inf, signal).max(axis=1, initial=-np.inf)
    empty = ~np.isfinite(low)
    return np.where(empty, 0.0, low), np.where(empty, 0.0, high)


def _gain(largest: float) -> float:
    for gain in _GAINS:
        if largest * gain <= _FULL_SCALE:
            return float(gain)
    return float(f"{_FULL_SCALE / largest:.3g}") * 0.99


def _obeys_einthoven(recording: Recording, signal: NDArray[np.float64]) -> bool:
    if not set(LEADS[:6]) <= set(recording.leads):
        return False
    rows = {lead: np.nan_to_num(signal[recording.leads.index(lead)]) for lead in LEADS[:6]}
    i, ii = rows["I"], rows["II"]
    derived = {"III": ii - i, "aVR": -(i + ii) / 2, "aVL": i - ii / 2, "aVF": ii - i / 2}
    return all(np.abs(rows[lead] - expected).max(initial=0.0) < 1e-5 for lead, expected in derived.items())


def _limb_counts(recording: Recording, signal: NDArray[np.float64], gain: float) -> NDArray[np.float64]:
    """I and II to the nearest even count, so that the augmented leads' halves are whole."""
    i, ii = (2 * np.rint(np.nan_to_num(signal[recording.leads.index(lead)]) * gain / 2) for lead in ("I", "II"))
    return np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2])


def write_csv(recording: Recording, path: str | Path) -> Path:
    """Write comments, a header row ("time (s)", "I (mV)", ...) and one row per sample; NaN is an empty cell.

    Returns the path. Raises InputError where it cannot be written; what was there before then stays as it was.
    """
    file = Path(path)
    unit = recording.units
    head = [f"# {comment}" for comment in (*header_comments(recording), f"fs: {recording.fs:.12g}")]
    head.append(",".join(["time (s)", *(f"{lead} ({unit})" for lead in recording.leads)]))
    try:
        with replacing(file) as part, part.open("w", encoding="utf-8", errors="replace", newline="\n") as out:
            out.write("\n".join(head) + "\n")
            for index, row in enumerate(recording.signal.T.tolist()):
                cells = ("" if value != value else f"{value:.7g}" for value in row)
                out.write(f"{index / recording.fs:.6f},{','.join(cells)}\n")
    except OSError as error:
        raise InputError(f"Cannot write {file}: {error.strerror or error}.") from None
    return file
