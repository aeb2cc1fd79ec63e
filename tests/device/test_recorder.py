"""A recording on the disk is what the device sent, whatever happens to the recorder, the disk or the file."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from uniecg_device import discovery
from uniecg_device import recorder as recorder_module
from uniecg_device.counts import Samples, output_leads
from uniecg_device.device import Device, open_device
from uniecg_device.encoder import encode_frames, to_counts
from uniecg_device.errors import DeviceError, InputError
from uniecg_device.packing import MOST_VALUES, deflate, inflate, pack, unpack
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.profile import FOLDER, load_profile, parse_profile
from uniecg_device.recorder import Recorder
from uniecg_device.recording import describe, record
from uniecg_device.recording_format import SCHEMA, Description
from uniecg_device.recording_store import Piece, open_store
from uniecg_device.replay import replay
from uniecg_device.signals import INDEPENDENT_LEADS, LEADS, Recording, twelve_leads
from uniecg_device.simulator import Faults, Simulator

from .unit import Unit

E8 = load_profile("e8_12lead")
TEXT = (FOLDER / "e8_12lead.toml").read_text()
ABOUT = describe(E8, "/dev/ttyUSB0", synthetic=False)


def make_recording(samples: int = 1000) -> Recording:
    random = np.random.default_rng(0)
    eight = np.clip(random.normal(0, 0.3, (8, samples)), -1.4, 1.4).astype(np.float32)
    eight[5, 300:400] = np.nan
    return Recording(twelve_leads(eight), 500.0, LEADS, name="noise")


def played(recording: Recording) -> NDArray[np.int64]:
    rows = [recording.leads.index(lead) for lead in INDEPENDENT_LEADS]
    return to_counts(E8, recording.signal[rows])[0]


def feed(recorder: Recorder, first: int, samples: int, seed: int = 0) -> NDArray[np.int32]:
    """Samples as a device hands them over; the same ones for the same positions and seed."""
    counts = expected(first, samples, seed)
    hand_over(recorder, first, counts, np.zeros(samples, np.uint32))
    return counts


def hand_over(
    recorder: Recorder,
    first: int,
    counts: NDArray[np.int32],
    flags: NDArray[np.uint32],
    *,
    connection: int = 0,
    framed: int | None = None,
) -> None:
    """As a device does it: consecutive samples, which the framer counted like this unless told otherwise."""
    numbers = np.arange(first, first + len(flags))
    positions = numbers if framed is None else np.arange(framed, framed + len(flags))
    recorder.samples(connection, Samples(counts, flags, positions, numbers))


def counters(device: Device) -> dict[str, int]:
    return {name: value for name, value in asdict(device.stats).items() if value is not None}


def expected(first: int, samples: int, seed: int = 0) -> NDArray[np.int32]:
    k = np.arange(first, first + samples) * 2654435761 + seed
    return np.stack([(k * (row + 3) >> 7) % 4096 for row in range(8)]).astype(np.int32)


def read_counts(path: Path) -> NDArray[np.int32]:
    with open_store(path) as store:
        return np.concatenate([np.zeros((8, 0), np.int32), *(piece.counts for piece in store.pieces())], axis=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.uniecg"


@pytest.fixture
def made(path: Path) -> Path:
    """A whole recording of 3 s with a gap, wire bytes of noise and events."""
    with Recorder(path, ABOUT, TEXT, wire=True) as recorder:
        recorder.connected()
        for first in (0, 500, 1020):
            feed(recorder, first, 500)
            recorder.wire(np.random.default_rng(first).bytes(3000))
            recorder.commit({"samples": first + 500, "lost_samples": 20 * (first > 1000)})
        recorder.close("done", {"samples": 1500, "lost_samples": 20})
    return path


# What is kept


def test_a_recording_is_what_the_device_sent(path: Path) -> None:
    recording = make_recording(1000)
    faults = Faults(seed=4, drop=0.005)
    simulator = Simulator(E8, recording, speed=4, loop=False, faults=faults)
    with simulator, pytest.raises(DeviceError, match="silent"):
        for _ in record("e8_12lead", simulator.url, path, wire=True, reconnect=0):
            pass
    with open_store(path) as store:
        pieces = list(store.pieces())
        assert store.profile == TEXT and store.description == replace_times(ABOUT, store.description)
        assert store.closed is not None and "silent" in store.closed.reason
        assert store.stats["samples"] == sum(len(piece.electrodes_off) for piece in pieces)
        assert replay(store).identical == store.stats["samples"]
        kinds = [event.kind for event in store.events()]
        lost = sum(event.detail["samples"] for event in store.events() if event.kind == "gap")
        assert abs((store.started - datetime.now(UTC)).total_seconds()) < 60
    counts, dropped = played(recording), simulator.stats.dropped
    assert dropped > 0 and kinds.count("gap") == len(pieces) - 1 - split_seconds(pieces)
    assert lost == store.stats["lost_samples"] <= dropped
    shift = 1000 - store.end if not np.array_equal(pieces[0].counts[:, 0], counts[:, 0]) else 0
    for piece in pieces:
        where = slice(piece.position + shift, piece.end + shift)
        assert np.array_equal(piece.counts, counts[:, where])
        off = np.isnan(recording.signal[LEADS.index("V4"), where])
        assert np.array_equal(piece.electrodes_off >> 5 & 1 == 1, off)
    assert len(list(path.parent.iterdir())) == 1  # one file, without a journal beside it


def split_seconds(pieces: list[Piece]) -> int:
    return sum(before.end == after.position for before, after in pairwise(pieces))


def replace_times(about: Description, like: Description) -> Description:
    import msgspec

    return msgspec.structs.replace(about, opened=like.opened, port=like.port)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_samples_come_back(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / f"{time.monotonic_ns()}.uniecg"
    position, given_pieces, missing = 0, [], 0
    with Recorder(file, ABOUT, TEXT) as recorder:
        for _ in range(data.draw(st.integers(0, 5))):
            samples = data.draw(st.integers(1, 60))
            gap = data.draw(st.sampled_from([0, 0, 1, 7, 1 << 40]))
            counts = data.draw(arrays.arrays(np.int32, (8, samples)))
            flags = data.draw(arrays.arrays(np.uint32, samples, elements=st.integers(0, (1 << 32) - 1)))
            position, missing = position + gap, missing + gap
            positions = np.arange(position, position + samples, dtype=np.uint64)
            hand_over(recorder, position, counts, flags)
            given_pieces.append((positions, counts, flags))
            position += samples
            if data.draw(st.booleans()):
                recorder.commit({})
        recorder.close("done", {})
        assert recorder.committed.missing == missing
    with open_store(file) as store:
        found = list(store.pieces())
    for index, field in enumerate(("positions", "counts", "electrodes_off")):
        wanted = [piece[index] for piece in given_pieces]
        got = [positions_of(piece) if field == "positions" else getattr(piece, field) for piece in found]
        assert [len(wanted), len(got)].count(0) in (0, 2)
        if wanted:
            assert np.array_equal(np.concatenate(got, axis=-1), np.concatenate(wanted, axis=-1))


def positions_of(piece: Piece) -> NDArray[np.uint64]:
    return np.arange(piece.position, piece.end, dtype=np.uint64)


def test_a_stretch_is_cut_to_the_sample(made: Path) -> None:
    with open_store(made) as store:
        for start, stop in ((0, 1), (499, 501), (500, 1020), (505, 1030), (1519, 1520), (1000, 1020), (3000, 4000)):
            positions = [p for piece in store.pieces(start, stop) for p in range(piece.position, piece.end)]
            assert positions == [p for p in range(start, min(stop, 1520)) if not 1000 <= p < 1020]
            for piece in store.pieces(start, stop):
                assert np.array_equal(piece.counts, expected(piece.position, len(piece.electrodes_off)))


def test_blocks_are_those_of_the_live_device(path: Path) -> None:
    recording = make_recording(600)
    with Recorder(path, ABOUT, TEXT) as recorder:
        with (
            Simulator(E8, recording, speed=None, loop=False) as simulator,
            open_device(E8, simulator.url, silence_seconds=0.5, reconnect=0, tap=recorder) as device,
            pytest.raises(DeviceError),
        ):
            live = []
            for block in device:
                live.append(block)
        recorder.close("done", counters(device))
    with open_store(path) as store:
        stored = list(store.blocks())
    assert sum(block.signal.shape[1] for block in live) == 600 and stored[0].leads == LEADS
    joined = np.concatenate([block.signal for block in stored], axis=1)
    assert np.array_equal(joined, np.concatenate([block.signal for block in live], axis=1), equal_nan=True)


def test_events_and_troubles_are_noted(made: Path) -> None:
    with open_store(made) as store:
        events = [(event.position, event.kind, event.detail) for event in store.events()]
        assert store.stats == {"samples": 1500, "lost_samples": 20}
    assert events == [
        (1000, "gap", {"samples": 20}),
        (1520, "counters", {"lost_samples": 20}),
    ]


# What is safe when


def test_what_is_committed_is_seen_by_others_and_the_rest_is_not(path: Path) -> None:
    with Recorder(path, ABOUT, TEXT) as recorder:
        feed(recorder, 0, 400)
        assert not recorder.due and read_counts(path).shape[1] == 0
        feed(recorder, 400, 100)
        assert recorder.due and recorder.commit({"samples": 500})
        assert not recorder.due and read_counts(path).shape[1] == 500
        feed(recorder, 500, 10)
    with open_store(path) as store:  # the recorder went without closing, as when it is killed
        assert store.closed is None and store.end == 500


def test_a_commit_waits_for_the_disk(path: Path) -> None:
    with Recorder(path, ABOUT, TEXT) as recorder:
        modes = [recorder._store.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert modes == ["truncate", 2]


def test_a_program_that_locks_the_file_delays_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "_BUSY_SECONDS", 0.01)
    with Recorder(path, ABOUT, TEXT) as recorder:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM about").fetchall()
        feed(recorder, 0, 500)
        assert recorder.commit({}) is False and recorder.committed.samples == 0
        feed(recorder, 500, 700)
        other.close()
        assert recorder.commit({}) is True
        recorder.close("done", {})
    assert np.array_equal(read_counts(path), expected(0, 1200))


def test_a_program_that_never_lets_go_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "_BUSY_SECONDS", 0.01)
    with Recorder(path, ABOUT, TEXT) as recorder:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match="locked"):
            for first in range(0, 40000, 5000):
                feed(recorder, first, 5000)
                recorder.commit({})
        other.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def fill(file: Path, counts: Path, *before: str, **how: Any) -> tuple[int, str]:
    """Records in a process until the disk is full: samples told to be committed, and the error."""
    np.save(counts, NOISE)
    result = subprocess.run(
        [*before, sys.executable, "-c", textwrap.dedent(FILL), str(file), str(counts)],
        capture_output=True, text=True, timeout=120, env=environment(), **how,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    *told, error = result.stdout.splitlines()
    return int(told[-1]), error


NOISE = np.random.default_rng(0).integers(0, 4096, (8, 20_000)).astype(np.int32)

FILL = """
    import sys
    import numpy as np
    from uniecg_device.counts import Samples
    from uniecg_device.errors import InputError
    from uniecg_device.profile import load_profile
    from uniecg_device.recorder import Recorder
    from uniecg_device.recording import describe
    counts = np.load(sys.argv[2])
    with Recorder(sys.argv[1], describe(load_profile("e8_12lead"), "", synthetic=False), "") as recorder:
        for first in range(0, counts.shape[1], 500):
            numbers = np.arange(first, first + 500)
            some, off = counts[:, first : first + 500], np.zeros(500, np.uint32)
            recorder.samples(0, Samples(some, off, numbers, numbers))
            try:
                recorder.commit({})
            except InputError as error:
                print(error)
                sys.exit(1)
            print(first + 500)
