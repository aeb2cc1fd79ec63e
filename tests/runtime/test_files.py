"""Files that are whole: whatever goes wrong in writing, what was there before is still there."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import Recording
from uniecg_runtime.files import replace_file
from uniecg_runtime.formats.plot import plot_paper
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.formats.write import write_csv, write_wfdb

Write = Callable[[Recording, Path], Path]


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """No file grows beyond `after` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def held(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_file_is_replaced(tmp_path: Path) -> None:
    for data in (b"first", memoryview(b"second")):
        replace_file(tmp_path / "f", data)
        assert held(tmp_path) == {"f": bytes(data)}


def test_a_file_that_cannot_be_written_is_not_replaced(tmp_path: Path) -> None:
    replace_file(tmp_path / "f", b"first")
    with full_disk(after=5000), pytest.raises(OSError):
        replace_file(tmp_path / "f", bytes(6000))
    assert held(tmp_path) == {"f": b"first"}


@pytest.mark.parametrize(
    ("write", "name"), [(write_wfdb, "x.hea"), (write_csv, "x.csv"), (plot_paper, "x.png")], ids=["wfdb", "csv", "png"]
)
def test_a_full_disk_leaves_the_recording_that_was_there(tmp_path: Path, write: Write, name: str) -> None:
    if write is plot_paper:
        pytest.importorskip("PIL", reason="extra `plot` is not installed")
    write(simulate(ParametricEcg(), 1, 250, 1), tmp_path / name)
    before = held(tmp_path)
    with full_disk(after=5000), pytest.raises(InputError, match="Cannot write"):
        write(simulate(ParametricEcg(), 2, 250, 2), tmp_path / name)
    assert held(tmp_path) == before


def test_a_header_that_cannot_be_written_leaves_its_samples_too(tmp_path: Path) -> None:
    ecg = simulate(ParametricEcg(), 1, 250, 1)
    before = read_recording(write_wfdb(ecg, tmp_path / "x.hea")).signal
    short = replace(ecg, signal=-ecg.signal[:, :100], comments=("note " * 2000,))
    with full_disk(after=5000), pytest.raises(InputError, match="Cannot write"):
        write_wfdb(short, tmp_path / "x.hea")
    np.testing.assert_array_equal(read_recording(tmp_path / "x.hea").signal, before)


@pytest.mark.parametrize("write", [write_csv, plot_paper], ids=["csv", "png"])
def test_a_path_without_a_name_is_refused(write: Write) -> None:
    for path in (Path("."), Path("/")):
        with pytest.raises(InputError):
            write(simulate(ParametricEcg(), 1, 250), path)
