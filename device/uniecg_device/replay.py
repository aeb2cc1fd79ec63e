"""A capture through the framer once more: the samples come out bit for bit as they were recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np

from uniecg_device._native import Framer
from uniecg_device.errors import InputError
from uniecg_device.profile import parse_profile
from uniecg_device.recording_store import Piece, Store

_PUSH_BYTES = 1024
_RING_SAMPLES = 1 << 16  # more than so few bytes hold


@dataclass(frozen=True)
class Replay:
    """identical: recorded samples that the wire bytes give again. further: those that only the wire bytes give.

    Further samples are what the ring had no room for while the recorder was kept waiting, and what was on its way to
    the recorder when it ended.
    """

    identical: int
    further: int


def replay(store: Store) -> Replay:
    """Frames a recording's wire bytes anew and compares every sample with the recorded one, counts and electrodes.

    Raises InputError where the recording has no wire bytes, and where a sample differs or is not in them.
    """
    identical = framed = 0
    for piece in framed_again(store):
        framed += len(piece.electrodes_off)
        for recorded in store.pieces(piece.position, piece.end):
            _compare(store, piece, recorded)
            identical += len(recorded.electrodes_off)
    recorded_in_all = sum(len(piece.electrodes_off) for piece in store.pieces())
    if framed == 0 and recorded_in_all:
        raise InputError(f"{store.path.name} holds no wire bytes to replay; record with --wire")
    if identical != recorded_in_all:
        raise InputError(
            f"{store.path.name}: {recorded_in_all - identical} of {recorded_in_all} recorded samples do not come out "
            "of its wire bytes; the file was changed, or this program frames differently from the one that recorded it"
        )
    return Replay(identical, framed - identical)


def framed_again(store: Store) -> Iterator[Piece]:
    """What the stored profile's framer makes of the wire bytes, in order. Raises InputError."""
    try:
        profile = parse_profile(store.profile)
    except (ValueError, msgspec.MsgspecError) as error:
        raise InputError(f"{store.path.name}: its device profile is not usable: {error}") from None
    if profile.leads != store.description.leads:
        raise InputError(f"{store.path.name}: its device profile has other leads than its samples")
    connection, framer = None, profile.make_framer(_RING_SAMPLES)
    for stretch in store.wire():
        if stretch.connection != connection:
            connection, framer = stretch.connection, profile.make_framer(_RING_SAMPLES)
        for first in range(0, len(stretch.data), _PUSH_BYTES):
            framer.push(stretch.data[first : first + _PUSH_BYTES])
            yield from _pull(framer, stretch.base)


def _pull(framer: Framer, base: int) -> Iterator[Piece]:
    counts, electrodes_off, positions = framer.pull_counts(_RING_SAMPLES)
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    for first, last in pairwise([0, *breaks.tolist(), len(positions)]):
        if last > first:
            yield Piece(base + int(positions[first]), counts[:, first:last], electrodes_off[first:last])


def _compare(store: Store, framed: Piece, recorded: Piece) -> None:
    part = slice(recorded.position - framed.position, recorded.end - framed.position)
    same = (framed.counts[:, part] == recorded.counts).all(axis=0)
    same &= framed.electrodes_off[part] == recorded.electrodes_off
    if not same.all():
        position = recorded.position + int(np.argmin(same))
        raise InputError(f"{store.path.name}: the sample at {position} is not the one that its wire bytes give")
