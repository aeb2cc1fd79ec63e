"""PTB-XL's annotations: from the published layout, from label tables, and from the folders of real records."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `export`")

from needs import recordings
from uniecg_export.training.labels import NAMES, Annotation, read_annotations

STATEMENTS = (
    ("", "description", "diagnostic_class", "diagnostic_subclass"),
    ("NORM", "normal ECG", "NORM", "NORM"),
    ("ASMI", "anteroseptal myocardial infarction", "MI", "AMI"),
    ("ILMI", "inferolateral myocardial infarction", "MI", "IMI"),
    ("1AVB", "first degree AV block", "CD", "_AVB"),
    ("ISCAL", "ischemic in anterolateral leads", "STTC", "ISCA"),
    ("LAO/LAE", "left atrial overload", "HYP", "LAO/LAE"),
    ("STD_", "non-specific ST depression", "", ""),
    ("AFIB", "atrial fibrillation", "", ""),
    ("SR", "sinus rhythm", "", ""),
)
DATABASE = ("ecg_id", "age", "sex", "scp_codes", "strat_fold")


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_tree(folder: Path, *records: Sequence[object], database: str = "ptbxl_database.csv") -> Path:
    """A PTB-XL folder as published, without signals."""
    write_csv(folder / "scp_statements.csv", STATEMENTS)
    write_csv(folder / database, [DATABASE, *records])
    return folder


def names(annotation: Annotation) -> set[str]:
    return {name for name, value in zip(NAMES, annotation.labels, strict=True) if value}


def unknown(annotation: Annotation) -> set[str]:
    return {name for name, value in zip(NAMES, annotation.known, strict=True) if not value}


def test_scp_codes_become_labels_with_their_subclass_and_superclass(tmp_path: Path) -> None:
    found = read_annotations(
        write_tree(
            tmp_path,
            (1, "56.0", "1", {"NORM": 100.0, "SR": 0.0}, 3),
            (2, "71.0", "0", {"ASMI": 80.0, "AFIB": 0.0}, 9),
            (3, "40.0", "0", {"ISCAL": 50.0, "LAO/LAE": 50.0, "1AVB": 100.0}, 10),
        )
    )
    assert names(found[1]) == {"NORM", "SR"}
    assert names(found[2]) == {"MI", "AMI", "AFIB"}
    assert names(found[3]) == {"STTC", "ISC", "HYP", "LAE", "CD", "AVB"}
    assert [found[k].fold for k in (1, 2, 3)] == [3, 9, 10]


def test_sex_is_0_for_male_and_1_for_female_and_may_be_missing(tmp_path: Path) -> None:
    rows = [(k, "50.0", sex, {"SR": 0.0}, 1) for k, sex in enumerate(("0", "1", ""))]
    found = read_annotations(write_tree(tmp_path, *rows))
    assert [found[k].sex for k in range(3)] == ["male", "female", None]


def test_the_age_300_that_stands_for_above_89_counts_as_unknown(tmp_path: Path) -> None:
    rows = [(k, age, "0", {"SR": 0.0}, 1) for k, age in enumerate(("300.0", "89.0", "", "0"))]
    found = read_annotations(write_tree(tmp_path, *rows))
    assert [found[k].age for k in range(4)] == [None, 89.0, None, 0.0]


def test_superclasses_are_unknown_where_only_a_rhythm_or_a_form_was_annotated(tmp_path: Path) -> None:
    found = read_annotations(write_tree(tmp_path, (1, "", "0", {"AFIB": 0.0, "STD_": 0.0}, 1)))
    assert names(found[1]) == {"AFIB", "STD"}
    assert unknown(found[1]) == {"NORM", "MI", "STTC", "CD", "HYP"}


def test_a_code_outside_the_statements_changes_nothing(tmp_path: Path) -> None:
    found = read_annotations(write_tree(tmp_path, (1, "", "0", {"SR": 0.0, "XYZ": 100.0}, 1)))
    assert names(found[1]) == {"SR"}


def test_label_tables_serve_where_the_database_has_no_row(tmp_path: Path) -> None:
    write_tree(tmp_path, (1, "56.0", "1", {"NORM": 100.0}, 3), database="database.csv")
    head = ("ecg_id", "strat_fold")
    write_csv(tmp_path / "labels_super_class.csv", [(*head, "MI", "NORM", "HYP"), (1, 3, 1, 0, 0), (2, 9, 1, 0, 1)])
    write_csv(tmp_path / "labels_sub_class.csv", [(*head, "IMI", "LAO/LAE", "LAFB/LPFB", "ISCA"), (2, 9, 1, 1, 1, 1)])
    write_csv(tmp_path / "labels_rhythm.csv", [(*head, "rhythm", "SR"), (2, 9, "['SR']", 1), (4, 5, "['SR']", 1)])
    found = read_annotations(tmp_path)
    assert names(found[1]) == {"NORM"}, "the database's own codes win"
    assert names(found[2]) == {"MI", "HYP", "IMI", "LAE", "LAFB", "ISC", "SR"}
    assert (found[2].fold, found[2].age, found[2].sex) == (9, None, None)
    assert found[4].fold == 5
    assert unknown(found[4]) == {"NORM", "MI", "STTC", "CD", "HYP"}


def test_fold_9_of_the_real_records_shares_no_record_and_no_patient_with_the_training_folds() -> None:
    annotations = read_annotations(recordings("ptbxl"))
    raw = {int(path.stem.split("_")[0]) for path in (recordings("ptbxl")).rglob("records500/**/*.hea")}
    with (recordings("ptbxl_zscored") / "index.csv").open(newline="") as file:
        zscored = {int(row["ecg_id"]): int(row["strat_fold"]) for row in csv.DictReader(file)}
    assert {ecg_id: annotations[ecg_id].fold for ecg_id in zscored} == zscored
    patients = _patients(recordings("ptbxl"))
    for ids in (raw, zscored.keys()):
        assert any(annotations[ecg_id].fold == 9 for ecg_id in ids)
    everything = raw | zscored.keys()
    held = {ecg_id for ecg_id in everything if annotations[ecg_id].fold == 9}
    train = everything - held
    assert {annotations[ecg_id].fold for ecg_id in train} == set(range(1, 9))
    assert not {patients[ecg_id] for ecg_id in held} & {patients[ecg_id] for ecg_id in train}
    for name in ("NORM", "MI", "STTC", "CD", "HYP", "SR", "AFIB"):
        assert any(name in names(annotations[ecg_id]) for ecg_id in held), name


def _patients(folder: Path) -> dict[int, float]:
    found: dict[int, float] = {}
    for path in (folder / "database.csv", *sorted(folder.glob("labels_*.csv"))):
        with path.open(newline="", encoding="utf-8") as file:
            found |= {int(float(row["ecg_id"])): float(row["patient_id"]) for row in csv.DictReader(file)}
    return found


def test_every_label_is_written_once_and_the_superclasses_come_first() -> None:
    assert NAMES[:5] == ("NORM", "MI", "STTC", "CD", "HYP")
    assert len(set(NAMES)) == len(NAMES) == 31
