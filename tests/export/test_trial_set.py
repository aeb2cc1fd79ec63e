"""Which recordings an artifact is tried on, and what is true of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_export.families.uniecg_nano import NanoConfig
from uniecg_export.families.uniecg_nano_prompt import preprocessing
from uniecg_export.trial_set import read_trial_set

PREPROCESSING = preprocessing(NanoConfig())


def write(folder: Path, name: str, seed: int) -> None:
    """A recording as CSV, 250 Hz, mV."""
    recording = simulate(ParametricEcg(heart_rate=60 + seed), 10.0, 250.0, seed)
    header = ",".join(recording.leads)
    np.savetxt(folder / f"{name}.csv", recording.signal.T, "%.4f", ",", header=header, comments="")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten recordings, and files that are none."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "deep").mkdir()
    for k in range(10):
        write(folder / "deep", f"r{k}", k)
    (folder / "notes.csv").write_text("this,is\nno,ecg\n")
    (folder / "readme.txt").write_text("hello")
    return folder


@pytest.fixture(autouse=True)
def rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """CSV files do not say their rate; the tests' are at 250 Hz."""
    from uniecg_export import trial_set
    from uniecg_runtime.formats.read import read_recording

    monkeypatch.setattr(trial_set, "read_recording", lambda path, **k: read_recording(path, fs=250.0, units="mV", **k))


def test_without_recordings_simulated_ones_are_used_and_said_to_be() -> None:
    tried = read_trial_set(None, PREPROCESSING, most=20)
    assert "simulated" in tried.source and tried.truth is None
    assert len(tried.calibration) == len(tried.measuring) == 5
    assert all(r.synthetic for r in (*tried.calibration, *tried.measuring))


def test_recordings_are_halved_between_calibration_and_measuring_without_overlap(folder: Path) -> None:
    tried = read_trial_set(folder, PREPROCESSING)
    names = [[r.name for r in half] for half in (tried.calibration, tried.measuring)]
    assert len(names[0]) == len(names[1]) == 5 and not set(names[0]) & set(names[1])
    assert "10 of 11 recordings" in tried.source
    again = read_trial_set(folder, PREPROCESSING)
    assert [r.name for r in again.measuring] == names[1]


def test_truth_follows_the_recordings_and_records_without_it_are_left_out(folder: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    truth.write_text("record,AFIB,NORM\n" + "".join(f"r{k}.csv,{k % 2},\n" for k in range(9)))
    tried = read_trial_set(folder, PREPROCESSING, truth)
    assert tried.labels == ("AFIB", "NORM") and tried.truth is not None
    assert tried.truth.shape == (len(tried.measuring), 2) and len(tried.measuring) == 4
    for recording, row in zip(tried.measuring, tried.truth, strict=True):
        assert row[0] == int(Path(recording.name).stem[1:]) % 2 and np.isnan(row[1])


@pytest.mark.parametrize(
    "table",
    [
        "",
        "name,AFIB\nr0,1\n",
        "record\nr0\n",
        "record,AFIB\nr0,yes\n",
        "record,AFIB,AFIB\nr0,1,1\n",
    ],
)
def test_a_table_that_is_no_truth_is_one_clear_error(folder: Path, tmp_path: Path, table: str) -> None:
    truth = tmp_path / "truth.csv"
    truth.write_text(table)
    with pytest.raises(InputError, match="expected a CSV table"):
        read_trial_set(folder, PREPROCESSING, truth)


def test_too_few_recordings_are_an_error_that_counts_them(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "r0.csv").write_bytes((folder / "deep" / "r0.csv").read_bytes())
    with pytest.raises(InputError, match=r"at least 8 .* found 1"):
        read_trial_set(tmp_path, PREPROCESSING)
    with pytest.raises(InputError, match="a folder of recordings"):
        read_trial_set(tmp_path / "nowhere", PREPROCESSING)
    with pytest.raises(InputError, match="--recordings with --truth"):
        read_trial_set(None, PREPROCESSING, folder / "notes.csv")
