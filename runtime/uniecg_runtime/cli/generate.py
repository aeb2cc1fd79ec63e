"""`uniecg generate`: words in, a synthetic 12-lead ECG out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_runtime.cli.output import check_files, describe, keep, say, say_json
from uniecg_runtime.formats.tables import load_npy

if TYPE_CHECKING:
    from uniecg_device.signals import Recording
    from uniecg_runtime.cli.opening import Opening


@dataclass(frozen=True)
class Wish:
    """What to draw."""

    text: str
    sex: str | None
    age: float | None
    heart_rate: float | None
    seed: int
    steps: int | None
    guidance: float | None
    embedding: Path | None = None


def run(wish: Wish, opening: Opening, *, out: Path | None, plot: Path | None, as_json: bool) -> None:
    """Draw once, write the files asked for, and say what was drawn."""
    check_files(out, plot)
    drawn = opening.assistant().generate(
        wish.text,
        sex=wish.sex,
        age=wish.age,
        heart_rate=wish.heart_rate,
        seed=wish.seed,
        steps=wish.steps,
        guidance=wish.guidance,
        embedding=None if wish.embedding is None else read_embedding(wish.embedding),
    )
    files = keep(drawn.recording, out, plot)
    if as_json:
        say_json({"route": "ecg", **drawn.to_json(), **drawn_json(drawn.recording, files)})
        return
    say(drawn.text or drawn.request)
    say(f"  {describe(drawn.recording)}, seed {drawn.seed}, {drawn.steps} steps")
    for file in files:
        say(f"  wrote {file}")
    if not files:
        say("  nothing written; --out x.hea (or .csv) keeps the signal, --plot x.png draws it on ECG paper")
    for note in drawn.notes:
        say(f"  note: {note}")
    say(f"  {drawn.disclaimer}")


def read_embedding(path: Path) -> NDArray[np.float32]:
    """A text's embedding from a NumPy file of at most a million numbers. Raises InputError for anything else."""
    array = load_npy(path)
    if array.size > 1_000_000:
        raise InputError(f"expected an embedding of at most a million numbers in {path}, found {array.size}.")
    return np.array(array, np.float32).reshape(-1)


def drawn_json(recording: Recording, files: list[str]) -> dict[str, Any]:
    """What `--json` adds about a drawn recording: its mark, its files, or the signal itself where there are none."""
    marked: dict[str, Any] = {"synthetic": recording.synthetic, "files": files}
    return marked if files else {**marked, "signal": recording.signal}
