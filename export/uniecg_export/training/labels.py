"""PTB-XL's annotations as uniecg-nano's label vector.

Works from the published layout (ptbxl_database.csv and scp_statements.csv) and, for records whose
SCP codes are not at hand, from label tables per category (labels_super_class.csv and so on).
"""

from __future__ import annotations

import ast
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_export.families.uniecg_nano_prompt import LABELS, SUPERCLASSES

NAMES = tuple(LABELS)
# Columns of the label tables, and diagnostic subclasses, under our label.
SYNONYMS = {
    "LAFB/LPFB": "LAFB",
    "LAO/LAE": "LAE",
    "ISC_": "ISC",
    "ISCI": "ISC",
    "ISCA": "ISC",
    "_AVB": "AVB",
    "STD_": "STD",
}


@dataclass(frozen=True, eq=False)
class Annotation:
    """Labels (31,) of 0 and 1, which of them are known (31,), and the patient."""

    labels: NDArray[np.float32]
    known: NDArray[np.float32]
    fold: int
    age: float | None
    sex: str | None


def read_annotations(folder: Path) -> dict[int, Annotation]:
    """All annotated records under a PTB-XL folder, by ecg_id."""
    database = next(p for n in ("ptbxl_database.csv", "database.csv") if (p := folder / n).exists())
    statements = {row[""]: row for row in _rows(folder / "scp_statements.csv")}
    found: dict[int, Annotation] = {}
    for ecg_id, (names, fold) in _from_tables(folder).items():
        found[ecg_id] = _annotation(names, fold, None, None)
    for row in _rows(database):
        names = _from_codes(ast.literal_eval(row["scp_codes"]), statements)
        age = float(row["age"]) if row["age"] else None
        # PTB-XL writes 300 for ages above 89, to protect privacy.
        age = None if age is not None and age > 120 else age
        sex = {"0": "male", "1": "female"}.get(row["sex"])
        found[int(float(row["ecg_id"]))] = _annotation(names, int(row["strat_fold"]), age, sex)
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _from_codes(codes: dict[str, float], statements: dict[str, dict[str, str]]) -> set[str]:
    names: set[str] = set()
    for code in codes:
        row = statements.get(code, {})
        names |= {code, row.get("diagnostic_class", ""), row.get("diagnostic_subclass", "")}
    return {SYNONYMS.get(name, name) for name in names}


def _from_tables(folder: Path) -> dict[int, tuple[set[str], int]]:
    found: dict[int, tuple[set[str], int]] = {}
    for category in ("super_class", "sub_class", "rhythm", "form"):
        path = folder / f"labels_{category}.csv"
        for row in _rows(path) if path.exists() else ():
            names, _ = found.setdefault(int(row["ecg_id"]), (set(), int(row["strat_fold"])))
            names |= {SYNONYMS.get(key, key) for key, value in row.items() if key.isupper() and value == "1"}
    return found


def _annotation(names: set[str], fold: int, age: float | None, sex: str | None) -> Annotation:
    labels = np.array([name in names for name in NAMES], np.float32)
    known = np.ones(len(NAMES), np.float32)
    if not any(name in names for name in SUPERCLASSES):
        known[: len(SUPERCLASSES)] = 0.0  # only a rhythm or form was annotated
    return Annotation(labels, known, fold, age, sex)
