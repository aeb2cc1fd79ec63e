"""The simulator sends what the device would: on command, at its pace, with its range."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import serial

from uniecg_device.encoder import encode_frames, encode_pattern, to_counts
from uniecg_device.errors import DeviceError, InputError
from uniecg_device.profile import load_profile
from uniecg_device.signals import INDEPENDENT_LEADS, Recording
from uniecg_device.simulator import Faults, Simulator, _to_device

E8 = load_profile("e8_12lead")
START, STOP, SERIAL, VERSION = (encode_pattern(command.send) for command in E8.command)


def make_recording(samples: int = 500, fs: float = 500.0) -> Recording:
    t = np.arange(samples) / fs
    signal = np.stack([0.5 * np.sin(2 * np.pi * (k + 1) * t) for k in range(8)]).astype(np.float32)
    return Recording(signal, fs, INDEPENDENT_LEADS)


def open_port(simulator: Simulator) -> serial.Serial:
    return serial.Serial(simulator.url, 115200, timeout=5)


def test_it_does_not_stream_by_itself_and_answers_every_command() -> None:
    with Simulator(E8, make_recording(), speed=None) as simulator, open_port(simulator) as port:
        for command, kind in ((VERSION, 0x24), (SERIAL, 0x23), (STOP, 0x21)):
            port.write(command)
            answer = port.read(22)
            assert answer[0] == 0xE8 and answer[2:4] == bytes([0x11, kind]) and answer[-1] == 0x8E
        assert answer[5] == STOP[3], "an acknowledgement repeats the command's code"
        assert simulator.stats.frames == 0


def test_the_stream_is_exactly_the_recording_on_the_wire() -> None:
    recording = make_recording(100)
    with Simulator(E8, recording, speed=None) as simulator, open_port(simulator) as port:
        port.write(START)
        stream = port.read(22 * 301)
    assert stream[3] == 0x21 and stream[5] == START[3]
    counts, clipped = to_counts(E8, recording.signal)
    once_more = np.tile(counts, 3)
    assert stream[22:] == encode_frames(E8, once_more).tobytes() and clipped == 0


def test_commands_may_arrive_in_pieces_and_with_any_counter() -> None:
    with Simulator(E8, make_recording(), speed=None, loop=False) as simulator, open_port(simulator) as port:
        port.write(b"\x00\xe8garbage" + START[:1] + b"\x05" + START[2:9])
        time.sleep(0.05)
        port.write(START[9:])
        assert port.read(22)[3] == 0x21


def test_a_second_start_is_ignored_and_stop_stops() -> None:
    with Simulator(E8, make_recording(300), speed=None, loop=False) as simulator, open_port(simulator) as port:
        port.write(START + START + STOP)
        port.timeout = 0.5
        kinds = [frame[3] for frame in _frames(port.read(22 * 400))]
    assert kinds.count(0x21) == 2 and simulator.stats.commands == 2
    assert simulator.stats.frames in (0, 256, 300)


def _frames(stream: bytes) -> list[bytes]:
    return [stream[k : k + 22] for k in range(0, len(stream), 22)]


def test_several_recordings_play_in_turn() -> None:
    first, second = make_recording(50), replace(make_recording(70), signal=-make_recording(70).signal)
    with Simulator(E8, [first, second], speed=None) as simulator, open_port(simulator) as port:
        port.write(START)
        stream = port.read(22 * 241)[22:]
    counts = np.concatenate([to_counts(E8, part.signal)[0] for part in (first, second)], axis=1)
    assert stream == encode_frames(E8, np.tile(counts, 2)).tobytes()


def test_a_reader_that_comes_back_finds_a_device_that_starts_anew() -> None:
    with Simulator(E8, make_recording(), listen="127.0.0.1:0", speed=None) as simulator:
        for _ in range(2):
            with serial.serial_for_url(simulator.url, timeout=5) as port:
                port.write(STOP + START)
                stream = port.read(22 * 600)
            after = stream.index(b"\xe8\x00\x11\x21\x00\x10") + 22
            assert stream[after : after + 4] == b"\xe8\x00\x11\x20", "data whose counter starts at 0"


def test_faults_repeat_by_seed() -> None:
    def run() -> tuple[bytes, object]:
        faults = Faults(seed=9, drop=0.1, flip=0.1, insert=0.1)
        with (
            Simulator(E8, make_recording(), speed=None, loop=False, faults=faults) as simulator,
            open_port(simulator) as port,
        ):
            port.write(START)
            port.timeout = 0.3
            return port.read(100_000), simulator.stats

    (stream, stats), again = run(), run()
    assert (stream, stats) == again
    assert len(stream) == 22 * (1 + 500 - stats.dropped) + stats.inserted_bytes  # type: ignore[attr-defined]


def test_values_beyond_the_range_are_cut_off_and_counted() -> None:
    recording = make_recording()
    loud = replace(recording, signal=recording.signal * 4)
    with Simulator(E8, loud) as simulator:
        assert simulator.clipped > 0
    counts, clipped = to_counts(E8, loud.signal)
    assert (counts.min(), counts.max()) == (0, 4095) and clipped == simulator.clipped


@pytest.mark.parametrize("fs", [100.0, 128.0, 360.0, 1000.0])
def test_other_rates_are_resampled_to_the_device_s(fs: float) -> None:
    # Low tones survive; the ends, where the mirror has a kink, may be off a little.
    signal = _to_device(E8, make_recording(round(10 * fs), fs))
    expected = make_recording(5000).signal
    assert signal.shape == expected.shape and signal.dtype == np.float32
    assert np.abs(signal - expected)[:, 100:-100].max() < 0.01


def test_missing_samples_stay_missing_after_resampling() -> None:
    recording = make_recording(1000, 250.0)
    recording.signal[3, 200:400] = np.nan
    missing = np.isnan(_to_device(E8, recording))
    assert np.flatnonzero(missing[3]).tolist() == list(range(400, 800)) and missing.sum() == 400


def test_amplitude_must_be_known() -> None:
    with pytest.raises(InputError, match="no amplitude in mV"):
        Simulator(E8, replace(make_recording(), units="standardised"))


def test_an_empty_recording_is_refused() -> None:
    with pytest.raises(InputError, match="shorter than one frame"):
        Simulator(E8, Recording(np.zeros((1, 0), np.float32), 500.0, ("I",)))


@pytest.mark.parametrize("listen", ["tcp", "127.0.0.1:x", "127.0.0.1:70000"])
def test_where_to_listen(listen: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT"):
        Simulator(E8, make_recording(), listen=listen)


def test_a_port_that_is_taken() -> None:
    with (
        Simulator(E8, make_recording(), listen="127.0.0.1:0") as simulator,
        pytest.raises(DeviceError, match="choose another port"),
    ):
        Simulator(E8, make_recording(), listen=simulator.url.removeprefix("socket://"))
