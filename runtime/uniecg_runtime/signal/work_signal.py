"""A recording as its quality is judged: 0.5-40 Hz at 125 Hz, with the places of its beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import Recording, Units
from uniecg_runtime.signal.beats import detect_beats
from uniecg_runtime.signal.window import band_pass

WORK_HZ = 125.0
BAND_HZ = (0.5, 40.0)


@dataclass(frozen=True, eq=False)
class WorkSignal:
    """signal: float32 (leads, samples) at `WORK_HZ`. beats: sample indices of the QRS, int64, ascending."""

    signal: NDArray[np.float32]
    beats: NDArray[np.int64]
    leads: tuple[str, ...]
    units: Units

    def around_beats(self, before: int, after: int) -> NDArray[np.float32]:
        """(leads, beats, before + after) samples around each beat that lies wholly within the signal."""
        whole = self.beats[(self.beats >= before) & (self.beats + after <= self.signal.shape[1])]
        return self.signal[:, whole[:, None] + np.arange(-before, after)]


def work_signal(recording: Recording) -> WorkSignal:
    """Filter `recording`, which has no NaN, and find its beats."""
    beats = np.rint(detect_beats(recording) * (WORK_HZ / recording.fs)).astype(np.int64)
    signal = band_pass(recording.signal, recording.fs, WORK_HZ, *BAND_HZ)
    return WorkSignal(signal, beats, recording.leads, recording.units)
