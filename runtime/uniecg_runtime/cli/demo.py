"""`uniecg demo`: both roads in half a minute, without a device and without the network."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uniecg_device.errors import InputError
from uniecg_runtime.cli.output import check_files, describe, keep, say
from uniecg_runtime.cli.stream import show

if TYPE_CHECKING:
    from uniecg_device.signals import Recording
    from uniecg_runtime.assistant import Assistant
    from uniecg_runtime.cli.opening import Opening

DEVICE = "e8_12lead"
FEED = "Generate a normal ECG, heart rate 64"
REQUEST = "Generate an ECG with atrial fibrillation, heart rate 110, male, 70 years"
SECONDS = 10.0


def run(opening: Opening, folder: Path) -> None:
    """A simulated device is streamed and read, then the model draws what it is asked for."""
    from uniecg_runtime.results import DISCLAIMER

    begin = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"expected to be able to make the folder {folder}: {error.strerror}; give another.") from None
    check_files(folder / "af.hea", folder / "af.png")
    say(f"uniecg demo. {DISCLAIMER}")
    assistant = opening.assistant()
    manifest = assistant.bundle.manifest
    held = ", ".join(artifact.role for artifact in manifest.artifacts)
    say(f"\n1. Opened bundle {manifest.name} {manifest.version}, hashes right: {held}.")
    say("\n2. A simulated serial device. It plays 10 s that the model draws now, then 10 s of a parametric simulator.")
    _stream(assistant, _signals(assistant))
    say(f'\n3. Words in, a 12-lead ECG out: "{REQUEST}"')
    _draw(assistant, folder)
    say(f"\nDone in {time.perf_counter() - begin:.0f} s. {DISCLAIMER}")


def _signals(assistant: Assistant) -> list[Recording]:
    """What the device plays; neither was recorded from a person."""
    from uniecg_device.parametric import ParametricEcg, simulate

    drawn = assistant.generate(FEED, seed=1)
    say(f'   "{FEED}" -> {drawn.text}')
    made = simulate(ParametricEcg(heart_rate=96.0, st={"II": 0.2, "III": 0.2, "aVF": 0.2}), SECONDS, 500.0, 7)
    say("   parametric: sinus rhythm of 96 bpm with 0.2 mV of ST elevation in the inferior leads")
    return [drawn.recording, replace(made, name="parametric")]


def _stream(assistant: Assistant, signals: list[Recording]) -> None:
    from uniecg_device.device import open_device
    from uniecg_device.simulator import Simulator
    from uniecg_runtime.stream import stream

    with Simulator(DEVICE, signals) as device, open_device(DEVICE, device.url) as port:
        say(f"   {device.profile.title} on {device.url}, {device.profile.port.baud} baud, {device.profile.fs:g} Hz")
        show(stream(port, assistant, interval=SECONDS, windows=len(signals)))


def _draw(assistant: Assistant, folder: Path) -> None:
    say("   ", end="")
    drawn = assistant.generate(REQUEST, on_text=lambda text: say(text, end=""))
    say(f"\n   {describe(drawn.recording)}, {drawn.timing_ms['total']:.0f} ms")
    for file in keep(drawn.recording, folder / "af.hea", folder / "af.png"):
        say(f"   wrote {file}")
