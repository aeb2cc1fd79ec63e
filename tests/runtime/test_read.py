"""Reading files: the formats, their traps, and what happens to bytes that are not what they seem."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from needs import recordings
from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.cli.generate import read_embedding
from uniecg_runtime.formats.labels import lead_name, other_comments, person, scale_of, split_units
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.formats.tables import load_npy
from uniecg_runtime.formats.write import write_csv, write_wfdb


@pytest.fixture
def ecg() -> Recording:
    return simulate(ParametricEcg(), 4, 250, 1)


@pytest.fixture
def header(tmp_path: Path, ecg: Recording) -> Path:
    return write_wfdb(ecg, tmp_path / "ecg.hea")


# Names, units, people


@pytest.mark.parametrize(
    ("text", "lead"),
    [
        ("AVR", "aVR"), ("avl", "aVL"), ("MLII", "II"), ("ECG I", "I"), ("Lead II", "II"), ("EKG V3", "V3"),
        ("ECG Lead V6", "V6"), ("I-Ref", "I"), (" v1 ", "V1"), ("'V5'", "V5"), ("DII", "II"), ("C4", "V4"),
        ("ECG", None), ("V7", None), ("", None), ("Resp", None), ("noise1", None), ("lead", None),
    ],
)  # fmt: skip
def test_lead_names(text: str, lead: str | None) -> None:
    assert lead_name(text) == lead


@given(st.text(max_size=30))
def test_lead_name_takes_any_text(text: str) -> None:
    assert lead_name(text) in (None, *LEADS)


@pytest.mark.parametrize(
    ("text", "factor", "units"),
    [("mV", 1, "mV"), ("uV", 1e-3, "mV"), ("µV", 1e-3, "mV"), ("V", 1e3, "mV"), ("200/mV", 0.005, "mV"),
     ("1000 adu/mV", 1e-3, "mV"), ("standardised", 1, "standardised")],
)  # fmt: skip
def test_units(text: str, factor: float, units: str) -> None:
    scale = scale_of(text)
    assert scale.factor == pytest.approx(factor) and scale.units == units


@pytest.mark.parametrize("text", ["", "furlong", "0/mV", "-5/mV", "1e99/mV", "nan/mV", "adu", "..../mV"])
def test_units_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="units"):
        scale_of(text)


@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        (["Age: 77", "Sex: Female"], (77, "female")),
        (["<age>: 46", "<sex>: F"], (46, "female")),
        (["<age>: 46  <sex>: M  <diagnoses>: none"], (46, "male")),
        (["84 F 1525 167 x1", "Digoxin"], (84, "female")),
        (["age: 0.5", "gender: M"], (0.5, "male")),
        (["Age: NaN", "Sex: Unknown"], (None, None)),
        (["Age: 300", "Sex: Male"], (None, "male")),
        (["Age: -1"], (None, None)),
        (["The average: 12", "Sexton 4"], (None, None)),
    ],
)
def test_age_and_sex(comments: list[str], expected: tuple[float | None, str | None]) -> None:
    assert person(comments) == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("II (uV)", ("II", "uV")), ("II [ uV ]", ("II", "uV")), ("'aVR_(mV)'", ("aVR", "mV")), ("V1", ("V1", None)),
        ("I (a) (mV)", ("I (a)", "mV")), ("(mV)", ("", "mV")), ("I (mV", ("I (mV", None)), ("I mV)", ("I mV)", None)),
    ],
)  # fmt: skip
def test_units_stand_in_brackets_behind_a_name(label: str, expected: tuple[str, str | None]) -> None:
    assert split_units(label) == expected


LONG = 1_000_000  # with the square of it, let alone the cube, these would take hours


@pytest.mark.parametrize("label", ["_" * LONG + "x", " " * LONG + "ref_", "I (" + " " * LONG + "x", "(" * LONG + "x"])
def test_a_long_label_is_no_lead(label: str) -> None:
    assert lead_name(label) is None
    assert split_units(label) == (label.strip(), None)


@pytest.mark.parametrize("start", ["<age>", "<sex>", "<age>:", "age: ", "Sex:", "84 "])
def test_a_long_comment_is_about_nobody(start: str) -> None:
    comment = start + " " * LONG + "!"
    assert person([comment]) == (None, None)
    assert other_comments([comment]) == (comment,)


# WFDB


def test_a_stretch_is_the_same_as_that_part_of_the_whole(header: Path) -> None:
    whole = read_recording(header).signal
    part = read_recording(header, start=1.0, seconds=1.5)
    np.testing.assert_array_equal(part.signal, whole[:, 250:625])
    assert part.duration == 1.5


@pytest.mark.parametrize("name", ["ecg", "ecg.dat"])
def test_the_record_may_be_named_without_its_header(header: Path, name: str) -> None:
    assert read_recording(header.parent / name).leads == LEADS


@pytest.mark.parametrize("samples", [1, 2, 7, 8])
@pytest.mark.parametrize("signals", [1, 2, 3])
def test_format_212(tmp_path: Path, signals: int, samples: int) -> None:
    counts = np.random.default_rng(samples).integers(-2047, 2048, (samples, signals))
    flat = [*counts.ravel().tolist(), *([0] if samples * signals % 2 else [])]
    packed = bytearray()
    for a, b in zip(flat[::2], flat[1::2], strict=True):
        packed += bytes([a & 0xFF, (a >> 8 & 0x0F) | (b >> 4 & 0xF0), b & 0xFF])
    (tmp_path / "r.dat").write_bytes(packed)
    lines = [f"r {signals} 360 {samples}"]
    lines += [f"r.dat 212 200(10)/mV 12 0 0 {int(counts[:, k].sum())} 0 V{k + 1}" for k in range(signals)]
    (tmp_path / "r.hea").write_text("\n".join(lines))
    whole = read_recording(tmp_path / "r.hea")
    np.testing.assert_allclose(whole.signal, (counts.T - 10) / 200, atol=1e-6)
    for first in range(samples):
        part = read_recording(tmp_path / "r.hea", start=first / 360)
        np.testing.assert_array_equal(part.signal, whole.signal[:, first:])


def test_the_header_that_leaves_out_its_length(header: Path) -> None:
    """Some of Georgia's headers begin `E07503.mat 12 500` and say no more."""
    lines = header.read_text().splitlines()
    header.write_text("\n".join(["ecg.mat 12 250", *lines[1:]]))
    assert read_recording(header).signal.shape == (12, 1000)


