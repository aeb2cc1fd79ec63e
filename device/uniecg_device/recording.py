"""Record a device: what the store says about it, and the loop that commits as samples come."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from uniecg_device import __version__
from uniecg_device.counts import channel_scale
from uniecg_device.device import Device, Reconnect, open_device
from uniecg_device.errors import InputError
from uniecg_device.profile import Profile, load_profile, text_of
from uniecg_device.recorder import Committed, Recorder
from uniecg_device.recording_format import ChannelDescription, Description


def describe(profile: Profile, port: str, *, synthetic: bool) -> Description:
    """What a recording of this device at this port says about itself, opened now."""
    now = datetime.now().astimezone()
    channels = zip(profile.channel, *(row.tolist() for row in channel_scale(profile)), strict=True)
    return Description(
        device=_line(profile.name),
        title=_line(profile.title),
        fs=profile.fs,
        channels=tuple(
            ChannelDescription(lead=c.lead, offset=offset, mv_per_count=scale, low=c.range[0], high=c.range[1])
            for c, offset, scale in channels
        ),
        wilson_leads=profile.wilson_leads,
        scale_confidence=profile.scale.confidence,
        scale_provenance=_line(profile.scale.provenance),
        port=_line(port),
        opened=now,
        zone=now.tzname() or "",
        synthetic=synthetic,
        library=f"uniecg-edge {__version__}",
    )


def is_pseudo_terminal(port: str) -> bool:
    """Whether the port is one that programs make: a simulator's, or a bridge to a device elsewhere."""
    return os.path.realpath(port).startswith("/dev/pts/")


def record(
    profile: str | Path,
    port: str,
    path: str | Path,
    *,
    seconds: float | None = None,
    wire: bool = False,
    synthetic: bool = False,
    reconnect: float = 60.0,
    notify: Callable[[str], None] | None = None,
) -> Generator[Committed]:
    """Records a device until `seconds` of its clock have passed or the iterator is closed; yields after each commit.

    profile: a built-in profile's name or a TOML file. wire: keep the bytes of the line too. synthetic: a simulator
    plays, and the recording says so. reconnect, notify: as `open_device` takes them. Raises ProfileError, DeviceError
    as the device does, after the rest was committed, and InputError where the file cannot be written. A device that
    never sent a sample leaves no file, unless the bytes of the line are kept.
    """
    known = load_profile(profile)
    description = describe(known, port, synthetic=synthetic)
    with Recorder(path, description, text_of(profile), wire=wire) as recorder:
        try:
            device = open_device(known, port, reconnect=reconnect, notify=notify, tap=recorder)
        except BaseException:
            recorder.discard()
            raise
        with device:
            yield from _follow(device, recorder, seconds)


def _follow(device: Device, recorder: Recorder, seconds: float | None) -> Generator[Committed, None, None]:
    reason, told = "the device stopped", 0.0
    try:
        for block in device:
            for gap in device.reconnects:
                if told < gap.start <= block.start:
                    told = gap.start
                    recorder.event("connected", _told(gap), round(gap.start * device.fs))
            if recorder.due and recorder.commit(_stats(device)):
                yield recorder.committed
            if seconds is not None and block.start + block.signal.shape[1] / block.fs >= seconds:
                reason = "the time asked for has passed"
                break
    except InputError:
        raise  # the file itself: there is nothing to add to it
    except BaseException as error:
        recorder.close(_why_ended(error), _stats(device))
        if recorder.empty:  # a wrong port, profile or rate: the name is free for the next attempt
            recorder.discard()
        raise
    recorder.close(reason, _stats(device))
    yield recorder.committed


def _stats(device: Device) -> dict[str, int | float]:
    return {name: value for name, value in asdict(device.stats).items() if value is not None}


def _told(gap: Reconnect) -> dict[str, object]:
    return {"port": gap.port, "missing": gap.samples, "by_counter": gap.by_counter}


def _why_ended(error: BaseException) -> str:
    return str(error) or "it was asked to end"


def _line(text: str) -> str:
    return " ".join(text.split())[:4096]
