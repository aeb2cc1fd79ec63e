"""The plain data that passes between rooms: millivolts with their leads and clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LEADS: tuple[str, ...] = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
INDEPENDENT_LEADS: tuple[str, ...] = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

Sex = Literal["male", "female"]
Units = Literal["mV", "standardised"]


@dataclass(frozen=True, eq=False)
class Recording:
    """A finished stretch of ECG.

    signal: float32, shape (leads, samples), C-contiguous, NaN where no sample exists.
    fs: sampling rate in Hz. leads: names out of `LEADS`, one per row.
    units: "mV", or "standardised" where each lead was scaled and its amplitude is lost.
    synthetic: True where a model or simulator made the signal; every writer marks it.
    """

    signal: NDArray[np.float32]
    fs: float
    leads: tuple[str, ...]
    name: str = ""
    units: Units = "mV"
    age: float | None = None
    sex: Sex | None = None
    synthetic: bool = False
    comments: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.signal.shape[1] / self.fs)


@dataclass(frozen=True, eq=False)
class Block:
    """What a device yields: consecutive samples on the device's clock.

    signal: float32 mV, shape (leads, samples), C-contiguous; NaN where an electrode is off.
    start: seconds on the device's clock of the first sample; a jump from the previous block's
    end is a gap of `lost` samples: missing by the device's counter or by its clock, not taken out of the ring in
    time, or not sent while the device was lost.
    electrodes_off: leads whose electrode the device reports as off in this block.
    """

    signal: NDArray[np.float32]
    fs: float
    leads: tuple[str, ...]
    start: float
    lost: int = 0
    electrodes_off: tuple[str, ...] = field(default=())


def derive_limb_leads(lead_i: NDArray[np.float32], lead_ii: NDArray[np.float32]) -> NDArray[np.float32]:
    """The six limb leads from I and II (Einthoven, Goldberger), shape (6, samples) in `LEADS` order."""
    i, ii = lead_i, lead_ii
    rows = (i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2)
    return np.ascontiguousarray(np.stack(rows).astype(np.float32))


def twelve_leads(eight: NDArray[np.float32]) -> NDArray[np.float32]:
    """All of `LEADS` from the rows of `INDEPENDENT_LEADS`: (8, samples) -> (12, samples)."""
    return np.ascontiguousarray(np.concatenate([derive_limb_leads(eight[0], eight[1]), eight[2:]]))
