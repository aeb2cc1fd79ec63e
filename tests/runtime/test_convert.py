"""A recording in other programs' formats, count for count, and the commands that make and read recordings."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from uniecg_device.converters import convert
from uniecg_device.counts import Samples as Arrived
from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.profile import FOLDER, load_profile
from uniecg_device.recorder import Recorder
from uniecg_device.recording import describe
from uniecg_device.recording_store import open_store
from uniecg_device.signals import LEADS
from uniecg_device.simulator import Simulator
from uniecg_runtime.formats.read import read_recording

Samples = tuple[int, NDArray[np.int32], NDArray[np.uint32]]


def write_store(path: Path, pieces: list[Samples], device: str = "e8_12lead", *, synthetic: bool = True) -> Path:
    """A recording of these samples: position, counts, electrodes off."""
    profile = load_profile(device)
    about = describe(profile, "/dev/ttyUSB0", synthetic=synthetic)
    with Recorder(path, about, (FOLDER / f"{device}.toml").read_text()) as recorder:
        for position, counts, flags in pieces:
            hand_over(recorder, position, counts, flags)
            recorder.commit({})
        recorder.event("connected", {"port": "COM3"}, 300)
        recorder.close("done", {})
    return path


def hand_over(recorder: Recorder, first: int, counts: NDArray[np.int32], flags: NDArray[np.uint32]) -> None:
    """As a device does it."""
    numbers = np.arange(first, first + len(flags))
    recorder.samples(0, Arrived(counts, flags, numbers, numbers))


def some(position: int, samples: int, low: int = 0, high: int = 4095) -> Samples:
    counts = np.random.default_rng(position).integers(low, high, (8, samples), endpoint=True).astype(np.int32)
    return position, counts, np.zeros(samples, np.uint32)


@pytest.fixture
def pieces() -> list[Samples]:
    """2.3 s at 500 Hz that lack 7 samples, with electrodes of V1 and V2 (bits 2 and 3) off for a while."""
    first, second = some(0, 700), some(707, 443)
    first[2][100:250] = 0b100
    first[2][180:200] = 0b1100
    second[2][-3:] = 0b1000
    return [first, second]


@pytest.fixture
def store(tmp_path: Path, pieces: list[Samples]) -> Path:
    return write_store(tmp_path / "x.uniecg", pieces)


ELECTRODES = {100: "V1", 180: "V1 V2", 200: "V1", 250: None, 1147: "V2"}


def converted(path: Path, to: str, name: str) -> Path:
    with open_store(path) as store:
        return convert(store, to, path.parent / name)


# WFDB


def test_wfdb_holds_every_count(store: Path, pieces: list[Samples]) -> None:
    wfdb = pytest.importorskip("wfdb", reason="extra `files` is not installed")
    converted(store, "wfdb", "w.hea")
    record = wfdb.rdrecord(str(store.parent / "w"), physical=False)
    assert record.d_signal.shape == (1150, 8) and record.sig_name == list(load_profile("e8_12lead").leads)
    for position, counts, flags in pieces:
        assert np.array_equal(record.d_signal[position : position + len(flags)].T, counts)
    assert set(record.fmt) == {"16"} and (record.d_signal[700:707] == -32768).all()
    assert record.adc_gain == pytest.approx([1423] * 8) and record.baseline == [2048] * 8 and record.fs == 500
    assert [sum_ & 0xFFFF for sum_ in record.checksum] == [int(s) & 0xFFFF for s in record.calc_checksum()]
    assert np.isnan(wfdb.rdrecord(str(store.parent / "w")).p_signal[700:707]).all()
    notes = wfdb.rdann(str(store.parent / "w"), "events")
    told = list(zip(notes.sample.tolist(), notes.aux_note, strict=True))
    electrodes = [(at, f"electrodes off: {off}" if off else "electrodes on") for at, off in ELECTRODES.items()]
    assert told == sorted([(300, "connected: port COM3"), (700, "gap: 7 samples missing"), *electrodes])


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(-32767, 32767, 16), (-32768, 0, 24), (0, 32768, 24), (-(1 << 23) + 1, (1 << 23) - 1, 24), (-(1 << 23), 0, 32)],
)
def test_wfdb_takes_the_format_that_holds_the_counts(tmp_path: Path, low: int, high: int, bits: int) -> None:
    wfdb = pytest.importorskip("wfdb", reason="extra `files` is not installed")
    position, counts, flags = some(0, 300, low, high)
    counts[2, 5], counts[3, 6] = low, high
    path = write_store(tmp_path / "x.uniecg", [(position, counts, flags), some(1500, 20)], "openbci_cyton")
    converted(path, "wfdb", "w.hea")
    record = wfdb.rdrecord(str(tmp_path / "w"), physical=False)
    assert record.fmt == [str(bits)] * 8
    assert np.array_equal(record.d_signal[:300].T, counts) and (record.d_signal[300:1500] == -(1 << bits - 1)).all()
    assert wfdb.rdann(str(tmp_path / "w"), "events").sample.tolist() == [300, 300]
    assert 1 / record.adc_gain[0] == pytest.approx(load_profile("openbci_cyton").scale.counts_per_mv ** -1, rel=1e-11)
    # the lean reader, without the package wfdb
    lean = read_recording(tmp_path / "w.hea").signal
    assert np.isnan(lean[:, 300:1500]).all() and np.isnan(lean).sum() == 8 * 1200
    np.testing.assert_allclose(lean, wfdb.rdrecord(str(tmp_path / "w")).p_signal.T, rtol=1e-6)


def test_wfdb_does_not_fill_a_disk_with_what_is_missing(tmp_path: Path) -> None:
    path = write_store(tmp_path / "x.uniecg", [some(0, 10), some(1 << 40, 10)])
    with pytest.raises(InputError, match="convert it to EDF or CSV"):
        converted(path, "wfdb", "w.hea")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.uniecg"]


# EDF


def test_edf_holds_every_count(store: Path, pieces: list[Samples]) -> None:
    pyedflib = pytest.importorskip("pyedflib", reason="extra `files` is not installed")
    with pyedflib.EdfReader(str(converted(store, "edf", "e.edf"))) as file:
        assert file.getSignalLabels() == [f"ECG {lead}" for lead in load_profile("e8_12lead").leads]
        assert file.getNSamples().tolist() == [1500] * 8 and set(file.getSampleFrequencies()) == {500}
        for channel in range(8):
            signal = file.readSignal(channel, digital=True)
            for position, counts, flags in pieces:
                assert np.array_equal(signal[position : position + len(flags)], counts[channel])
            assert (signal[700:707] == -32768).all() and (signal[1150:] == -32768).all()
            millivolts = (pieces[0][1][channel] - 2048) / 1423
            np.testing.assert_allclose(file.readSignal(channel)[:700], millivolts, atol=1e-4)
        onsets, durations, texts = file.readAnnotations()
    told = {(round(onset * 500), text) for onset, text in zip(onsets, texts, strict=True)}
    assert {(at, f"electrodes off: {off}" if off else "electrodes on") for at, off in ELECTRODES.items()} <= told
    assert {(700, "gap: 7 samples missing"), (1150, "recording ends"), (0, "fs: 500")} <= told
    assert durations[list(texts).index("gap: 7 samples missing")] == pytest.approx(7 / 500)


def test_bdf_holds_24_bits(tmp_path: Path) -> None:
    pyedflib = pytest.importorskip("pyedflib", reason="extra `files` is not installed")
    _, counts, flags = some(0, 600, -(1 << 23), (1 << 23) - 1)
    path = write_store(tmp_path / "x.uniecg", [(0, counts, flags)], "openbci_cyton")
    with pytest.raises(InputError, match=r"name it e\.bdf"):
        converted(path, "edf", "e.edf")
    with pyedflib.EdfReader(str(converted(path, "edf", "e.bdf"))) as file:
        for channel in range(8):
            assert np.array_equal(file.readSignal(channel, digital=True)[:600], counts[channel])
    assert read_recording(tmp_path / "e.bdf").fs == 250


def test_counts_of_32_bits_fit_into_wfdb_only(tmp_path: Path) -> None:
    path = write_store(tmp_path / "x.uniecg", [some(0, 20, -(1 << 31) + 1, (1 << 31) - 1)])
    with pytest.raises(InputError, match="more than the 24 bits"):
        converted(path, "edf", "e.bdf")
    assert " 32 " in converted(path, "wfdb", "w.hea").read_text()


def edf_records(path: Path) -> tuple[str, list[tuple[float, NDArray[np.int16]]]]:
    """An independent reading: kind of file, and onset with samples (8, n) of each record."""
    raw = path.read_bytes()
    signals = int(raw[252:256])
    lengths = [int(raw[256 + 216 * signals + 8 * k :][:8]) for k in range(signals)]
    size = 2 * sum(lengths)
    body = raw[int(raw[184:192]) :]
    assert len(body) == size * int(raw[236:244])
    records = []
    for first in range(0, len(body), size):
        samples = np.frombuffer(body[first : first + 2 * sum(lengths[:-1])], "<i2").reshape(8, -1)
        onset = re.match(rb"\+([\d.]+)\x14\x14\0", body[first + 2 * sum(lengths[:-1]) :])
        assert onset is not None
        records.append((float(onset[1]), samples))
    return raw[192:236].decode().strip(), records


def test_edf_leaves_out_records_of_which_nothing_was_received(tmp_path: Path) -> None:
    pieces = [some(0, 700), some(5250, 600)]
    made = converted(write_store(tmp_path / "x.uniecg", pieces), "edf", "e.edf")
    kind, records = edf_records(made)
    assert kind == "EDF+D" and len(records) == 4
    with pytest.raises(InputError, match=r"is EDF\+D, a recording with pauses"):
        read_recording(made)
    start = records[0][0]
    assert [round(onset - start, 6) for onset, _ in records] == [0, 1, 10, 11] and 0 <= start < 1
    for position, counts, flags in pieces:
        for k in range(len(flags)):
            record, offset = divmod(position + k, 500)
            where = next(samples for onset, samples in records if round(onset - start) == record)
            assert np.array_equal(where[:, offset], counts[:, k])


def test_edf_without_gaps_is_continuous(tmp_path: Path) -> None:
    kind, records = edf_records(converted(write_store(tmp_path / "x.uniecg", [some(0, 1000)]), "edf", "e.edf"))
    assert kind == "EDF+C" and len(records) == 2


# CSV


def test_csv_holds_every_count(store: Path, pieces: list[Samples]) -> None:
    lines = converted(store, "csv", "c.csv").read_text().splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert comments[0].startswith("# SYNTHETIC") and "# fs: 500" in comments
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    positions = np.array([int(row["position"]) for row in rows])
    assert np.array_equal(positions, np.concatenate([np.arange(700), np.arange(707, 1150)]))
    counts = np.concatenate([counts for _, counts, _ in pieces], axis=1)
    for channel, lead in enumerate(load_profile("e8_12lead").leads):
        assert [int(row[f"{lead} count"]) for row in rows] == counts[channel].tolist()
        millivolts = [float(row[f"{lead} (mV)"]) for row in rows]
        np.testing.assert_allclose(millivolts, (counts[channel] - 2048) / 1423, atol=1e-6)
    assert [(row["position"], row["missing"]) for row in rows if row["missing"]] == [("707", "7")]
    noted = {int(row["position"]): row["note"] for row in rows if row["note"]}
    assert noted.pop(300) == "connected: port COM3"
    assert noted == {at: f"electrodes off: {off}" if off else "electrodes on" for at, off in ELECTRODES.items()}


def test_csv_is_read_again_with_its_gap(store: Path, pieces: list[Samples]) -> None:
    read = read_recording(converted(store, "csv", "c.csv"))
    assert read.fs == 500 and read.leads == load_profile("e8_12lead").leads and read.synthetic
    assert np.isnan(read.signal[:, 700:707]).all()
    for position, counts, _ in pieces:
        np.testing.assert_allclose(
            read.signal[:, position : position + counts.shape[1]], (counts - 2048) / 1423, atol=1e-5
        )


def test_csv_of_a_gap_beyond_all_memory_is_refused(tmp_path: Path) -> None:
    path = converted(write_store(tmp_path / "x.uniecg", [some(0, 10), some(1 << 40, 10)]), "csv", "c.csv")
    with pytest.raises(InputError, match="cut it into pieces"):
        read_recording(path)


# All of them


@pytest.mark.parametrize(("to", "name"), [("wfdb", "x.dat"), ("wfdb", "a b.hea"), ("edf", "x.txt"), ("csv", "x.hea")])
def test_a_name_that_does_not_fit_is_refused(store: Path, to: str, name: str) -> None:
    with pytest.raises(InputError):
        converted(store, to, name)


@pytest.mark.parametrize(
    ("to", "name"), [("wfdb", "n/w.hea"), ("edf", "n/e.edf"), ("csv", "n/c.csv"), ("xml", "x.xml")]
)
def test_what_cannot_be_written_is_refused(store: Path, to: str, name: str) -> None:
    with pytest.raises(InputError, match=r"cannot write|expected one of"):
        converted(store, to, name)


@pytest.mark.parametrize(("to", "name"), [("wfdb", "w.hea"), ("edf", "e.edf"), ("csv", "c.csv")])
def test_an_empty_recording_is_refused(tmp_path: Path, to: str, name: str) -> None:
    with pytest.raises(InputError, match="no samples"):
        converted(write_store(tmp_path / "x.uniecg", []), to, name)


def test_damage_that_is_found_midway_leaves_no_file(store: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(store)
    connection.execute("UPDATE samples SET counts = x'00' WHERE position = 707")
    connection.commit()
    connection.close()
    for to, name in (("wfdb", "w.hea"), ("edf", "e.edf"), ("csv", "c.csv")):
        with pytest.raises(InputError, match="damaged"):
            converted(store, to, name)
    assert sorted(file.name for file in store.parent.iterdir()) == ["x.uniecg"]


@pytest.mark.parametrize("synthetic", [True, False])
def test_the_synthetic_mark_goes_wherever_the_signal_goes(
    tmp_path: Path, pieces: list[Samples], synthetic: bool
) -> None:
    path = write_store(tmp_path / "x.uniecg", pieces, synthetic=synthetic)
    assert read_recording(path).synthetic is synthetic
    assert read_recording(converted(path, "wfdb", "w.hea")).synthetic is synthetic
    assert converted(path, "csv", "c.csv").read_text().startswith("# SYNTHETIC") is synthetic
    edf = converted(path, "edf", "e.edf")
    assert (b"SYNTHETIC" in edf.read_bytes()[:256]) is synthetic
    pytest.importorskip("pyedflib", reason="extra `files` is not installed")
    assert read_recording(edf).synthetic is synthetic


def test_every_format_reads_back_as_the_same_signal(store: Path) -> None:
    pytest.importorskip("pyedflib", reason="extra `files` is not installed")
    direct = read_recording(store)
    rows = [LEADS.index(lead) for lead in load_profile("e8_12lead").leads]
    missing = np.isnan(direct.signal).all(axis=0)
    assert np.flatnonzero(missing).tolist() == list(range(700, 707))
    wfdb = read_recording(converted(store, "wfdb", "w.hea")).signal
    edf = read_recording(converted(store, "edf", "e.edf")).signal
    assert np.isnan(edf[:, 1150:]).all()
    for found in (wfdb, edf[:, :1150]):
        assert np.array_equal(np.isnan(found).all(axis=0), missing)
        known = ~np.isnan(direct.signal[rows])
        np.testing.assert_allclose(found[known], direct.signal[rows][known], atol=1e-4)


def test_what_a_file_says_of_itself_cannot_break_out_of_a_header(tmp_path: Path, pieces: list[Samples]) -> None:
    profile = load_profile("e8_12lead")
    about = msgspec.structs.replace(
        describe(profile, "/dev/x\n# fs: 9", synthetic=False), title='a\nx.dat 16\r"b"', zone="é\0", device="d\te"
    )
    with Recorder(tmp_path / "x.uniecg", about, "") as recorder:
        for position, counts, flags in pieces:
            hand_over(recorder, position, counts, flags)
        recorder.close("a\n\x14b", {})
    header = converted(tmp_path / "x.uniecg", "wfdb", "w.hea").read_text().splitlines()
    assert all(line.startswith("#") for line in header[9:]) and len(header) == 9 + 6
    assert read_recording(tmp_path / "w.hea").fs == 500
    converted(tmp_path / "x.uniecg", "edf", "e.edf")
    lines = converted(tmp_path / "x.uniecg", "csv", "c.csv").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) == 1 + 1143


# Reading a recording as any other


def test_a_stretch_of_a_recording_is_read(store: Path) -> None:
    whole = read_recording(store)
    assert whole.leads == LEADS and whole.fs == 500 and whole.signal.shape == (12, 1150) and whole.synthetic
    part = read_recording(store, start=1.3, seconds=0.5)
    assert np.array_equal(part.signal, whole.signal[:, 650:900], equal_nan=True)
    v1 = whole.signal[LEADS.index("V1")]
    assert np.isnan(v1[100:250]).all() and not np.isnan(v1[:100]).any()
    with pytest.raises(InputError, match="beyond its end"):
        read_recording(store, start=3)
    with pytest.raises(InputError, match="leave both options out"):
        read_recording(store, leads=["I"])


def test_an_endless_gap_is_not_read_into_memory(tmp_path: Path) -> None:
    path = write_store(tmp_path / "x.uniecg", [some(0, 10), some(1 << 50, 10)])
    with pytest.raises(InputError, match="more than fits in memory"):
        read_recording(path)
    assert np.isnan(read_recording(path, start=0.01, seconds=1).signal[:, 5:]).all()


# The commands


def uniecg(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from uniecg_runtime.cli import main; main()", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def run(*arguments: str | Path) -> tuple[int, str, str]:
    with uniecg(*arguments) as process:
        out, error = process.communicate(timeout=120)
    return process.returncode, out, error


@pytest.fixture
def port() -> Iterator[str]:
    ecg = simulate(ParametricEcg(), 10, 500, 0)
    with Simulator("e8_12lead", ecg, speed=5) as simulator:
        yield simulator.url


def test_record_convert_and_replay(port: str, tmp_path: Path) -> None:
    out = tmp_path / "x.uniecg"
    code, lines, error = run(
        "record", "--device", "e8_12lead", "--port", port, "--out", out, "--seconds", "6", "--wire"
    )
    assert code == 0 and error.startswith("SYNTHETIC: a pseudo-terminal")
    assert re.search(rf"{out}: 6\.\d s, 30\d\d samples, no gaps", lines)
    code, told, _ = run("replay", out)
    assert code == 0 and "samples come out of the wire bytes as they were recorded" in told
    assert run("convert", out, "--to", "wfdb", "--out", tmp_path / "w.hea")[:2] == (0, f"wrote {tmp_path / 'w.hea'}\n")
    assert read_recording(out).synthetic and read_recording(tmp_path / "w.hea").signal.shape[1] >= 3000
    code, _, error = run("record", "--device", "e8_12lead", "--port", port, "--out", out)
    assert code == 1 and "exists already" in error.splitlines()[-1]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_recording_that_is_ended_is_whole(port: str, tmp_path: Path, ending: signal.Signals) -> None:
    out = tmp_path / "x.uniecg"
    with uniecg("record", "--device", "e8_12lead", "--port", port, "--out", out, "--no-synthetic", "--json") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(ending)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "") and first["event"] == "committed"
    with open_store(out) as store:
        assert store.closed is not None and store.closed.reason == "it was asked to end"
        assert store.end >= first["samples"] >= 500 and not store.description.synthetic


def test_a_port_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    code, _, error = run("record", "--device", "e8_12lead", "--port", "/dev/ttyNONE", "--out", tmp_path / "x.uniecg")
    assert code == 1 and error.startswith("error: ") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
