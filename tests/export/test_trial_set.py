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


def test_a_record_with_a_dot_in_its_name_has_its_own_truth(tmp_path: Path) -> None:
    for k in range(8):
        write(tmp_path, f"r.v{k}", k)
    truth = tmp_path / "truth.txt"
    truth.write_text("record,AFIB\n" + "".join(f"deep/r.v{k}{'.CSV' * (k > 3)},{k % 2}\n" for k in range(8)))
    tried = read_trial_set(tmp_path, PREPROCESSING, truth)
    assert tried.truth is not None and len(tried.truth) == 4
    assert all(row == int(r.name.split("v")[1][0]) % 2 for r, [row] in zip(tried.measuring, tried.truth, strict=True))


def test_files_of_one_record_are_one_recording_from_the_first_that_can_be_used(tmp_path: Path) -> None:
    for k in range(8):
        write(tmp_path, f"r{k}", k)
        (tmp_path / f"r{k}.tsv").write_bytes((tmp_path / f"r{k}.csv").read_bytes().replace(b",", b"\t"))
        np.save(tmp_path / f"r{k}.npy", np.zeros(3))
    (tmp_path / "..csv").touch()
    tried = read_trial_set(tmp_path, PREPROCESSING)
    assert sorted(r.name for r in (*tried.calibration, *tried.measuring)) == [f"r{k}" for k in range(8)]
    assert "8 of 9 recordings" in tried.source


def test_two_recordings_never_share_the_truth_of_one_record(tmp_path: Path) -> None:
    for clinic in ("a", "b"):
        (tmp_path / clinic).mkdir()
        for k in range(4):
            write(tmp_path / clinic, f"r{k}", k)
    truth = tmp_path / "truth.txt"
    truth.write_text("record,AFIB\n" + "".join(f"r{k},1\n" for k in range(4)))
    assert len(read_trial_set(tmp_path, PREPROCESSING).measuring) == 4
    with pytest.raises(InputError, match=r"one recording of each record in .* found .*a/r0\.csv and .*b/r0\.csv"):
        read_trial_set(tmp_path, PREPROCESSING, truth)


def test_for_a_model_that_takes_no_recordings_none_are_read(tmp_path: Path) -> None:
    tried = read_trial_set(tmp_path / "nowhere", None)
    assert not tried.measuring and not tried.calibration and "takes none" in tried.source


@pytest.mark.parametrize(
    "table",
    [
        "",
        "name,AFIB\nr0,1\n",
        "record\nr0\n",
        "record,AFIB\nr0,yes\n",
        "record,AFIB,AFIB\nr0,1,1\n",
        "record,AFIB\n",
        "record,AFIB\nr0,1\nr0.csv,0\n",
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
