"""`uniecg calibrate`: from a generator's signal to a profile that `uniecg stream` takes."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from uniecg_device.profile import load_profile
from uniecg_device.recording import record
from uniecg_device.signals import INDEPENDENT_LEADS, Recording
from uniecg_device.simulator import Simulator
from uniecg_runtime.cli.app import app

E8 = load_profile("e8_12lead")
DEVICE = msgspec.structs.replace(E8, scale=msgspec.structs.replace(E8.scale, counts_per_mv=1184.0))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["calibrate", "--device", "e8_12lead", *arguments])


def generator(*, hz: float | None = None, half: bool = False) -> Simulator:
    """A device of 1184 counts per mV with 1 mV on it: a square wave or a sine; on lead I perhaps half of it."""
    time = np.arange(5000) / 500
    wave = (time * 2 % 1 < 0.4) - 0.5 if hz is None else 0.5 * np.sin(2 * np.pi * hz * time)
    rows = np.tile(wave.astype(np.float32), (8, 1))
    rows[0] *= 0.5 if half else 1.0
    return Simulator(DEVICE, Recording(rows, 500.0, INDEPENDENT_LEADS), speed=4.0)


def test_a_pulse_becomes_a_profile(tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    with generator() as device:
        result = run("--port", device.url, "--out", str(out), "--seconds", "4", "--source", "bench generator")
    assert result.exit_code == 0, result.output
    assert "profile 1423 (-16." in result.output and f"--device {out}" in result.output
    scale = load_profile(out).scale
    assert scale.counts_per_mv == pytest.approx(1184, rel=2e-3) and scale.basis == "measured"
    assert "bench generator" in scale.provenance and "1423" in scale.disagreement


def test_a_sine_of_one_lead_from_a_recording(tmp_path: Path) -> None:
    path, out = tmp_path / "x.uniecg", tmp_path / "mine.toml"
    with generator(hz=5.0, half=True) as device:
        for _ in record("e8_12lead", device.url, path, seconds=4.0, synthetic=True):
            pass
    options = (str(path), "--out", str(out), "--sine", "1", "--hz", "5")
    assert "within 2 %" in str(run(*options).exception) and not out.exists()
    result = run(*options, "--lead", "II, V1", "--json")
    channels = {one["lead"]: one for one in json.loads(result.stdout)["channels"]}
    assert channels["II"]["counts_per_mv"] == pytest.approx(1184, rel=2e-3) and set(channels) == {"II", "V1"}
    assert load_profile(out).scale.counts_per_mv == pytest.approx(1184, rel=2e-3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "either --port"),
        (("x.uniecg", "--port", "/dev/null"), "either --port"),
        (("--port", "/dev/null", "--hz", "5"), "--hz beside --sine"),
        (("--port", "/dev/null", "--sine", "1"), "expected --hz"),
        (("--port", "/dev/null", "--sine", "1", "--hz", "5", "--pulse", "1"), "found both"),
        (("--port", "/dev/null", "--pulse", "-1"), "more than 0"),
    ],
)
def test_wrong_options_are_told_before_anything_is_opened(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    result = run("--out", str(tmp_path / "mine.toml"), *options)
    assert result.exit_code == 1 and says in str(result.exception)


def test_an_existing_file_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    out.write_text("mine")
    result = run("--out", str(out), "--port", "/dev/null")
    assert "exists already" in str(result.exception) and out.read_text() == "mine"


def test_another_devices_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.uniecg"
    with generator() as device:
        for _ in record("e8_12lead", device.url, path, seconds=0.5, synthetic=True):
            pass
    result = CliRunner().invoke(
        app, ["calibrate", str(path), "--device", "openbci_cyton", "--out", str(tmp_path / "mine.toml")]
    )
    assert "expected a recording of openbci_cyton" in str(result.exception)
