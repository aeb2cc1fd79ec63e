"""`uniecg measure` as a person or a program meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.formats.write import write_csv, write_wfdb
from uniecg_runtime.results import DISCLAIMER


def measure(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = "from uniecg_runtime.cli import main; main()"
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "measure", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "200", "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recording = simulate(ParametricEcg(heart_rate=72.0), 12.0, 250.0, 3)
    return write_wfdb(recording, tmp_path_factory.mktemp("records") / "made.hea")


def test_the_matrix_is_printed_with_its_units_and_the_disclaimer(record: Path) -> None:
    result = measure(record)
    assert result.returncode == 0, result.stderr
    assert "12 leads, 250 Hz, 12.0 s, SYNTHETIC" in result.stdout and DISCLAIMER in result.stdout
    for words in ("HR", "72", "QTc Fridericia", "QRS axis", "J+60", "aVR"):
        assert words in result.stdout


def test_json_is_one_object_per_record_and_a_bad_one_does_not_stop_the_others(record: Path, tmp_path: Path) -> None:
    table = write_csv(simulate(ParametricEcg(heart_rate=95.0), 8.0, 500.0, 4), tmp_path / "fast.csv")
    result = measure(record, tmp_path / "nowhere.hea", table, "--json")
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1 and "nowhere.hea" in result.stderr
    made, fast = map(json.loads, result.stdout.splitlines())
    assert made["record"] == str(record) and made["fs"] == 250 and made["synthetic"] is True
    assert made["measurements"]["heart_rate"]["value"] == pytest.approx(72, abs=2)
    assert fast["measurements"]["heart_rate"]["value"] == pytest.approx(95, abs=2)
    assert set(made["measurements"]["pr"]) == {"value", "unit", "quality", "leads", "reason"}
    assert made["disclaimer"] == DISCLAIMER and made["quality"]["acceptable"] is True
    assert list(made["waves"]) == list(LEADS) == list(made["leads"])
    for lead in made["waves"].values():
        assert all(len(lead[wave]) == len(made["beats"]) for wave in ("p", "qrs", "t"))
    qrs = np.array(made["waves"]["II"]["qrs"])
    assert (np.abs(qrs[1:-1, 1] - made["beats"][1:-1]) < 25).all()


def test_it_says_what_found_the_waves_and_a_bundle_that_cannot_is_refused(record: Path, bundle: Bundle) -> None:
    manifest = bundle.manifest
    learned, ruled = (json.loads(measure(record, "--json", *more).stdout) for more in ((), ("--rules",)))
    assert learned["waves_by"] == f"{manifest.name} {manifest.version}" and ruled["waves_by"] == "rules"
    assert learned["beats"] == ruled["beats"] and learned["waves"] != ruled["waves"]
    assert "waves by rules" in measure(record, "--rules").stdout
    result = measure(record, "--bundle", record.parent)
    assert result.returncode == 1 and "manifest.json" in result.stderr and "Traceback" not in result.stderr


def test_annotations_are_what_json_says(record: Path, tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    result = measure(record, "--annotations", tmp_path, "--json")
    made = json.loads(result.stdout)
    assert len(made["files"]) == 13
    assert wfdb.rdann(str(tmp_path / "made"), "qrs").sample.tolist() == made["beats"]
    read = wfdb.rdann(str(tmp_path / "made"), "v2")
    peaks = read.sample[np.array(read.symbol) == "t"].tolist()
    assert peaks == [wave[1] for wave in made["waves"]["V2"]["t"] if wave[1] >= 0]


def test_annotations_never_take_the_place_of_others(record: Path, tmp_path: Path) -> None:
    assert "another folder" in measure(record, "--annotations", record.parent).stderr
    again = measure(record, record, "--annotations", tmp_path)
    assert again.returncode == 1 and "two records are called made" in again.stderr
    assert "expected a folder" in measure(record, "--annotations", tmp_path / "nowhere").stderr


def test_a_flat_record_is_an_answer_with_reasons(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros((2, 2000), np.float32))
    result = measure(tmp_path / "flat.npy", "--fs", "500", "--units", "mV", "--leads", "I,II", "--json")
    assert result.returncode == 0, result.stderr
    flat = json.loads(result.stdout)
    assert flat["beats"] == [] and flat["measurements"]["qrs"]["reason"] == "no beat found"
    assert flat["quality"]["acceptable"] is False