"""


@pytest.mark.parametrize("limit", [60_000, 98_304, 120_001])
def test_a_file_that_may_not_grow_keeps_what_was_committed(path: Path, limit: int) -> None:
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))}
    told, error = fill(path, path.with_name("counts.npy"), **limits)
    assert f"{told / 500:.1f} s committed before are intact" in error and "cannot write" in error
    assert np.array_equal(read_counts(path), NOISE[:, :told])


def test_a_full_file_system_keeps_what_was_committed(tmp_path: Path) -> None:
    """A real ENOSPC, where this user may mount a file system."""
    small = tmp_path / "small"
    small.mkdir()
    inside = ["unshare", "-Urm", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=150k none {small}"
    if subprocess.run([*inside, mount], capture_output=True).returncode != 0:
        pytest.skip("no user namespaces here")
    script = f'{mount} && "$@"; code=$?; cp {small}/x.* {tmp_path}; exit $code'
    told, error = fill(small / "x.uniecg", tmp_path / "counts.npy", *inside, script, "sh")
    assert "full" in error and told > 0
    assert np.array_equal(read_counts(tmp_path / "x.uniecg"), NOISE[:, :told])


def killed_in_a_transaction(made: Path, folder: Path) -> Path:
    """Copies of file and journal from the midst of a transaction that has begun to write the file."""
    writer = sqlite3.connect(made, isolation_level=None)
    writer.execute("PRAGMA journal_mode = TRUNCATE")
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE about SET value = '{}' WHERE key = 'description'")
    for position in range(2000, 2400):
        writer.execute("INSERT INTO samples VALUES (?, 1, 0, 0, 0.0, zeroblob(3000), NULL)", (position,))
    folder.mkdir()
    for name in (made.name, f"{made.name}-journal"):
        shutil.copy(made.with_name(name), folder / name)
    writer.execute("ROLLBACK")
    writer.close()
    return folder / made.name


def test_a_transaction_that_was_cut_off_is_undone_on_opening(made: Path, tmp_path: Path) -> None:
    cut = killed_in_a_transaction(made, tmp_path / "cut")
    assert cut.stat().st_size > made.stat().st_size and cut.with_name("x.uniecg-journal").stat().st_size > 0
    assert np.array_equal(read_counts(cut), read_counts(made))
    assert read_counts(made).shape == (8, 1500)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_transaction_that_cannot_be_undone_there_is_an_error(made: Path, tmp_path: Path) -> None:
    cut = killed_in_a_transaction(made, tmp_path / "cut")
    cut.chmod(0o444)
    cut.parent.chmod(0o555)
    try:
        with pytest.raises(InputError, match="copy both files"):
            open_store(cut)
    finally:
        cut.parent.chmod(0o755)


def test_a_stranger_s_journal_deletes_no_other_file(made: Path, tmp_path: Path) -> None:
    cut = killed_in_a_transaction(made, tmp_path / "cut")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    name = str(victim).encode()
    with cut.with_name("x.uniecg-journal").open("ab") as journal:
        journal.write(struct.pack(">I", 0) + name + struct.pack(">II", len(name), sum(name)))
        journal.write(bytes.fromhex("d9d505f920a163d7"))
    with pytest.raises(InputError, match="was not written by"):
        open_store(cut)
    assert victim.exists()


# The recorder of a live device


def test_a_file_that_exists_is_not_overwritten(made: Path) -> None:
    content = made.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        Recorder(made, ABOUT, TEXT)
    assert made.read_bytes() == content


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"written to a \.uniecg file"):
        Recorder(tmp_path / "x.db", ABOUT, TEXT)
    with pytest.raises(InputError, match="cannot write"):
        Recorder(tmp_path / "none" / "x.uniecg", ABOUT, TEXT)


def test_a_device_that_does_not_open_leaves_no_file(path: Path) -> None:
    with pytest.raises(DeviceError):
        next(record("e8_12lead", "/dev/ttyNONE", path))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("wire", [False, True])
def test_a_device_of_another_profile_leaves_a_file_only_for_its_bytes(path: Path, wire: bool) -> None:
    with Simulator("bmd101", simulate(ParametricEcg(), 5.0, 512.0, 1)) as other, pytest.raises(DeviceError):
        list(record("openbci_cyton", other.url, path, wire=wire, reconnect=0))
    assert path.exists() == wire


def test_a_device_that_goes_away_ends_the_recording_whole(path: Path) -> None:
    simulator = Simulator(E8, make_recording(1000), speed=5)
    steps = record("e8_12lead", simulator.url, path, reconnect=0)
    next(steps)
    simulator.close()
    with pytest.raises(DeviceError, match="went away"):
        list(steps)
    with open_store(path) as store:
        assert store.closed is not None and "went away" in store.closed.reason
        assert sum(len(piece.electrodes_off) for piece in store.pieces()) == store.stats["samples"] >= 500


def test_it_ends_after_the_time_asked_for(path: Path) -> None:
    with Simulator(E8, make_recording(1000), speed=8) as simulator:
        last = list(record("e8_12lead", simulator.url, path, seconds=3, synthetic=True))[-1]
    with open_store(path) as store:
        assert store.description.synthetic and store.closed is not None
        assert store.end / 500 == last.seconds and 3 <= last.seconds <= 3.2 and last.samples == store.end


def test_stopping_it_keeps_what_was_received(path: Path) -> None:
    with Simulator(E8, make_recording(1000), speed=8) as simulator:
        steps = record("e8_12lead", simulator.url, path)
        next(steps)
        steps.close()
    with open_store(path) as store:
        assert store.closed is not None and store.closed.reason == "it was asked to end" and store.end >= 500


@pytest.fixture
def unit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unit]:
    with Unit() as unit:
        monkeypatch.setattr(discovery, "serial_ports", lambda: unit.ports)
        yield unit


STREAMING = re.sub(r"(?m)^(open|close) = .*\n", "", TEXT)  # a unit that streams by itself


def test_a_device_that_comes_back_is_recorded_on_one_clock(path: Path, unit: Unit) -> None:
    profile, told = path.with_name("unit.toml"), list[str]()
    profile.write_text(STREAMING)
    steps = record(profile, unit.url, path, wire=True, seconds=3, notify=told.append)
    before = next(steps).samples
    unit.unplug()
    away = time.monotonic()
    threading.Timer(1.6, unit.plug).start()
    after = next(steps)
    assert time.monotonic() - away > 1.5 and after.samples > before and after.gaps == 1
    list(steps)
    with open_store(path) as store:
        (connected,) = (event for event in store.events() if event.kind == "connected")
        pieces = list(store.pieces())
        assert replay(store).identical == sum(len(piece.electrodes_off) for piece in pieces)
        assert store.profile == STREAMING and store.stats["reconnects"] == 1 and len(told) == 2
    taken = np.concatenate([piece.counts[0] + 4096 * piece.counts[1] for piece in pieces])
    places = np.concatenate([np.arange(piece.position, piece.end) for piece in pieces])
    assert np.unique(taken - places).size == 1, "every sample lies where the unit took it"
    detail = {"port": unit.url, "missing": connected.detail["missing"], "by_counter": True}
    assert connected.detail == detail and detail["missing"] >= 1.5 * 500
    assert connected.position in [piece.position for piece in pieces if piece.connection == 1]


def test_what_came_last_is_safe_while_the_device_is_away(path: Path, unit: Unit) -> None:
    with Recorder(path, ABOUT, STREAMING) as recorder:
        profile = parse_profile(STREAMING)
        with open_device(profile, unit.url, tap=recorder) as device:
            next(device)
            unit.unplug()
            reader = threading.Thread(target=lambda: deque(device, 0))
            reader.start()
            wait_until(lambda: recorder.committed.samples == device.stats.samples)
            device.close()
            reader.join()


# Replay


@pytest.mark.parametrize("name", ["ad8232_text", "hackeeg_jsonlines", "openbci_cyton_daisy", "bitalino_6ch"])
def test_lines_decoded_frames_and_channels_that_are_no_leads_are_recorded(path: Path, name: str) -> None:
    profile = load_profile(name)
    with Simulator(profile, make_recording(3000), speed=4) as simulator:
        list(record(name, simulator.url, path, wire=True, seconds=2))
    with open_store(path) as store:
        pieces, leads = list(store.pieces()), store.description.leads
        assert replay(store).identical == sum(len(piece.electrodes_off) for piece in pieces) >= 2 * profile.fs
        assert {block.leads for block in store.blocks()} == {output_leads(profile.leads)}
    assert leads == profile.leads and all(len(piece.counts) == len(leads) for piece in pieces)


def test_samples_that_the_ring_had_no_room_for_are_in_the_wire_bytes(path: Path) -> None:
    with (
        Recorder(path, ABOUT, TEXT, wire=True) as recorder,
        Simulator(E8, make_recording(1000), speed=None, loop=False) as simulator,
        open_device(E8, simulator.url, silence_seconds=0.3, ring_seconds=0.5, reconnect=0, tap=recorder) as device,
    ):
        wait_until(lambda: device.stats.frames == 1000)
        with pytest.raises(DeviceError):
            list(device)
        recorder.close("done", counters(device))
    with open_store(path) as store:
        found = replay(store)
    assert (found.identical, found.further) == (250, 750)


def test_a_sample_that_is_not_the_wire_s_is_found(path: Path) -> None:
    counts = np.random.default_rng(2).integers(0, 4096, (8, 400)).astype(np.int32)
    changed = counts.copy()
    changed[3, 217] ^= 1
    for kept, says in ((counts, None), (changed, "sample at 217"), (np.tile(counts, 2), "sample at 400 does not")):
        path.unlink(missing_ok=True)
        with Recorder(path, ABOUT, TEXT, wire=True) as recorder:
            recorder.connected()
            recorder.wire(encode_frames(E8, counts).tobytes())
            hand_over(recorder, 0, kept, np.zeros(kept.shape[1], np.uint32))
            recorder.close("done", {})
        with open_store(path) as store:
            if says is None:
                assert replay(store).identical == 400
            else:
                with pytest.raises(InputError, match=says):
                    replay(store)


def test_a_reconnect_is_a_framer_of_its_own(path: Path) -> None:
    counts = np.random.default_rng(2).integers(0, 4096, (8, 400)).astype(np.int32)
    data, none = encode_frames(E8, counts).tobytes(), np.zeros(400, np.uint32)
    with Recorder(path, ABOUT, TEXT, wire=True) as recorder:
        for piece in (data[:-11], b"", data):  # the plug was pulled amid a frame, and nothing came at first
            recorder.connected()
            recorder.wire(piece)
        hand_over(recorder, 0, counts[:, :399], none[:399])
        hand_over(recorder, 5000, counts, none, connection=2, framed=0)
        recorder.close("done", {})
    with open_store(path) as store:
        assert replay(store).identical == 799
        assert [event.kind for event in store.events()] == ["gap"]


@pytest.mark.parametrize("counted", [True, False])
def test_only_where_the_wire_counts_it_says_where_samples_lie(path: Path, counted: bool) -> None:
    text = TEXT if counted else re.sub(r"(?m)^counter = .*\n", "", TEXT)
    counts = np.random.default_rng(2).integers(0, 4096, (8, 400)).astype(np.int32)
    with Recorder(path, ABOUT, text, wire=True) as recorder:
        recorder.connected()
        recorder.wire(encode_frames(E8, counts).tobytes())
        hand_over(recorder, 0, counts[:, :250], np.zeros(250, np.uint32))
        hand_over(recorder, 257, counts[:, 250:], np.zeros(150, np.uint32), framed=250)  # as if 7 were found missing
        recorder.close("done", {})
    with open_store(path) as store:
        if counted:
            with pytest.raises(InputError, match="sample at 257 is not where the device's counter puts it"):
                replay(store)
        else:
            assert replay(store).identical == 400


def test_without_wire_bytes_there_is_nothing_to_replay(path: Path) -> None:
    with Recorder(path, ABOUT, TEXT) as recorder:
        recorder.wire(b"not kept")
        feed(recorder, 0, 10)
        recorder.close("done", {})
    with open_store(path) as store, pytest.raises(InputError, match="record with --wire"):
        replay(store)


# Files from strangers


@given(
    values=arrays.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 70))),
)
def test_packing_is_lossless(values: NDArray[np.int32]) -> None:
    assert np.array_equal(unpack(pack(values), *values.shape), values)


@pytest.mark.parametrize(
    ("blob", "size"),
    [(b"", 4), (b"junk", 4), (deflate(b"abc"), 4), (deflate(b"abcde"), 4), (deflate(b"abcd")[:-1], 4)],
)
def test_a_blob_that_is_not_its_size_is_refused(blob: bytes, size: int) -> None:
    with pytest.raises(ValueError):
        inflate(blob, size)


def read_all(path: Path) -> None:
    with open_store(path) as store:
        list(store.pieces())
        list(store.pieces(700, 1100))
        list(store.blocks())
        list(store.events())
        list(store.wire())


def refused(path: Path, change: Callable[[sqlite3.Connection], object]) -> str:
    """The message with which a changed file is refused."""
    connection = sqlite3.connect(path, isolation_level=None)
    change(connection)
    connection.close()
    with pytest.raises(InputError) as caught:
        read_all(path)
    return str(caught.value)


def sql(*statements: str) -> Callable[[sqlite3.Connection], object]:
    return lambda connection: [connection.execute(statement) for statement in statements]


BOMB = zlib.compress(bytes(1 << 24), 9)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (sql("CREATE VIEW v AS SELECT 1"), "tables"),
        (sql("CREATE TRIGGER t AFTER INSERT ON wire BEGIN SELECT 1; END"), "tables"),
        (sql("ALTER TABLE samples RENAME TO s", "CREATE VIEW samples AS SELECT * FROM s"), "tables"),
        (sql("ALTER TABLE samples ADD COLUMN x AS (abs(-9223372036854775808))"), "tables"),
        (sql("DROP TABLE wire"), "tables"),
        (sql("PRAGMA application_id = 7"), "no recording"),
        (sql("PRAGMA user_version = 9"), "use a newer one"),
        (sql("PRAGMA user_version = 0"), "header"),
        (sql("PRAGMA journal_mode = WAL"), "header"),
        (sql("DELETE FROM about WHERE key = 'profile'"), "profile"),
        (sql("UPDATE about SET value = x'00' WHERE key = 'description'"), "description"),
        (sql("UPDATE about SET value = '{\"fs\": 1e999}' WHERE key = 'description'"), "description"),
        (sql("UPDATE about SET value = replace(value, '\"V1\"', '\"V7\"') WHERE key = 'description'"), "V7"),
        (sql(f"UPDATE about SET value = '{'[' * 100000}' WHERE key = 'stats'"), "stats"),
        (sql("UPDATE samples SET samples = 1000000000"), "too long"),
        (sql("UPDATE samples SET samples = -1"), "too long or too short"),
        (sql("UPDATE samples SET samples = 499"), "inflate"),
        (sql("UPDATE samples SET samples = 'many'"), "too long or too short"),
        (sql("UPDATE samples SET position = position - 1 WHERE position = 500"), "overlap"),
        (sql("UPDATE samples SET position = -5 WHERE position = 0"), "position is out of range"),
        (sql("UPDATE samples SET position = 9223372036854775807 WHERE position = 1020"), "position is out of range"),
        (sql("UPDATE samples SET counts = zeroblob(5000000)"), "too big"),
        (sql("UPDATE samples SET counts = 'text'"), "not as they should be"),
        (sql("UPDATE samples SET electrodes = x'00'"), "inflate"),
        (sql("UPDATE samples SET arrived = 9e99"), "first samples"),
        (lambda c: c.execute("UPDATE samples SET counts = ?", (BOMB,)), "inflate"),
        (lambda c: c.execute("UPDATE wire SET bytes = ?, size = ?", (BOMB, 1 << 24)), "announces"),
        (lambda c: c.execute("UPDATE wire SET bytes = ?", (BOMB,)), "inflate"),
        (sql("UPDATE events SET detail = '[1]'"), "an event"),
        (sql("UPDATE events SET kind = '=HYPERLINK(1)'"), "an event"),
        (sql("UPDATE events SET time = 'noon'"), "an event"),
    ],
)
def test_a_stranger_s_file_is_refused(made: Path, change: Callable[[sqlite3.Connection], object], says: str) -> None:
    assert says in refused(made, change)


def test_pages_that_lead_in_circles_end(made: Path) -> None:
    """Many times the same row by way of one page that is named over and over."""
    connection = sqlite3.connect(made, isolation_level=None)
    connection.execute("BEGIN")
    for position in range(2000, 5000):
        connection.execute("INSERT INTO samples VALUES (?, 1, 0, 0, 0.0, zeroblob(100), NULL)", (position,))
    connection.execute("COMMIT")
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'samples'").fetchone()[0]
    connection.close()
    raw = bytearray(made.read_bytes())
    page = memoryview(raw)[(root - 1) * size : root * size]
    cells = int.from_bytes(page[3:5], "big")
    assert page[0] == 5 and cells > 10
    offsets = [int.from_bytes(page[12 + 2 * k : 14 + 2 * k], "big") for k in range(cells)]
    for offset in offsets[1:]:
        page[offset : offset + 4] = page[offsets[0] : offsets[0] + 4]
    page.release()
    made.write_bytes(raw)
    with pytest.raises(InputError):
        read_all(made)


def readable_or_refused(path: Path) -> None:
    with suppress(InputError):
        read_all(path)


def test_a_file_that_was_cut_short_is_read_or_refused(made: Path) -> None:
    whole = made.read_bytes()
    for size in (0, 1, 99, 100, 511, *range(1000, len(whole), 3989)):
        made.write_bytes(whole[:size])
        readable_or_refused(made)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_damaged_bytes_is_read_or_refused(made: Path, data: st.DataObject) -> None:
    whole = made.read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    other = made.with_name("damaged.uniecg")
    other.write_bytes(damaged)
    readable_or_refused(other)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"# time,I\n0,1\n", bytes(5000)])
def test_what_is_no_recording(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"no recording of `uniecg record`"):
        open_store(path)


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        open_store(path)


def test_the_schema_is_what_is_written(made: Path) -> None:
    found = sqlite3.connect(made).execute("SELECT sql FROM sqlite_schema").fetchall()
    assert sorted(sql for (sql,) in found) == sorted(SCHEMA)
    assert MOST_VALUES * 4 < 4 << 20


# Killed


RECORD = """
    import json, sys
    from dataclasses import asdict
    from uniecg_device.recording import record
    for committed in record("e8_12lead", sys.argv[1], sys.argv[2], wire=True):
        print(json.dumps(asdict(committed)), flush=True)
"""


@pytest.mark.slow
def test_what_was_told_to_be_safe_survives_kill_9(tmp_path: Path) -> None:
    random = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    recording = make_recording(1000)
    with Simulator(E8, recording, speed=6) as simulator:
        for run in range(10):
            file = tmp_path / f"{run}.uniecg"
            told = record_and_kill(simulator.url, file, float(random.uniform(0, 1.2)))
            assert np.array_equal(read_counts(file), np.tile(played(recording), 40)[:, : read_counts(file).shape[1]])
            with open_store(file) as store:
                assert store.end >= told and replay(store).identical == store.end


def record_and_kill(port: str, file: Path, seconds: float) -> int:
    """Samples that the recorder had told to be committed when it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RECORD), port, str(file)],
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().splitlines()
    process.stdout.close()
    process.wait()
    whole = [line for line in [first, *rest] if line.endswith(("}", "}\n"))]
    return int(json.loads(whole[-1])["samples"])


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
