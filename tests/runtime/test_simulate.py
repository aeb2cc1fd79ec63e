"""`uniecg simulate` takes faults and a pace, and says where the device is to be found."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from uniecg_device import open_device
from uniecg_device.errors import InputError
from uniecg_runtime.cli import simulate
from uniecg_runtime.cli.records import Told


def run(
    *,
    speed: str = "20",
    faults: tuple[str, ...] = (),
    profile: str = "ad8232_text",
    tcp: int | None = None,
    link: Path | None = None,
) -> None:
    source, told = simulate.Source(72.0, "sinus"), Told(None, None, None)
    simulate.run(profile, None, told, source, speed=speed, tcp=tcp, link=link, faults=faults, seed=1)


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


def test_a_link_leads_a_stream_through_every_change_of_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, done = tmp_path / "ecg", threading.Event()

    def until_done(seconds: float) -> None:
        if done.is_set():
            raise KeyboardInterrupt
        time.sleep(0.01)

    def play() -> None:
        with pytest.raises(KeyboardInterrupt):
            run(link=link, faults=("disconnect=0.002", "seconds=0.5"))

    monkeypatch.setattr(simulate, "time", SimpleNamespace(sleep=until_done))
    player = threading.Thread(target=play)
    player.start()
    try:
        deadline = time.monotonic() + 10
        while not link.is_symlink() and time.monotonic() < deadline:
            time.sleep(0.01)
        with open_device("ad8232_text", str(link), reconnect=10) as device:
            for _ in device:
                if device.stats.reconnects >= 2 or time.monotonic() > deadline:
                    break
            assert device.stats.reconnects >= 2
    finally:
        done.set()
        player.join()
    assert not link.is_symlink()


def test_a_link_takes_no_file_away_and_leads_to_no_tcp_port(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(InputError, match="no symbolic link; choose another name"):
        run(link=tmp_path / "kept")
    with pytest.raises(InputError, match="Cannot make the link"):
        run(link=tmp_path / "missing" / "ecg")
    with pytest.raises(InputError, match="a TCP port keeps its number"):
        run(link=tmp_path / "ecg", tcp=4000)
    assert (tmp_path / "kept").read_text() == "mine"
