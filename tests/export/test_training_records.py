"""Training records out of folders laid out as the data sets are, through the runtime's own preprocessing."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("wfdb", reason="needs the extra `files`")

from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_export.families.uniecg_nano import NanoConfig
from uniecg_export.families.uniecg_nano_prompt import preprocessing
from uniecg_export.training.records import CINC2011_LEADS, load_records, load_simulated
from uniecg_runtime.formats.write import write_wfdb
from uniecg_runtime.signal.window import prepare_window

CONFIG = NanoConfig()


def ecg(seed: int, fs: float = 500.0) -> Recording:
    return simulate(ParametricEcg(heart_rate=60 + 5 * seed), 10.0, fs, seed)


def write_csv(path: Path, *rows: Sequence[object]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four PTB-XL records (one flat, one of fold 10), two z-scored ones, one of CODE-15, three of CinC 2011."""
    folder = tmp_path_factory.mktemp("data")
    records = folder / "ptbxl" / "records500" / "00000"
    records.mkdir(parents=True)
    write_csv(folder / "ptbxl" / "scp_statements.csv", ("", "diagnostic_class", "diagnostic_subclass"))
    write_csv(
        folder / "ptbxl" / "ptbxl_database.csv",
        ("ecg_id", "age", "sex", "scp_codes", "strat_fold"),
        *((k, age, k % 2, {"SR": 0.0}, fold) for k, age, fold in ((1, 56, 1), (2, 300, 9), (3, 70, 10), (4, 41, 2))),
        (5, 33, 1, {"AFIB": 0.0}, 3),
        (6, 33, 1, {"AFIB": 0.0}, 10),
    )
    for k in (1, 2, 3):
        write_wfdb(ecg(k), records / f"{k:05d}_hr.hea")
    write_wfdb(Recording(np.full((12, 5000), 0.25, np.float32), 500.0, LEADS), records / "00004_hr.hea")
    (folder / "ptbxl_zscored").mkdir()
    zscored = np.stack([s / s.std(1, keepdims=True) for s in (ecg(k, 125.0).signal for k in (5, 6))])
    np.save(folder / "ptbxl_zscored" / "x_int16_125hz.npy", np.round(zscored * 1000).astype(np.int16))
    write_csv(folder / "ptbxl_zscored" / "index.csv", ("row", "ecg_id", "strat_fold"), (0, 5, 3), (1, 6, 10))
    (folder / "code15_samitrop").mkdir()
    write_wfdb(ecg(7, 400.0), folder / "code15_samitrop" / "e7.hea")
    (folder / "cinc2011").mkdir()
    stored = np.stack([ecg(k).signal[[LEADS.index(lead) for lead in CINC2011_LEADS]] for k in (8, 9, 10)])
    np.save(folder / "cinc2011" / "x_int16_adu200permV.npy", np.round(stored * 200).astype(np.int16))
    rows = ((0, "a", "acceptable", 0), (1, "b", "unacceptable", 0), (2, "c", "acceptable", 2))
    write_csv(folder / "cinc2011" / "index.csv", ("row", "record", "quality", "n_leads_railed"), *rows)
    return folder


def test_every_source_is_read_fold_10_is_not_and_a_refused_record_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = load_records(data, tmp_path / "records.npz", CONFIG)
    assert found.names == ("00001_hr", "00002_hr", "00005_z", "e7", "a")
    assert found.source == ("ptbxl", "ptbxl", "ptbxl_zscored", "code15_samitrop", "cinc2011")
    assert found.fold.tolist() == [1, 9, 3, 0, 0]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("left out 00004_hr: ")
    np.testing.assert_array_equal(found.age, np.array([56, np.nan, 33, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(found.sex, np.array([0, 1, 0, np.nan, np.nan], np.float32))
    assert found.known.max(1).tolist() == [1, 1, 1, 0, 0]


def test_signals_are_the_runtimes_own_windows_in_the_right_lead_order(data: Path, tmp_path: Path) -> None:
    found = load_records(data, tmp_path / "records.npz", CONFIG)
    for name, recording in (("00001_hr", ecg(1)), ("e7", ecg(7, 400.0)), ("a", ecg(8))):
        row = found.names.index(name)
        window = prepare_window(recording, preprocessing(CONFIG))
        for lead in range(12):
            assert np.corrcoef(found.signal[row, lead], window.signal[lead])[0, 1] > 0.99, (name, LEADS[lead])
        np.testing.assert_allclose(found.lead_facts[row], window.lead_facts, atol=0.02)
    assert found.lead_facts[found.names.index("00005_z"), :, 1].max() == 0, "z-scored leads have no known scale"


def test_beats_are_counted_on_the_models_clock(data: Path, tmp_path: Path) -> None:
    found = load_records(data, tmp_path / "records.npz", CONFIG)
    for name, rate in (("00001_hr", 65), ("00005_z", 85), ("e7", 95), ("a", 100)):
        beats = found.measurements[found.names.index(name)].beats
        assert 60 * CONFIG.fs / np.diff(beats).mean() == pytest.approx(rate, rel=0.03)
        assert beats.max() < CONFIG.samples


def test_a_second_call_reads_the_cache_and_finds_the_same(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "records.npz"
    first = load_records(data, cache, CONFIG)
    again = load_records(tmp_path / "nowhere", cache, CONFIG)
    for name in ("signal", "lead_facts", "labels", "known", "fold", "age", "sex"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (again.names, again.source) == (first.names, first.source)
    for a, b in zip(first.measurements, again.measurements, strict=True):
        assert (a.values, a.findings) == (b.values, b.findings)
        np.testing.assert_array_equal(a.beats, b.beats)


def test_a_killed_run_leaves_no_half_cache_and_a_cache_of_another_count_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(file: IO[bytes], **arrays: object) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    cache = tmp_path / "simulated.npz"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(np, "savez", killed)
        load_simulated(2, cache, CONFIG)
    assert not list(tmp_path.iterdir())
    assert len(load_simulated(2, cache, CONFIG).names) == 2
    with pytest.raises(InputError, match=r"expected 3 simulated records in .*, found 2"):
        load_simulated(3, cache, CONFIG)


def test_choosing_records_keeps_their_parts_together(data: Path, tmp_path: Path) -> None:
    found = load_records(data, tmp_path / "records.npz", CONFIG)
    held = found.where(found.fold == 9)
    assert held.names == ("00002_hr",)
    np.testing.assert_array_equal(held.signal[0], found.signal[1])
    assert held.measurements == (found.measurements[1],)


def test_simulated_records_follow_from_their_number_and_carry_labels(tmp_path: Path) -> None:
    found = load_simulated(6, tmp_path / "a.npz", CONFIG)
    again = load_simulated(6, tmp_path / "b.npz", CONFIG)
    np.testing.assert_array_equal(found.signal, again.signal)
    assert len(found.names) == 6
    assert set(found.source) == {"simulated"}
    assert bool((found.labels.sum(1) > 0).all())
    assert set(found.fold.tolist()) == {0}
