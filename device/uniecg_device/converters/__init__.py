"""A recording as files that other programs read: counts as the device sent them, gaps and electrodes annotated."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from uniecg_device.converters.to_csv import write_csv
from uniecg_device.converters.to_edf import write_edf
from uniecg_device.converters.to_wfdb import write_wfdb
from uniecg_device.errors import InputError
from uniecg_device.recording_store import Store

Format = Literal["wfdb", "edf", "csv"]
FORMATS: tuple[str, ...] = get_args(Format)
_WRITERS = {"wfdb": write_wfdb, "edf": write_edf, "csv": write_csv}


def convert(store: Store, to: str, out: str | Path) -> Path:
    """Writes the recording as WFDB (x.hea), EDF+ (x.edf, or x.bdf for 24-bit counts) or CSV (x.csv); returns its path.

    Nothing is left under that name where it fails. Raises InputError for a name that does not fit the format, a
    recording that the format cannot hold without loss, and a file that cannot be written.
    """
    if to not in _WRITERS:
        raise InputError(f"expected one of {', '.join(FORMATS)} to convert to, found {to!r}")
    if store.span == 0:
        raise InputError(f"{store.path.name} holds no samples to convert")
    return _WRITERS[to](store, Path(out))
