"""Files that do not say everything: what the options add, and reading one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uniecg_device.signals import Recording
    from uniecg_runtime.bundle import Bundle


@dataclass(frozen=True)
class Told:
    """What the options say of a file that does not: rate in Hz, units, and lead names with commas between."""

    fs: float | None
    units: str | None
    leads: str | None

    def read(
        self, path: Path, *, start: float = 0.0, seconds: float | None = None, allow_empty: bool = False
    ) -> Recording:
        """The stretch of `seconds` from `start`, or all. Raises InputError for a file that cannot be read."""
        from uniecg_runtime.formats.read import read_recording

        leads = None if self.leads is None else tuple(name.strip() for name in self.leads.split(","))
        return read_recording(
            path, fs=self.fs, units=self.units, leads=leads, start=start, seconds=seconds, allow_empty=allow_empty
        )


def window_seconds(bundle: Bundle) -> float:
    """How long a stretch the encoder takes: a day of Holter need not fit in memory. Raises BundleError without one."""
    from uniecg_runtime.manifest import need

    preprocessing = need(bundle.manifest.preprocessing, "an encoder")
    return preprocessing.samples / preprocessing.fs
