"""Filters and resampling over NumPy arrays: libuniecg's own numbers, streaming and for a finished window.

A filter is Butterworth by the bilinear transform: at 0.5 Hz two poles, at 0.05 Hz one (which keeps the answer to the
0.3 mV s impulse of IEC 60601-2-25 within 0.1 mV), four at 40 Hz and two at 150 Hz; the notch is 1/30 of its frequency
wide. Its edges lie at -3 dB in both ways of use: zero phase passes twice through a filter made for that.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uniecg_device import _native
from uniecg_device.errors import InputError

Band = Literal["monitor", "diagnostic", "st"]
BANDS: tuple[Band, ...] = ("monitor", "diagnostic", "st")
Mains = Literal[0, 50, 60]
Floats = NDArray[np.float32]


class Filter:
    """A causal filter for a stream. signal: float32 mV, shape (leads, samples), NaN where there is no sample.

    band: "monitor" 0.5-40 Hz, "diagnostic" 0.05-150 Hz or "st" 0.05-40 Hz; the upper edge is at most 0.4 of `fs`,
    and the label says where it came to lie. mains: a notch at 50 or 60 Hz.

    Raises InputError for an unknown band, a rate outside 50..10000 Hz or one that cannot hold the notch, and more than
    32 leads.
    """

    def __init__(self, band: Band, fs: float, leads: int, mains: Mains = 0) -> None:
        try:
            self._native = _native.Filter(band, mains, fs, leads)
        except (ValueError, TypeError) as error:
            raise InputError(f"{error}.") from error
        self.leads = leads

    @property
    def label(self) -> str:
        """Travels with the data: "0.5-40 Hz, notch 50 Hz"."""
        return self._native.label(False)

    @property
    def st_safe(self) -> bool:
        """Whether ST levels may be read from the result: a real-time high-pass at 0.5 Hz fakes ST shifts."""
        return self._native.st_safe(False)

    def delay(self, hz: float = 10.0) -> float:
        """Group delay at `hz`, in ms: by so much a QRS comes late, where its energy lies at 10 Hz and above."""
        return 1000.0 * self._native.delay(hz)

    def push(self, signal: Floats) -> Floats:
        """The next samples, filtered: the same shape. Missing samples come out as NaN, and the first one behind them
        finds the filter settled at its level. Raises InputError for another number of leads."""
        return self._native.push(_rows(signal, self.leads))

    def restart(self) -> None:
        """The next push begins a new stream."""
        self._native.restart()


def condition(signal: Floats, fs: float, band: Band, mains: Mains = 0) -> tuple[Floats, str]:
    """A finished window, filtered with zero phase, and the label: (leads, samples) mV -> the same shape.

    Forwards and backwards, each end continued by its mirror image, 10 s of it or all there is.
    Missing samples (NaN) are bridged by straight lines for the filter's sake and NaN again in the result. Fit for ST
    with any band (AHA/ACC/HRS 2007 allow up to 0.67 Hz without phase distortion).

    Raises InputError as `Filter` does.
    """
    rows = _rows(signal, len(signal))
    native = Filter(band, fs, len(rows), mains)._native
    return native.window(rows), native.label(True)


class Resampler:
    """A stream at another rate, fs_out / fs_in a ratio of whole numbers up to 4096; Kaiser window, 80 dB.

    The output's sample m is the signal at the input's time m / fs_out, nothing is shifted; it comes once `latency` more
    of the input has been seen. Flat within 0.01 dB up to 0.8 of the lower rate's Nyquist frequency.

    Raises InputError where the rates have no such ratio.
    """

    def __init__(self, fs_in: float, fs_out: float, leads: int) -> None:
        if not (fs_in > 0 and fs_out > 0 and np.isfinite(fs_in) and np.isfinite(fs_out)):
            raise InputError(f"expected two sampling rates in Hz, found {fs_in} and {fs_out}.")
        ratio = (Fraction(fs_out) / Fraction(fs_in)).limit_denominator(4096)
        if abs(float(ratio) * fs_in / fs_out - 1) > 1e-9:
            raise InputError(
                f"expected rates in a ratio of whole numbers up to 4096, found {fs_in:g} and {fs_out:g} Hz; "
                "choose another output rate."
            )
        try:
            self._native = _native.Resampler(ratio.numerator, ratio.denominator, leads)
        except (ValueError, TypeError) as error:
            raise InputError(f"{error}; choose another output rate.") from error
        self.leads = leads
        self.latency = self._native.latency / fs_in  # s

    def push(self, signal: Floats) -> Floats:
        """The samples that are due: (leads, any number). What depends on a missing sample (NaN) is NaN."""
        return self._native.push(_rows(signal, self.leads))

    def finish(self) -> Floats:
        """The rest, as if the signal stood still behind its last sample; the next push begins another stream."""
        return self._native.finish()


def resample(signal: Floats, fs_in: float, fs_out: float) -> Floats:
    """A finished window at another rate: (leads, n) -> (leads, ceil(n * fs_out / fs_in)). Raises InputError as
    `Resampler` does."""
    rows = _rows(signal, len(signal))
    resampler = Resampler(fs_in, fs_out, len(rows))
    return np.ascontiguousarray(np.concatenate([resampler.push(rows), resampler.finish()], axis=1))


def _rows(signal: Floats, leads: int) -> Floats:
    if signal.ndim != 2 or len(signal) != leads:
        raise InputError(f"expected a signal of shape ({leads}, samples), found {signal.shape}.")
    return np.ascontiguousarray(signal, dtype=np.float32)