def test_gain_baseline_and_units_follow_the_standard(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(struct.pack("<4h", 1024, 1224, -32768, 824))
    for gain, expected in (("200", 1.0), ("0", 1.0), ("200/uV", 1e-3), ("100(1024)/mV", 2.0)):
        (tmp_path / "r.hea").write_text(f"r 1 360 4\nr.dat 16 {gain} 11 1024 0 0 0 MLII\n")
        signal = read_recording(tmp_path / "r.hea").signal[0]
        np.testing.assert_allclose(signal, [0, expected, np.nan, -expected], rtol=1e-5)


def test_channels_that_are_no_leads_are_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(struct.pack("<6h", 1, 2, 3, 4, 5, 6))
    rows = [
        "r 3 100 2",
        "r.dat 16 1/mV 16 0 0 0 0 II",
        "r.dat 16 1/mmHg 16 0 0 0 0 ABP",
        "r.dat 16 1/mV 16 0 0 0 0 RESP",
    ]
    (tmp_path / "r.hea").write_text("\n".join(rows))
    recording = read_recording(tmp_path / "r.hea")
    assert recording.leads == ("II",)
    assert "ABP" in recording.comments[0] and "RESP" in recording.comments[1]


def test_a_record_without_known_leads_is_refused_until_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(struct.pack("<2h", 1, 2))
    (tmp_path / "r.hea").write_text("r 1 300 2\nr.dat 16 1000/mV 16 0 0 0 0 ECG\n")
    with pytest.raises(InputError, match=r"Unknown lead name 'ECG'.*aVR"):
        read_recording(tmp_path / "r.hea")
    assert read_recording(tmp_path / "r.hea", leads=["I"]).leads == ("I",)
    with pytest.raises(InputError, match="1 signals but 2"):
        read_recording(tmp_path / "r.hea", leads=["I", "II"])


def test_a_folder_in_place_of_a_signal_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text("r 1 500\nr.dat 16 200 12 0 0 0 0 I\n")
    (tmp_path / "r.dat").mkdir()
    (tmp_path / "r.dat" / "file").touch()  # some file systems give an empty folder no size
    with pytest.raises(InputError, match="Cannot read"):
        read_recording(tmp_path / "r.hea")


def test_a_truncated_signal_file_is_refused(header: Path) -> None:
    data = header.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"promises 1000 samples.*truncated"):
        read_recording(header)


