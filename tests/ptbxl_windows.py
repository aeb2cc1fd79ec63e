"""Windows of real recordings, as an encoder takes them: PTB-XL's raw records, by fold."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.manifest import Preprocessing
from uniecg_runtime.signal.window import prepare_window


def read_windows(
    data: Path, preprocessing: Preprocessing, folds: Collection[int], count: int
) -> list[dict[str, NDArray[np.float32]]]:
    """`signal` (1, leads, samples) of `count` records spread evenly over the folds. data: the folder of recordings."""
    folder = data / "ptbxl"
    table = next(path for name in ("ptbxl_database.csv", "database.csv") if (path := folder / name).is_file())
    with table.open(newline="", encoding="utf-8") as file:
        numbers = [int(float(row["ecg_id"])) for row in csv.DictReader(file) if int(row["strat_fold"]) in folds]
    held = {int(path.stem[:5]): path for path in (folder / "records500").rglob("*_hr.hea")}
    paths = [held[n] for n in numbers if n in held]
    chosen = np.linspace(0, len(paths) - 1, count).round().astype(int)
    return [{"signal": prepare_window(read_recording(paths[i]), preprocessing).signal[None]} for i in chosen]
