"""`uniecg simulate` takes faults and a pace, and says where the device is to be found."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from uniecg_device.errors import InputError
from uniecg_runtime.cli import simulate
from uniecg_runtime.cli.records import Told


def run(*, speed: str = "20", faults: tuple[str, ...] = (), profile: str = "ad8232_text") -> None:
    source = simulate.Source(72.0, "sinus")
    simulate.run(profile, None, Told(None, None, None), source, speed=speed, tcp=None, faults=faults, seed=1)


@pytest.mark.parametrize("speed", ["0", "-1", "1001", "nan", "fast"])
def test_a_speed_that_cannot_be(speed: str) -> None:
    with pytest.raises(InputError, match=f"or max, found {speed}"):
        run(speed=speed)


def test_a_fault_that_it_does_not_know() -> None:
    with pytest.raises(InputError, match="electrode_off, seconds, drift, found 'boom=1'"):
        run(faults=("boom=1",))


@pytest.mark.parametrize("speed", ["max", "20"])
def test_each_port_it_comes_back_under_is_printed(
    speed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    deadline = time.monotonic() + 10

    def until_it_moved(seconds: float) -> None:
        said.extend(capsys.readouterr().out.splitlines())
        ports = {line for line in said if line.startswith("/dev/")}
        if len(ports) > 1 or time.monotonic() > deadline:
            raise KeyboardInterrupt
        time.sleep(0.01)

    monkeypatch.setattr(simulate, "time", SimpleNamespace(sleep=until_it_moved))
    with pytest.raises(KeyboardInterrupt):
        run(speed=speed, faults=("disconnect=0.05", "seconds=0.5"))
    assert said[0].startswith("/dev/") and len({line for line in said if line.startswith("/dev/")}) > 1