def test_a_changed_signal_file_is_refused(header: Path) -> None:
    data = bytearray(header.with_suffix(".dat").read_bytes())
    data[500] ^= 0x10
    header.with_suffix(".dat").write_bytes(data)
    with pytest.raises(InputError, match="checksum"):
        read_recording(header)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no record line"),
        ("# only a comment\n", "no record line"),
        ("r\n", "number of signals"),
        ("r twelve 500\n", "'twelve'"),
        ("r 0 500 10\n", "0 signals"),
        ("r 100000000 500 10\n", "100000000 signals"),
        ("r 2 500 10\nr.dat 16 200 12 0 0 0 0 I\n", "describes 1"),
        ("r 1 0 10\nr.dat 16 200 12 0 0 0 0 I\n", "0 Hz"),
        ("r 1 nan 10\nr.dat 16 200 12 0 0 0 0 I\n", "sampling rate"),
        ("r 1 1e300 10\nr.dat 16 200 12 0 0 0 0 I\n", "sampling rate"),
        ("r 1 500 999999999999\nr.dat 16 200 12 0 0 0 0 I\n", "promises 999999999999"),
        (f"r 1 500 {'9' * 4000}\nr.dat 16 200 12 0 0 0 0 I\n", "digits"),
        ("r 1 500 10\n../secret.dat 16 200 12 0 0 0 0 I\n", "outside"),
        ("r 1 500 10\n/etc/passwd 16 200 12 0 0 0 0 I\n", "outside"),
        ("r 1 500 10\nr\0.dat 16 200 12 0 0 0 0 I\n", "outside"),
        (f"r 1 500 10\n{'r' * 300}.dat 16 200 12 0 0 0 0 I\n", "not beside it"),
        ("r 1 500 10\nmissing.dat 16 200 12 0 0 0 0 I\n", "not beside it"),
        ("r 1 500 10\nr.dat sixteen 200 12 0 0 0 0 I\n", "format"),
        ("r 1 500 10\nr.dat 16 abc 12 0 0 0 0 I\n", "gain"),
        ("r 2 500 2\nr.dat 16 200 12 0 0 0 0 I\nr.dat 16 200 12 0 0 0 0 ECG I\n", "twice"),
    ],
)
def test_absurd_headers_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.hea").write_text(text)
    (tmp_path / "r.dat").write_bytes(bytes(8))
    with pytest.raises(InputError, match=message):
        read_recording(tmp_path / "r.hea")


def test_a_long_recording_is_read_by_stretches_and_never_whole(tmp_path: Path) -> None:
    samples = 12_000_000
    with (tmp_path / "r.dat").open("wb") as file:
        file.truncate(samples * 3 * 2)  # sparse: takes no room on disk
    rows = [f"r 3 250 {samples}", *(f"r.dat 16 200/mV 12 0 0 0 0 V{k}" for k in (1, 2, 3))]
    (tmp_path / "r.hea").write_text("\n".join(rows))
    with pytest.raises(InputError, match="start and seconds"):
        read_recording(tmp_path / "r.hea")
    tracemalloc.start()
    try:
        assert read_recording(tmp_path / "r.hea", start=40000, seconds=10).signal.shape == (3, 2500)
        assert tracemalloc.get_traced_memory()[1] < 2e6  # of 72 MB
    finally:
        tracemalloc.stop()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="r 0123456789./()+-:xmVI\n#eE\t", max_size=120))
def test_any_header_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.hea").write_text("r 1 500 4\nr.dat " + text)
    (tmp_path / "r.dat").write_bytes(bytes(range(8)))
    try:
        recording = read_recording(tmp_path / "f.hea")
    except InputError:
        return
    assert recording.signal.size > 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), kind=st.sampled_from(["hea", "csv", "npy", "edf", "txt"]))
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / f"f.{kind}"
    path.write_bytes(data)
    try:
        read_recording(path, fs=None if kind == "edf" else 500, units="uV")
    except InputError as error:
        assert str(error)


