"""A capture through the framer once more: the samples come out bit for bit as they were recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np

from uniecg_device._native import Framer
from uniecg_device.errors import InputError
from uniecg_device.profile import Profile, parse_profile
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

    Raises InputError where the recording has no wire bytes, where a sample differs or is not in them, and where it lies
    elsewhere on the clock than the device's counter says.
    """
    identical = framed = 0
    profile = _profile_of(store)
    pieces = _placed(store, profile)
    recorded = next(pieces, None)
    for again in _framed_again(store, profile):
        framed += len(again.electrodes_off)
        while recorded is not None and (recorded.connection, recorded.framed) < (again.connection, again.end):
            if (recorded.connection, recorded.framed) < (again.connection, again.framed):
                raise _absent(store, recorded)
            common = min(again.end - recorded.framed, len(recorded.electrodes_off))
            _compare(store, again, recorded.part(0, common))
            identical += common
            rest = recorded.part(common, len(recorded.electrodes_off))
            recorded = rest if len(rest.electrodes_off) else next(pieces, None)
    if recorded is not None:
        raise _absent(store, recorded)
    return Replay(identical, framed - identical)


def _framed_again(store: Store, profile: Profile) -> Iterator[Piece]:
    """What the profile's framer makes of the wire bytes, in order and at its own positions."""
    connection, framer = -1, profile.make_framer(_RING_SAMPLES)
    for stretch in store.wire():
        if stretch.connection != connection:
            connection, framer = stretch.connection, profile.make_framer(_RING_SAMPLES)
        for first in range(0, len(stretch.data), _PUSH_BYTES):
            framer.push(stretch.data[first : first + _PUSH_BYTES])
            yield from _pull(framer, connection)
    if connection < 0 and store.span:
        raise InputError(f"{store.path.name} holds no wire bytes to replay; record with --wire")


def _profile_of(store: Store) -> Profile:
    try:
        profile = parse_profile(store.profile)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise InputError(f"{store.path.name}: its device profile is not usable: {error}") from None
    if profile.leads != store.description.leads:
        raise InputError(f"{store.path.name}: its device profile has other leads than its samples")
    return profile


def _pull(framer: Framer, connection: int) -> Iterator[Piece]:
    counts, electrodes_off, positions = framer.pull_counts(_RING_SAMPLES)
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    for first, last in pairwise([0, *breaks.tolist(), len(positions)]):
        if last > first:
            start = int(positions[first])
            yield Piece(start, connection, start, counts[:, first:last], electrodes_off[first:last])


def _placed(store: Store, profile: Profile) -> Iterator[Piece]:
    """The recorded pieces. Raises InputError where one is not where the device's counter puts it."""
    counted = profile.counter_span is not None
    connection = shift = None
    for piece in store.pieces():
        if piece.connection != connection:
            connection, shift = piece.connection, piece.position - piece.framed
        if counted and piece.position - piece.framed != shift:
            raise InputError(
                f"{store.path.name}: the sample at {piece.position} is not where the device's counter puts it"
            )
        yield piece


def _compare(store: Store, again: Piece, recorded: Piece) -> None:
    first = recorded.framed - again.framed
    part = again.part(first, first + len(recorded.electrodes_off))
    same = (part.counts == recorded.counts).all(axis=0) & (part.electrodes_off == recorded.electrodes_off)
    if not same.all():
        position = recorded.position + int(np.argmin(same))
        raise InputError(f"{store.path.name}: the sample at {position} is not the one that its wire bytes give")


def _absent(store: Store, recorded: Piece) -> InputError:
    return InputError(
        f"{store.path.name}: the sample at {recorded.position} does not come out of its wire bytes; the file was "
        "changed, or this program frames differently from the one that recorded it"
    )
