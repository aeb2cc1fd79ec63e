"""The whole road: an ECG becomes a device's wire bytes, and the bytes become text."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from needs import recordings
from uniecg_device.device import open_device
from uniecg_device.errors import DeviceError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS
from uniecg_device.simulator import Faults, Simulator
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.results import DISCLAIMER
from uniecg_runtime.stream import LiveState, TextPiece, WindowDue, WindowResult, stream

DEVICE = "e8_12lead"
RATE = 84.0


@pytest.fixture(scope="module")
def assistant(bundle: Bundle) -> Assistant:
    return Assistant(bundle, threads=1)


def test_from_serial_bytes_to_text(assistant: Assistant) -> None:
    ecg = simulate(ParametricEcg(heart_rate=RATE), 12.0, 500.0, 2)
    with Simulator(DEVICE, ecg, speed=4.0) as simulated, open_device(DEVICE, simulated.url) as device:
        events = list(stream(device, assistant, windows=1))
    state = [event for event in events if isinstance(event, LiveState)][-1]
    assert state.heart_rate == pytest.approx(RATE, abs=4)
    assert state.quality is not None and state.quality.acceptable
    assert (state.gaps, state.lost, state.device["skipped_bytes"]) == (0, 0, 0)
    assert [type(event) for event in events if not isinstance(event, LiveState | TextPiece)] == [
        WindowDue,
        WindowResult,
    ]
    result = next(event for event in events if isinstance(event, WindowResult)).interpretation
    assert result is not None
    assert result.text == "".join(event.text for event in events if isinstance(event, TextPiece)).strip()
    assert result.measurements["heart_rate"]["value"] == pytest.approx(RATE, abs=2)
    assert result.disclaimer == DISCLAIMER


def test_the_window_is_the_signal_that_was_sent(assistant: Assistant) -> None:
    ecg = simulate(ParametricEcg(heart_rate=RATE, baseline=0.0, muscle=0.0), 10.0, 500.0, 2)
    with Simulator(DEVICE, ecg, speed=8.0) as simulated, open_device(DEVICE, simulated.url) as device:
        blocks = [next(device) for _ in range(90)]
    received = np.concatenate([block.signal for block in blocks], axis=1)
    assert blocks[0].leads == LEADS
    sent = ecg.signal[:, : received.shape[1]]
    converted = np.abs(sent).max(axis=0) < 1.2  # this device cuts off beyond 1.44 mV
    assert np.abs(received - sent)[:, converted].max() < 3 / 1423


def test_a_bad_line_is_counted_and_still_read(assistant: Assistant) -> None:
    ecg = simulate(ParametricEcg(heart_rate=RATE), 12.0, 500.0, 2)
    faults = Faults(seed=1, drop=0.002, flip=0.002, insert=0.002)
    with (
        Simulator(DEVICE, ecg, speed=4.0, faults=faults) as simulated,
        open_device(DEVICE, simulated.url) as device,
    ):
        events = list(stream(device, assistant, windows=1))
    state = [event for event in events if isinstance(event, LiveState)][-1]
    assert state.gaps > 0 and state.lost > 0 and state.device["skipped_bytes"] > 0
    assert state.gap_seconds == pytest.approx(state.lost / 500)
    result = next(event for event in events if isinstance(event, WindowResult)).interpretation
    assert result is not None
    assert result.measurements["heart_rate"]["value"] == pytest.approx(RATE, abs=3)


def test_a_device_that_falls_silent_ends_the_stream_after_what_it_sent(assistant: Assistant) -> None:
    ecg = simulate(ParametricEcg(heart_rate=RATE), 11.0, 500.0, 2)
    events = []
    with (
        Simulator(DEVICE, ecg, speed=4.0, loop=False) as simulated,
        open_device(DEVICE, simulated.url, silence_seconds=3, reconnect=0) as device,
        pytest.raises(DeviceError, match="silent"),
    ):
        for event in stream(device, assistant):
            events.append(event)
    assert any(isinstance(event, WindowResult) for event in events)
    assert isinstance(events[-1], LiveState) and events[-1].time == pytest.approx(11.0, abs=0.2)


def test_what_the_model_draws_can_be_played_and_read(assistant: Assistant) -> None:
    drawn = assistant.generate("normal ECG", heart_rate=70, seed=3, steps=8).recording
    assert drawn.synthetic and drawn.signal.shape == (12, 1280)
    i, ii, iii = (drawn.signal[LEADS.index(lead)] for lead in ("I", "II", "III"))
    assert np.abs(ii - i - iii).max() < 1e-5
    with Simulator(DEVICE, drawn, speed=8.0) as simulated, open_device(DEVICE, simulated.url) as device:
        block = next(device)
    assert block.fs == 500 and block.leads == LEADS


def test_two_commands_make_the_same_road(bundle: Bundle) -> None:
    code = "from uniecg_runtime.cli import main; main()"
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", code]
    simulated = subprocess.Popen(
        [*command, "simulate", "--device", DEVICE, "--heart-rate", str(RATE), "--speed", "4"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert simulated.stdout is not None
        port = simulated.stdout.readline().strip()
        options = ["--device", DEVICE, "--port", port, "--bundle", str(bundle.folder), "--windows", "1", "--json"]
        result = subprocess.run(
            [*command, "stream", *options], capture_output=True, text=True, env=environment, timeout=120
        )
    finally:
        simulated.terminate()
        simulated.communicate(timeout=20)
    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {event["event"] for event in events} == {"live", "window", "interpretation"}
    told = next(event for event in events if event["event"] == "interpretation")
    assert told["measurements"]["heart_rate"]["value"] == pytest.approx(RATE, abs=2)


@pytest.mark.slow
def test_real_recordings_travel_the_road(assistant: Assistant) -> None:
    from uniecg_runtime.formats.read import read_recording
    from uniecg_runtime.signal.measure import measure

    records = sorted(recordings("ptbxl/records500").rglob("*.hea"))[:2]
    assert records
    for record in records:
        recording = read_recording(record)
        expected = measure(recording).values["heart_rate"].value
        with Simulator(DEVICE, recording, speed=4.0) as simulated, open_device(DEVICE, simulated.url) as device:
            events = list(stream(device, assistant, windows=1))
        result = next(event for event in events if isinstance(event, WindowResult)).interpretation
        assert result is not None
        assert result.measurements["heart_rate"]["value"] == pytest.approx(expected, abs=3)