def test_every_format_reads_as_the_wfdb_package_reads_it(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb", reason="extra `files` is not installed")
    signal = np.random.default_rng(0).normal(0, 0.5, (500, 2))
    for form in ("80", "24", "32"):
        wfdb.wrsamp("w", 250, ["mV", "mV"], ["I", "MLII"], signal, fmt=[form] * 2, write_dir=str(tmp_path))
        expected = wfdb.rdrecord(str(tmp_path / "w")).p_signal.T
        recording = read_recording(tmp_path / "w.hea", start=0.5)
        assert recording.leads == ("I", "II")
        np.testing.assert_allclose(recording.signal, expected[:, 125:], atol=1e-6)


def test_a_record_of_segments(tmp_path: Path, ecg: Recording) -> None:
    pytest.importorskip("wfdb", reason="extra `files` is not installed")
    for name, part in (("a", ecg.signal[:, :600]), ("b", ecg.signal[:, 600:])):
        write_wfdb(replace(ecg, signal=part), tmp_path / f"{name}.hea")
    (tmp_path / "l.hea").write_text("\n".join(["l 12 250 0", *(f"~ 0 200/mV 16 0 0 0 0 {lead}" for lead in LEADS)]))
    (tmp_path / "r.hea").write_text("r/4 12 250 1100\nl 0\na 600\n~ 100\nb 400\n")
    recording = read_recording(tmp_path / "r.hea", start=2)
    assert recording.leads == LEADS
    np.testing.assert_allclose(recording.signal[:, :100], ecg.signal[:, 500:600], atol=1e-3)
    assert np.isnan(recording.signal[:, 100:200]).all()
    np.testing.assert_allclose(recording.signal[:, 200:], ecg.signal[:, 600:], atol=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r/2 12 250 6000000\na 1000\n~ 5999000\n", "12 signals .* start and seconds"),
        ("r/1000000000000 12 250 1000\na 1000\n", "announces 1000000000000 segments but lists 1"),
        ("r/ 12 250 1000\na 1000\n", "number of segments"),
        ("r 1 250 4\nr.dat 16:99999999999 200 12 0 0 0 0 I\n", "lags 99999999999 samples"),
        ("r 1 250 4\nr.dat 16x99999999 200 12 0 0 0 0 I\n", "start and seconds"),
        (f"r 1 250 4\nr.dat 16x{'9' * 30} 200 12 0 0 0 0 I\n", "30 digits"),
    ],
)
def test_what_would_fill_memory_never_gets_to_the_wfdb_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    wfdb = pytest.importorskip("wfdb", reason="extra `files` is not installed")
    monkeypatch.setattr(wfdb, "rdrecord", lambda *_, **__: pytest.fail("the package was asked"))
    (tmp_path / "r.hea").write_text(text)
    (tmp_path / "r.dat").write_bytes(bytes(8))
    with pytest.raises(InputError, match=message):
        read_recording(tmp_path / "r.hea")


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wfdb", None)
    monkeypatch.setitem(__import__("sys").modules, "pyedflib", None)
    (tmp_path / "r.hea").write_text("r 1 500 4\nr.dat 80 200 12 0 0 0 0 I\n")
    (tmp_path / "r.edf").write_bytes(bytes(300))
    for name in ("r.hea", "r.edf"):
        with pytest.raises(InputError, match=r"pip install 'uniecg-edge\[files\]'"):
            read_recording(tmp_path / name)


# EDF


def write_edf(path: Path, labels: list[str], unit: str = "uV", rates: list[int] | None = None) -> np.ndarray:
    pyedflib = pytest.importorskip("pyedflib", reason="extra `files` is not installed")
    import datetime

    rates = rates or [250] * len(labels)
    factor = {"uV": 1000, "mV": 1, "mmHg": 1}[unit]
    rows = [np.sin(np.arange(rate * 4) / rate * 2 * np.pi * (k + 1)) for k, rate in enumerate(rates)]
    with pyedflib.EdfWriter(str(path), len(labels), file_type=pyedflib.FILETYPE_EDFPLUS) as file:
        file.setSex("Female")
        file.setBirthdate(datetime.date(1950, 6, 1))
        file.setStartdatetime(datetime.datetime(2020, 6, 2))
        limit = 2 * factor
        file.setSignalHeaders(
            [
                {"label": label, "dimension": unit, "sample_frequency": rate, "physical_max": limit,
                 "physical_min": -limit, "digital_max": 32767, "digital_min": -32768, "transducer": "", "prefilter": ""}
                for label, rate in zip(labels, rates, strict=True)
            ]
        )  # fmt: skip
        file.writeSamples([row * factor for row in rows])
    return np.stack(rows) if len(set(rates)) == 1 else np.empty(0)


