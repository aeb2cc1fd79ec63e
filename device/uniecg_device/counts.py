"""From the counts of a converter to millivolts of every lead that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from uniecg_device.profile import Profile
from uniecg_device.signals import LEADS, derive_limb_leads

_LIMB_LEADS = LEADS[:6]


@dataclass(frozen=True, eq=False)
class Samples:
    """What a device sent, as it sent it.

    counts: int32 (channels, samples). electrodes_off: uint32 (samples,), bit c set while channel c's electrode is off.
    positions: the framer's number of each sample, from 0 in every connection, lost ones counted where the wire tells.
    numbers: int64, their numbers on the device's clock, which go on through reconnects and never go back.
    """

    counts: NDArray[np.int32]
    electrodes_off: NDArray[np.uint32]
    positions: NDArray[np.int64]
    numbers: NDArray[np.int64]


class Tap(Protocol):
    """Sees all that passes through a device before it becomes blocks, as a recorder does."""

    def connected(self) -> int:
        """A framer begins; returns the connection's number, which its samples come with.

        Called by the thread that reads the line, before its first bytes, at first and after every reconnect.
        """

    def wire(self, data: bytes) -> None:
        """Bytes of the latest connection that are framed next, in order; called by the thread that reads the line."""

    def samples(self, connection: int, samples: Samples) -> None:
        """Samples of one connection; called by the thread that iterates, before their blocks."""

    def waiting(self) -> None:
        """No samples have come for 100 ms; called by the thread that iterates, again and again."""


def channel_scale(profile: Profile) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per channel the count of zero millivolts, and the millivolts of a count."""
    scale = np.array([profile.scale_of(channel) for channel in profile.channel])
    return scale[:, 1], 1 / scale[:, 0]


def to_millivolts(
    counts: NDArray[np.int32], offset: NDArray[np.float64], mv_per_count: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(channels, samples) float32, to the bit what the native framer makes of these counts."""
    return ((counts - offset[:, None]) * mv_per_count[:, None]).astype(np.float32)


def output_leads(leads: Sequence[str]) -> tuple[str, ...]:
    """The device's leads and those that follow from I and II, in `LEADS` order."""
    derived = _LIMB_LEADS if {"I", "II"} <= set(leads) else ()
    return tuple(lead for lead in LEADS if lead in leads or lead in derived)


def assemble(
    leads: Sequence[str],
    wilson_leads: Sequence[str],
    millivolts: NDArray[np.float32],
    electrodes_off: NDArray[np.uint32],
) -> NDArray[np.float32]:
    """Millivolts of all `output_leads`, (leads, samples); NaN where an electrode they need is off.

    leads: of each row of `millivolts`; a channel that is no lead enters no row of the result.
    """
    rows = dict(zip(leads, millivolts, strict=True))
    if electrodes_off.any():
        wilson_off = np.zeros(len(electrodes_off), bool)
        for bit, lead in enumerate(leads):
            off = (electrodes_off >> np.uint32(bit)) & np.uint32(1) == 1
            rows[lead] = np.where(off, np.float32(np.nan), rows[lead])
            if lead in wilson_leads:
                wilson_off |= off
        for lead in leads:
            if lead.startswith("V"):
                rows[lead] = np.where(wilson_off, np.float32(np.nan), rows[lead])
    if "I" in rows and "II" in rows:
        limb = dict(zip(_LIMB_LEADS, derive_limb_leads(rows["I"], rows["II"]), strict=True))
        rows = limb | rows
    wanted = output_leads(leads)
    signal = np.empty((len(wanted), millivolts.shape[1]), np.float32)
    for row, lead in zip(signal, wanted, strict=True):
        row[:] = rows[lead]
    return signal


def leads_off(leads: Sequence[str], electrodes_off: NDArray[np.uint32]) -> tuple[str, ...]:
    """Leads whose electrode is off in at least one of the samples."""
    flags = int(np.bitwise_or.reduce(electrodes_off))
    return tuple(lead for bit, lead in enumerate(leads) if flags >> bit & 1)
