"""`uniecg interpret`: recordings in, what they show out."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from uniecg_device.errors import InputError
from uniecg_runtime.cli.output import (
    after_text,
    describe,
    say,
    say_json,
    split_leads,
)

if TYPE_CHECKING:
    from uniecg_device.signals import Recording
    from uniecg_runtime.assistant import Assistant
    from uniecg_runtime.cli.opening import Opening


@dataclass(frozen=True)
class Reading:
    """How to read the files where they do not say, and what to ask."""

    fs: float | None
    units: str | None
    leads: str | None
    start: float
    question: str | None


def run(records: list[Path], opening: Opening, how: Reading, *, as_json: bool) -> int:
    """Interpret each record; a bad one is reported and the others go on. Returns the exit code."""
    assistant = opening.assistant()
    failed = False
    for record in records:
        try:
            _one(assistant, record, how, as_json=as_json)
        except InputError as error:
            failed = True
            print(f"error: {record}: {' '.join(str(error).split())}", file=sys.stderr)
    return int(failed)


def encode(records: list[Path], opening: Opening, how: Reading, out: Path) -> int:
    """Write `out` with one array per output of the encoder, (records, ...), and `records`; a bad record is left out."""
    import numpy as np

    assistant = opening.assistant()
    encoded = {}
    for record in records:
        try:
            encoded[str(record)] = assistant.encode(_read(assistant, record, how))
        except InputError as error:
            print(f"error: {record}: {' '.join(str(error).split())}", file=sys.stderr)
    if encoded:
        names = next(iter(encoded.values()))
        arrays = {name: np.stack([outputs[name] for outputs in encoded.values()]) for name in names}
        try:
            with out.open("wb") as file:
                np.savez_compressed(file, records=np.array(list(encoded)), **arrays)  # type: ignore[arg-type]
        except OSError as error:
            raise InputError(f"expected to be able to write {out}: {error}; choose another place.") from None
        say(f"wrote {out}: {', '.join(f'{name} {array.shape}' for name, array in arrays.items())}")
    return int(len(encoded) < len(records))


def _one(assistant: Assistant, record: Path, how: Reading, *, as_json: bool) -> None:
    recording = _read(assistant, record, how)
    if as_json:
        result = assistant.interpret(recording, question=how.question)
        say_json({**result.to_json(), "start": how.start})
        return
    say(f"{record}: {describe(recording)}, from {how.start:g} s")
    result = assistant.interpret(recording, question=how.question, on_text=lambda text: say(text, end=""))
    say()
    for line in after_text(result):
        say(line)


def _read(assistant: Assistant, record: Path, how: Reading) -> Recording:
    """The stretch that the bundle's encoder takes."""
    from uniecg_runtime.formats.read import read_recording
    from uniecg_runtime.manifest import need

    preprocessing = need(assistant.bundle.manifest.preprocessing, "an encoder")
    recording = read_recording(
        record,
        fs=how.fs,
        units=how.units,
        leads=split_leads(how.leads),
        start=how.start,
        seconds=preprocessing.samples / preprocessing.fs,  # a day of Holter need not fit in memory
    )
    return replace(recording, name=str(record))
