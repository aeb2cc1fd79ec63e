"""WFDB annotation files: what is written is what the wfdb package reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_runtime.formats.annotations import CODES, encode, write_annotations
from uniecg_runtime.signal.waves import Waves, find_waves

wfdb = pytest.importorskip("wfdb")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(st.integers(0, 1100), st.integers(0, 2**27)), st.sampled_from([*CODES])), min_size=1)
)
def test_any_annotations_are_read_back(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]) -> None:
    samples = np.cumsum([step for step, _ in steps])
    symbols = [symbol for _, symbol in steps]
    record = tmp_path_factory.mktemp("read") / "made"
    record.with_suffix(".qrs").write_bytes(encode(samples, symbols))
    read = wfdb.rdann(str(record), "qrs")
    np.testing.assert_array_equal(read.sample, samples)
    assert read.symbol == symbols


def test_a_day_of_silence_fits_and_what_is_out_of_order_is_refused() -> None:
    day = encode(np.array([24 * 3600 * 2000]), ["N"])
    assert day == bytes.fromhex("00ec 4c0a 00b8 0004 0000")
    with pytest.raises(InputError, match="order"):
        encode(np.array([5, 3]), ["N", "N"])


def test_every_lead_is_an_annotator_and_beats_are_one_more(tmp_path: Path) -> None:
    waves = find_waves(simulate(ParametricEcg(heart_rate=70), 8.0, 360.0, 5))
    written = write_annotations(waves, tmp_path, "made")
    assert [path.suffix for path in written[:3]] == [".qrs", ".i", ".ii"] and len(written) == 13
    assert wfdb.rdann(str(tmp_path / "made"), "qrs").sample.tolist() == waves.beats.tolist()
    for lead, marks in waves.leads.items():
        read = wfdb.rdann(str(tmp_path / "made"), lead.lower())
        assert read.sample.tolist() == np.sort(marks[marks >= 0]).tolist()
        names = np.array(read.symbol)
        np.testing.assert_array_equal(read.sample[names == "p"], marks[:, 1][marks[:, 1] >= 0])
        np.testing.assert_array_equal(read.sample[names == "N"], marks[:, 4][marks[:, 4] >= 0])
        np.testing.assert_array_equal(read.sample[names == "t"], marks[:, 7][marks[:, 7] >= 0])


def test_without_a_beat_the_files_are_empty_and_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    nothing = np.empty(0, dtype=np.int64)
    waves = Waves(nothing, {"II": np.empty((0, 9), dtype=np.int64)}, nothing)
    for path in write_annotations(waves, tmp_path, "made"):
        assert path.read_bytes() == b"\0\0"
    with pytest.raises(InputError, match="Cannot write"):
        write_annotations(waves, tmp_path / "nowhere", "made")