@pytest.mark.parametrize("unit", ["uV", "mV"])
def test_edf(tmp_path: Path, unit: str) -> None:
    expected = write_edf(tmp_path / "e.edf", ["ECG I", "EKG II", "Resp"], unit)
    recording = read_recording(tmp_path / "e.edf", start=1, seconds=2)
    assert recording.leads == ("I", "II") and recording.fs == 250 and recording.sex == "female"
    assert recording.age == 70
    assert "Resp" in recording.comments[0]
    np.testing.assert_allclose(recording.signal, expected[:2, 250:750], atol=1e-3)


def test_edf_that_is_truncated_or_mixed_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_edf(tmp_path / "e.edf", ["I", "II"], rates=[250, 500])
    with pytest.raises(InputError, match="several sampling rates"):
        read_recording(tmp_path / "e.edf")
    write_edf(tmp_path / "e.edf", ["I", "II"])
    data = (tmp_path / "e.edf").read_bytes()
    for size in (0, 100, 300, len(data) - 500):
        (tmp_path / "t.edf").write_bytes(data[:size])
        with pytest.raises(InputError, match="damaged"):
            read_recording(tmp_path / "t.edf")
    assert capfd.readouterr().out == ""  # standard output belongs to the caller


# CSV


def test_csv_with_units_in_its_header(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("Time (ms);Lead I [uV];AVR (mV)\n0;1000;1\n4;-500;2\n8;;3\n")
    recording = read_recording(tmp_path / "c.csv")
    assert recording.fs == 250 and recording.leads == ("I", "aVR")
    np.testing.assert_allclose(recording.signal, [[1, -0.5, np.nan], [1, 2, 3]], rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "I,II\n1,2\n3,4\n",
        "I\tII\r\n1\t2\r\n3\t4\r\n",
        "I;II\n1,0;2,0\n3,0;4,0\n",
        "I II\n1 2\n3 4\n",
        "# a remark\nI,II\n1,2\n3,4",
        "sample,I,II\n0,1,2\n1,3,4\n",
        "'Elapsed time','MLI','MLII'\n'seconds','mV','mV'\n0,1,2\n0.002,3,4\n",
        "1,2\n3,4\n",
    ],
)
def test_csv_in_all_its_dialects(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    leads = ["I", "II"] if text[0] == "1" else None
    recording = read_recording(tmp_path / "c.csv", fs=500, leads=leads)
    assert recording.leads == ("I", "II") and recording.fs == 500
    np.testing.assert_array_equal(recording.signal, [[1, 3], [2, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("I,II\n", "no samples"),
        ("I,V9\n1,2\n", "Unknown lead name 'V9'"),
        ("I,I\n1,2\n", "twice"),
        ("I,II\n1,2\n3\n", "Row 2.*truncated"),
        ("I,II\n1,2\n3,x\n", "not all numbers"),
        ("I,II\nnan,nan\n,\n", "no valid sample"),
        ("1,2\n3,4\n", "leads option"),
        ("time,I\n0,1\n5,2\n5.1,3\n", "uneven"),
        ("time,I\n0,1\n0,2\n", "does not rise"),
        ("time,I\n-1e308,1\n1e308,2\n", "does not rise"),
        ("time,I\n0,1\n1e-310,2\n", "not usable"),
        ("time (us),I\n0,1\n5e-324,2\n", "not usable"),
        (f"I\n1\n{'1' * 200_000}x\n", "not all numbers"),
        ("time,n\n0,1\n", "no lead columns"),
    ],
)
def test_csv_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    fs = None if text.startswith("time") else 500
    with pytest.raises(InputError, match=message):
        read_recording(tmp_path / "c.csv", fs=fs)


def test_csv_with_gaps(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("I\tII\tV1\n\t2\t\n\n'4'\tNaN\t\"6\"\n")
    recording = read_recording(tmp_path / "c.csv", fs=500)
    np.testing.assert_array_equal(recording.signal, [[np.nan, 4], [2, np.nan], [np.nan, 6]])


def test_csv_with_gaps_is_read_row_by_row(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("I\n" + "1\n" * 100_000 + "-\n")
    tracemalloc.start()
    try:
        assert read_recording(tmp_path / "c.csv", fs=500).signal.shape == (1, 100_001)
        assert tracemalloc.get_traced_memory()[1] < 5e6  # 32 MB with an array a row
    finally:
        tracemalloc.stop()


def test_csv_of_many_comments(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("#a\n" * 500_000 + "I\n1\n")
    assert len(read_recording(tmp_path / "c.csv", fs=500).comments) == 500_000


@pytest.mark.parametrize("text", ["# only", "# only\n", "#\n#\n"])
def test_csv_of_comments_alone_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(InputError, match="empty"):
        read_recording(tmp_path / "c.csv", fs=500)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0,1\n0,2\n", "whole numbers that rise"),
        ("0,1\n0.5,2\n", "whole numbers that rise"),
        ("0,1\n,2\n", "whole numbers that rise"),
        ("0,1\n1e12,2\n", "cut it into pieces"),
    ],
)
def test_positions_are_whole_numbers_that_rise(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "c.csv").write_text("position,I\n" + rows)
    with pytest.raises(InputError, match=message):
        read_recording(tmp_path / "c.csv", fs=500)


def test_columns_beside_the_millivolts_are_passed_over(tmp_path: Path) -> None:
    head = "position,time (s),I (mV),I count,missing,note\n"
    (tmp_path / "c.csv").write_text(head + '4,0.4,1,700,,"a, b"\n5,0.5,2,701,,\n8,0.8,3,702,2,x\n')
    recording = read_recording(tmp_path / "c.csv")
    assert recording.leads == ("I",) and recording.fs == 10
    assert np.array_equal(recording.signal, [[1, 2, np.nan, np.nan, 3]], equal_nan=True)
    (tmp_path / "c.csv").write_text(head + "4,8,1,700,,\n5,10,2,70")
    with pytest.raises(InputError, match="may be truncated"):
        read_recording(tmp_path / "c.csv")


def test_csv_without_a_rate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("I,II\n1,2\n")
    with pytest.raises(InputError, match="fs option"):
        read_recording(tmp_path / "c.csv")


# NPY


@pytest.mark.parametrize("shape", [(12, 500), (500, 12)])
def test_npy_either_way_round(tmp_path: Path, shape: tuple[int, int]) -> None:
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    recording = read_recording(tmp_path / "a.npy", fs=500)
    assert recording.leads == LEADS and recording.signal.flags.c_contiguous
    np.testing.assert_array_equal(recording.signal, array if shape[0] == 12 else array.T)


def test_npy_integers_need_units(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((2, 100), 400, np.int16))
    with pytest.raises(InputError, match="units option"):
        read_recording(tmp_path / "a.npy", fs=500, leads=["I", "II"])
    assert read_recording(tmp_path / "a.npy", fs=500, leads=["I", "II"], units="200/mV").signal[0, 0] == 2
    lost = read_recording(tmp_path / "a.npy", fs=500, leads=["I", "II"], units="standardised")
    assert lost.units == "standardised"


def test_npy_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    cases: dict[str, np.ndarray] = {
        "square": np.zeros((12, 12)),
        "shape": np.zeros((5, 100)),
        "shape ": np.zeros((3, 12, 100)),
        "real numbers": np.zeros((12, 100), complex),
        "no samples": np.zeros((12, 0)),
        "no valid sample": np.full((12, 50), np.nan),
    }
    for message, array in cases.items():
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(InputError, match=message.strip()):
            read_recording(tmp_path / "a.npy", fs=500)
    np.save(tmp_path / "a.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError):
        read_recording(tmp_path / "a.npy", fs=500)
    np.save(tmp_path / "a.npy", np.zeros((12, 500)))
    with pytest.raises(InputError, match="fs option"):
        read_recording(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:2000])
    with pytest.raises(InputError, match="truncated"):
        read_recording(tmp_path / "a.npy", fs=500)


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + data


@pytest.mark.parametrize(
    "data",
    [
        b"", b"junk", b"PK\x03\x04junk", npy("{'descr': ("), npy("{"), npy("(" * 5000), npy("\0"), npy("x" * 20_000),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (12, 1000000)}", bytes(100)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (12, 1" + "0" * 30 + ")}", bytes(100)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 12)}", bytes(100)),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n."),
        npy("{'descr': '|V4', 'fortran_order': False, 'shape': (1,)}", bytes(4)),
    ],
)  # fmt: skip
def test_what_is_no_array_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.npy"):
        load_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("read", [lambda path: read_recording(path, fs=500), read_embedding])
