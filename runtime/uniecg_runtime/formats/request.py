"""What a caller asks of a file: the stretch, and whatever the file itself does not say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from uniecg_device.errors import InputError
from uniecg_runtime.formats.labels import Scale, lead_names, scale_of

LARGEST = 32_000_000  # values read at once, 128 MB as float32: 12 leads at 500 Hz for an hour and a half
_RATES = (1.0, 100_000.0)


@dataclass(frozen=True)
class Request:
    """Options of `read_recording`, checked. fs, units and leads win over what a file states."""

    fs: float | None = None
    units: str | None = None
    leads: tuple[str, ...] | None = None
    start: float = 0.0
    seconds: float | None = None

    @classmethod
    def checked(
        cls, fs: float | None, units: str | None, leads: Sequence[str] | None, start: float, seconds: float | None
    ) -> Request:
        """Raises InputError for a rate, unit, lead name or stretch that cannot be."""
        if fs is not None:
            rate(fs, "the fs option")
        if units is not None:
            scale_of(units)
        if not (math.isfinite(start) and start >= 0):
            raise InputError(f"start must be a time in the recording of 0 s or later, not {start:g}.")
        if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
            raise InputError(f"seconds must be a positive length, not {seconds:g}.")
        return cls(fs, units, lead_names(leads) if leads is not None else None, start, seconds)

    def cut(self, name: str, fs: float, samples: int, signals: int) -> tuple[int, int]:
        """First sample and end of the stretch. Raises InputError beyond the end, and where it would fill memory."""
        if samples <= 0:
            raise InputError(f"{name} holds no samples.")
        first = round(min(self.start * fs, 2.0**53))
        if first >= samples:
            raise InputError(f"{name} lasts {samples / fs:.3g} s; start {self.start:g} s lies beyond its end.")
        end = samples if self.seconds is None else min(samples, first + max(round(min(self.seconds * fs, 2.0**53)), 1))
        if (end - first) * signals > LARGEST:
            raise InputError(
                f"{name}: {signals} signals of {(end - first) / fs / 60:.0f} minutes are more than fits in memory; "
                f"ask for a stretch with start and seconds (at most {LARGEST / signals / fs / 60:.0f} minutes)."
            )
        return first, end

    def scale(self, stated: str) -> Scale:
        """How to bring the file's numbers to mV: by the units option, else by what the file states."""
        return scale_of(self.units if self.units is not None else stated)

    def named(self, name: str, signals: int) -> tuple[str, ...] | None:
        """The leads option, one name per signal. Raises InputError for another number of names."""
        if self.leads is not None and len(self.leads) != signals:
            raise InputError(f"{name} holds {signals} signals but {len(self.leads)} lead names were given.")
        return self.leads


def rate(fs: float, source: str) -> float:
    """A sampling rate that can be. Raises InputError for any other."""
    if not (math.isfinite(fs) and _RATES[0] <= fs <= _RATES[1]):
        raise InputError(f"A sampling rate of {fs:g} Hz ({source}) is not usable; give one with fs.")
    return float(fs)
