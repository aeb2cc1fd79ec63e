"""CSV: a row per sample with its position, counts and millivolts; missing samples have no row."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uniecg_device.converters.notes import Note, annotated, new_files, provenance
from uniecg_device.counts import to_millivolts
from uniecg_device.errors import InputError
from uniecg_device.recording_store import Piece, Store


def write_csv(store: Store, path: Path) -> Path:
    """Comment lines, a header row, a row per sample. Raises InputError.

    Columns: position, time (s) since position 0, `I (mV)` and so on per channel, `I count` per channel as the device
    sent it, `missing` samples before this row, and `note`: electrodes and reconnects. Millivolts are those of the
    channel alone and are there while its electrode is off too; the note says what they are worth.
    """
    if path.suffix.lower() != ".csv":
        raise InputError(f"a table is written to a .csv file, not to {path.name}")
    about = store.description
    head = [f"# {line}" for line in provenance(store)] + [f"# fs: {about.fs:.12g}"]
    names = [f"{lead} (mV)" for lead in about.leads] + [f"{lead} count" for lead in about.leads]
    head.append(",".join(["position", "time (s)", *names, "missing", "note"]))
    channels = len(about.channels)
    form = ",".join(["%d", "%.6f", *["%.7g"] * channels, *["%d"] * channels, ""])
    with new_files(path) as (file,):
        file.write(("\n".join(head) + "\n").encode())
        for piece, notes in annotated(store):
            file.write(_rows(store, piece, notes, form).encode())
    return path


def _rows(store: Store, piece: Piece, notes: list[Note], form: str) -> str:
    about = store.description
    tails = _tails(piece, notes)
    millivolts = to_millivolts(piece.counts, about.offset, about.mv_per_count)
    positions = np.arange(piece.position, piece.end)
    columns = [positions, positions / about.fs, *millivolts, *piece.counts]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return "".join(f"{form % row}{tails.get(row[0], ',')}\n" for row in rows)


def _tails(piece: Piece, notes: list[Note]) -> dict[int, str]:
    """The last two cells of the rows in which they are not empty."""
    missing, texts = "", dict[int, list[str]]()
    for note in notes:
        if note.samples:
            missing = str(note.samples)
        else:
            texts.setdefault(max(note.position, piece.position), []).append(note.text.replace('"', "'"))
    tails = {position: f',"{"; ".join(text)}"' for position, text in texts.items()}
    return tails | {piece.position: missing + tails.get(piece.position, ",")}