def test_recordings_and_embeddings_are_arrays(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "a.npy").write_bytes(b"PK\x03\x04junk")
    for path in (tmp_path / "a.npy", tmp_path / "none.npy"):
        with pytest.raises(InputError):
            read(path)


def test_an_embedding_is_one_row_of_at_most_a_million_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((1, 768), np.float16))
    row = read_embedding(tmp_path / "a.npy")
    assert row.shape == (768,) and row.dtype == np.float32
    np.save(tmp_path / "a.npy", np.zeros(1_000_001, np.int8))
    with pytest.raises(InputError, match="at most a million"):
        read_embedding(tmp_path / "a.npy")


def test_npy_with_infinities_has_gaps(tmp_path: Path) -> None:
    array = np.zeros((12, 100))
    array[3, 5] = np.inf
    np.save(tmp_path / "a.npy", array)
    assert np.isnan(read_recording(tmp_path / "a.npy", fs=500).signal[3, 5])


def test_values_beyond_float32_are_gaps(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("I\n1e300\n2\n")
    np.save(tmp_path / "a.npy", np.array([[1e300, 2.0]]))
    (tmp_path / "a.dat").write_bytes(struct.pack("<2h", 1, 0))
    (tmp_path / "a.hea").write_text("a 1 500 2\na.dat 16 1e-300(-1) 16 0 0 0 0 I\n")
    for name in ("a.csv", "a.npy"):
        np.testing.assert_array_equal(read_recording(tmp_path / name, fs=500, leads=["I"]).signal, [[np.nan, 2]])
    with pytest.raises(InputError, match="no valid sample"):
        read_recording(tmp_path / "a.hea")


# Options and paths


@pytest.mark.parametrize(
    "options",
    [
        {"fs": 0.0}, {"fs": float("nan")}, {"fs": 1e9}, {"units": "pints"}, {"leads": ["Q"]}, {"leads": ["I", "i"]},
        {"start": -1.0}, {"start": 99.0}, {"start": float("inf")}, {"seconds": 0.0}, {"seconds": float("nan")},
    ],
)  # fmt: skip
def test_impossible_options_are_refused(header: Path, options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        read_recording(header, **options)  # type: ignore[arg-type]


def test_missing_and_unknown_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_recording(tmp_path / "none.hea")
    with pytest.raises(InputError, match="No such file"):
        read_recording(tmp_path)
    (tmp_path / "a.docx").write_bytes(b"x")
    with pytest.raises(InputError, match="unknown kind"):
        read_recording(tmp_path / "a.docx")


@pytest.mark.parametrize("path", ["", ".", "..", "/", "no\0where", "no\0where.csv"])
def test_what_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_recording(path)


@pytest.mark.parametrize("name", ["r" * 300, "r" * 300 + ".csv", "r" * 300 + ".dat"])
def test_a_path_that_the_system_refuses_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="Cannot read"):
        read_recording(tmp_path / name)


def test_csv_brings_back_the_synthetic_mark(tmp_path: Path, ecg: Recording) -> None:
    assert read_recording(write_csv(ecg, tmp_path / "e.csv")).synthetic


# Real recordings


@pytest.mark.parametrize("pattern", ["ptbxl/records500/*.hea", "cinc2021/*/*.hea", "ludb/data/*.hea", "mitdb/*.hea"])
def test_real_records_agree_with_the_wfdb_package(pattern: str) -> None:
    wfdb = pytest.importorskip("wfdb", reason="extra `files` is not installed")
    folder, _, rest = pattern.partition("/")
    paths = [path for path in sorted(recordings(folder).glob(rest)) if ".mat " not in path.read_text().splitlines()[0]]
    assert paths  # the wfdb package stumbles over a record name with a suffix; the next test reads those
    for path in paths[:: max(len(paths) // 6, 1)]:
        recording = read_recording(path, start=1, seconds=4)
        first, end = round(recording.fs), round(recording.fs) + recording.signal.shape[1]
        record = wfdb.rdrecord(str(path.with_suffix("")), sampfrom=first, sampto=end)
        np.testing.assert_allclose(recording.signal, record.p_signal.T, atol=1e-5)


def test_every_georgia_header_is_read() -> None:
    paths = sorted(recordings("cinc2021").glob("georgia/*.hea"))
    assert paths
    for path in paths:
        assert read_recording(path, seconds=1).leads == LEADS
