"""What a recording's file holds: its tables, and where the recording says that it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from uniecg_device.signals import LEADS

SUFFIX = ".uniecg"
APPLICATION_ID: Final = 0x55454347  # "UECG"
VERSION: Final = 1

SCHEMA: Final = (
    "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE samples (position INTEGER PRIMARY KEY, samples INTEGER NOT NULL, connection INTEGER NOT NULL,"
    " framed INTEGER NOT NULL, arrived REAL NOT NULL, counts BLOB NOT NULL, electrodes BLOB)",
    "CREATE TABLE wire (id INTEGER PRIMARY KEY, connection INTEGER NOT NULL, size INTEGER NOT NULL,"
    " bytes BLOB NOT NULL)",
    "CREATE TABLE events (id INTEGER PRIMARY KEY, position INTEGER NOT NULL, time REAL NOT NULL,"
    " kind TEXT NOT NULL, detail TEXT NOT NULL)",
)
"""about: `description`, `profile`, `stats`, and `closed` in a recording that came to its end, all but the profile JSON.
samples: a contiguous stretch each, packed (`packing`); electrodes is NULL while all are on. position is the device's
clock; framed is where the first of them lies in its connection, as the framer counts. wire: with --wire, deflated.
arrived, time: Unix time."""

Stats = Mapping[str, int | float]
"""`DeviceStats` by name, without what it does not know yet."""

Text = Annotated[str, Meta(max_length=4096)]
Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]
Count = Annotated[int, Meta(ge=-(1 << 31), lt=1 << 32)]


class ChannelDescription(Struct, frozen=True, kw_only=True):
    """millivolts = (count - offset) * mv_per_count; low and high are the ends of the converter's range."""

    lead: str
    offset: Finite
    mv_per_count: Annotated[float, Meta(gt=1e-12, lt=1e6)]
    low: Count
    high: Count

    def __post_init__(self) -> None:
        if self.lead not in LEADS and not re.fullmatch(r"CH[1-9]\d?", self.lead):
            raise ValueError(
                f"lead {self.lead[:20]!r} is none of {' '.join(LEADS)}, nor CH1 .. CH99 for what is no lead"
            )
        if self.low >= self.high:
            raise ValueError("a converter's range has a lower and an upper end")


class Description(Struct, frozen=True, kw_only=True):
    """Where a recording comes from; everything that is needed to read it without its profile.

    opened: local time with its offset from UTC, ISO 8601; zone: that zone's name. synthetic: no person was measured.
    scale_confidence, scale_provenance: how well the millivolts of a count are known, and from where.
    """

    device: Text
    title: Text
    fs: Annotated[float, Meta(gt=0, le=100_000)]
    channels: Annotated[tuple[ChannelDescription, ...], Meta(min_length=1, max_length=32)]
    wilson_leads: tuple[str, ...]
    scale_confidence: Text
    scale_provenance: Text
    port: Text
    opened: datetime
    zone: Text
    synthetic: bool
    library: Text

    def __post_init__(self) -> None:
        if len(set(self.leads)) != len(self.leads):
            raise ValueError("two channels have the same lead")
        if self.opened.tzinfo is None or not 1970 <= self.opened.year <= 9000:
            raise ValueError("`opened` is a time with its offset from UTC")

    @property
    def leads(self) -> tuple[str, ...]:
        """One per channel, in the device's order."""
        return tuple(channel.lead for channel in self.channels)

    @property
    def offset(self) -> NDArray[np.float64]:
        return np.array([channel.offset for channel in self.channels])

    @property
    def mv_per_count(self) -> NDArray[np.float64]:
        return np.array([channel.mv_per_count for channel in self.channels])


class Closed(Struct, frozen=True):
    """When and why a recording ended; one that was cut off has none."""

    time: datetime
    reason: Text
