"""`uniecg simulate`: a device that is not there, with its exact wire bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from uniecg_runtime.cli.output import describe, say
from uniecg_runtime.files import replacing

if TYPE_CHECKING:
    from uniecg_device.signals import Recording
    from uniecg_runtime.cli.records import Told

SIMULATED_SECONDS = 60.0


@dataclass(frozen=True)
class Source:
    """The simulated ECG that is played where no recording is given."""

    heart_rate: float
    rhythm: str


def run(
    profile: str,
    record: Path | None,
    told: Told,
    source: Source,
    *,
    speed: str,
    tcp: int | None,
    link: Path | None,
    faults: Sequence[str],
    seed: int,
) -> None:
    """Play the recording over and over until Ctrl-C; the first line printed is the port to connect to.

    A line more is printed for each port that the device comes back under. link: a symbolic link that leads to the pty
    of the moment, and is removed in the end.
    """
    from uniecg_device.errors import InputError
    from uniecg_device.faults import parse_faults
    from uniecg_device.simulator import Simulator

    pace, mishaps = _parse_speed(speed), parse_faults(faults, seed)
    recording = _made(source) if record is None else told.read(record)
    listen = "pty" if tcp is None else f"127.0.0.1:{tcp}"
    if link is not None and tcp is not None:
        raise InputError("--link leads to a pty; a TCP port keeps its number anyway.")
    with Simulator(profile, recording, listen=listen, speed=pace, faults=mishaps) as device, _kept(link) as lead_to:
        url = device.url
        lead_to(url)
        say(url)
        say(f"{device.profile.title}: {describe(recording)}, over and over; Ctrl-C ends it")
        if device.clipped:
            say(f"{device.clipped} samples exceed the device's range and are cut off, as its converter would")
        say(f"try: uniecg stream --device {profile} --port {url if link is None else link}")
        while True:
            time.sleep(0.2)
            if device.url != url:
                url = device.url
                lead_to(url)
                say(url)


@contextmanager
def _kept(link: Path | None) -> Iterator[Callable[[str], None]]:
    """Makes the link lead to a port, again and again; takes it away in the end. Raises InputError where it cannot."""
    from uniecg_device.errors import InputError

    if link is None:
        yield lambda url: None
        return
    if link.exists() and not link.is_symlink():
        raise InputError(f"{link} exists and is no symbolic link; choose another name for --link.")

    def lead_to(url: str) -> None:
        try:
            with replacing(link) as part:
                part.symlink_to(url)
        except OSError as error:
            raise InputError(f"Cannot make the link {link}: {error.strerror or error}.") from None

    try:
        yield lead_to
    finally:
        with suppress(OSError):
            link.unlink()


def _parse_speed(text: str) -> float | None:
    from uniecg_device.errors import InputError

    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1000:
        raise InputError(f"expected --speed above 0 and up to 1000, or max, found {text}; 1 is the device's own pace.")
    return speed


def _made(source: Source) -> Recording:
    from uniecg_device.parametric import ParametricEcg, simulate

    # ParametricEcg itself refuses a rhythm that it does not know.
    ecg = ParametricEcg(heart_rate=source.heart_rate, rhythm=cast(Any, source.rhythm))
    return simulate(ecg, SIMULATED_SECONDS, 500.0, 0)
