"""Write WFDB annotation files (MIT format), which PhysioNet's tools and the wfdb package read.

Each annotation is a 16-bit little-endian word: type << 10 | samples since the one before. Longer pauses are a SKIP word
(type 59) and 32 bits with the high half first; the file ends with a zero word (WFDB Applications Guide, annot(5)).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_runtime.files import replace_file
from uniecg_runtime.signal.waves import Waves

CODES = {"N": 1, "p": 24, "t": 27, "(": 39, ")": 40}
_SKIP = 59
_LONGEST = 1023  # samples that fit beside the type
_FARTHEST = 2**31 - 1


def write_annotations(waves: Waves, folder: str | Path, name: str) -> list[Path]:
    """Write `NAME.qrs` (the beats, N) and one `NAME.LEAD` per lead, as LUDB does: ( p ) ( N ) ( t ) in lower case.

    Returns the paths. Raises InputError where a file cannot be written.
    """
    base = Path(folder)
    written = []
    for annotator, (samples, symbols) in annotators(waves).items():
        path = base / f"{name}.{annotator}"
        try:
            replace_file(path, encode(samples, symbols))
        except OSError as error:
            raise InputError(f"Cannot write {path}: {error.strerror or error}.") from None
        written.append(path)
    return written


def annotators(waves: Waves) -> dict[str, tuple[NDArray[np.int64], list[str]]]:
    """Name -> samples, ascending, and their symbols."""
    found = {"qrs": (waves.beats, ["N"] * waves.beats.size)}
    for lead, marks in waves.leads.items():
        symbols = np.broadcast_to(np.array([*"(p)(N)(t)"]), marks.shape)
        held = marks >= 0
        samples, names = marks[held], symbols[held]
        order = np.argsort(samples, kind="stable")
        found[lead.lower()] = samples[order], names[order].tolist()
    return found


def encode(samples: NDArray[np.int64], symbols: list[str]) -> bytes:
    """The bytes of an annotation file. samples: ascending from 0. Raises InputError beyond what the format can say."""
    steps = np.diff(samples, prepend=0)
    if steps.size and not (steps.min() >= 0 and steps.max() <= _FARTHEST):
        raise InputError("Annotations must be in order of time and at most 2^31 samples apart.")
    words: list[int] = []
    for step, symbol in zip(steps.tolist(), symbols, strict=True):
        if step > _LONGEST:
            words += [_SKIP << 10, step >> 16, step & 0xFFFF]
            step = 0
        words.append(CODES[symbol] << 10 | step)
    return np.array([*words, 0], dtype="<u2").tobytes()
