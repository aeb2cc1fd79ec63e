"""Recordings in and out of files: WFDB, EDF, CSV, NPY, and ECG paper as PNG."""

from __future__ import annotations

from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.formats.write import write_csv, write_wfdb

__all__ = ["read_recording", "write_csv", "write_wfdb"]
