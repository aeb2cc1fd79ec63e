"""Waves and matrix of recordings of any length, a piece at a time: a day of Holter need not fit in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from uniecg_device.errors import InputError
from uniecg_device.signals import Recording
from uniecg_runtime.signal.edges import FindEdges, edges_of
from uniecg_runtime.signal.matrix import Matrix, survey, tabulate
from uniecg_runtime.signal.quality import ACCEPTABLE, Quality, assess
from uniecg_runtime.signal.waves import Waves, find_waves

PIECE, MARGIN = 600.0, 10.0  # s measured at once, and how much of its neighbours is seen beside it
WIDEST_MV = 50.0  # range of a lead, the most that wander and pacing leave plausible


@dataclass(frozen=True, eq=False)
class Report:
    """Of a whole recording. first: its first piece, which says leads, rate and units. samples: its length.

    quality: the mean score of the pieces; a lead's reasons, and swapped electrodes, are those of half of them or more.
    """

    first: Recording
    samples: int
    waves: Waves
    matrix: Matrix
    quality: Quality


Read = Callable[[float, float], Recording]  # start and length in seconds; all NaN where nothing was received


def measure_all(read: Read, find_edges: FindEdges = edges_of) -> Report:
    """Measure what `read` gives, piece after piece up to its end. Memory is that of a piece and of the result.

    find_edges: as for `find_waves`. Raises InputError as `read` does, for less than a second, for leads that cannot be
    in millivolts, and where no piece has a valid sample.
    """
    held, parts, quality = [], [], []
    first: Recording | None = None
    samples, received = 0, False
    for piece, offset, own in _pieces(read):
        first = first or replace(piece, signal=piece.signal[:, : round(10 * piece.fs)])
        received = received or bool(np.isfinite(piece.signal).any())
        _check_millivolts(piece)
        waves = _between(find_waves(piece, find_edges), own)
        parts.append(survey(piece, waves))
        held.append(_moved(waves, offset))
        quality.append(assess(replace(piece, signal=piece.signal[:, own])))
        samples = offset + own.stop
    assert first is not None, "_pieces gives one at least, or raises"
    if samples < first.fs:
        raise InputError(f"expected a second of signal or more, found {samples / first.fs:.2g} s.")
    if not received:
        raise InputError("it holds no valid sample; every value is missing (NaN).")
    waves = _joined(held, first.leads)
    matrix = tabulate(parts, first.leads, first.units == "mV")
    return Report(first, samples, waves, matrix, _overall(quality))


def _pieces(read: Read) -> Iterator[tuple[Recording, int, slice]]:
    """Each piece with its margins, its first sample in the whole, and which of its samples are its own."""
    start = 0.0
    while True:
        before = min(MARGIN, start)
        piece = read(start - before, before + PIECE + MARGIN)
        offset, low = round((start - before) * piece.fs), round(before * piece.fs)
        asked = round((before + PIECE + MARGIN) * piece.fs)
        if piece.signal.shape[1] < asked:
            yield piece, offset, slice(low, piece.signal.shape[1])
            return
        high = round((start + PIECE) * piece.fs) - offset
        yield piece, offset, slice(low, high)
        start += PIECE


def _check_millivolts(piece: Recording) -> None:
    """Raise InputError where the range of the leads is none that an ECG has."""
    if piece.units != "mV":
        return
    part = piece.signal[:, : round(30 * piece.fs)]
    ranges = [float(np.ptp(np.percentile(row[np.isfinite(row)], (1, 99)))) for row in part if np.isfinite(row).any()]
    moving = [found for found in ranges if found > 0]
    if moving and float(np.median(moving)) > WIDEST_MV:
        raise InputError(
            f"expected leads of at most {WIDEST_MV:g} mV, found {np.median(moving):.3g} as the median range: it looks "
            "like microvolts or counts, give the unit with --units."
        )


def _between(waves: Waves, own: slice) -> Waves:
    inside = (waves.beats >= own.start) & (waves.beats < own.stop)
    return Waves(waves.beats[inside], {lead: marks[inside] for lead, marks in waves.leads.items()}, waves.kinds[inside])


def _moved(waves: Waves, offset: int) -> Waves:
    leads = {lead: np.where(marks >= 0, marks + offset, -1) for lead, marks in waves.leads.items()}
    return Waves(waves.beats + offset, leads, waves.kinds)


def _joined(parts: list[Waves], leads: tuple[str, ...]) -> Waves:
    return Waves(
        np.concatenate([part.beats for part in parts]),
        {lead: np.concatenate([part.leads[lead] for part in parts]) for lead in leads},
        np.concatenate([part.kinds for part in parts]),
    )


def _overall(parts: list[Quality]) -> Quality:
    if len(parts) == 1:
        return parts[0]
    score = float(np.mean([part.score for part in parts]))
    leads: dict[str, tuple[str, ...]] = {}
    for lead in dict.fromkeys(lead for part in parts for lead in part.leads):
        counts = Counter(reason for part in parts for reason in part.leads.get(lead, ()))
        reasons = tuple(reason for reason, count in counts.items() if 2 * count >= len(parts))
        if reasons:
            leads[lead] = reasons
    kinds = Counter(part.reversal.kind for part in parts if part.reversal is not None)
    swapped = {kind for kind, count in kinds.items() if 2 * count >= len(parts)}
    reversal = next((part.reversal for part in parts if part.reversal and part.reversal.kind in swapped), None)
    return Quality(score, score >= ACCEPTABLE, leads, reversal=reversal)
