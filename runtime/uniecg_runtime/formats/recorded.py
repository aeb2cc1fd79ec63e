"""What `uniecg record` wrote, as a recording: millivolts of all leads, NaN where nothing was received."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uniecg_device.counts import output_leads
from uniecg_device.errors import InputError
from uniecg_device.recording_store import open_store
from uniecg_device.signals import Recording
from uniecg_runtime.formats.request import Request, rate


def read_recorded(path: Path, request: Request) -> Recording:
    """A stretch of a `.uniecg` file, which may still be written. `start` counts from its first sample.

    Raises InputError where it is damaged, and for the options units and leads, which the device's profile settles.
    """
    if request.units is not None or request.leads is not None:
        raise InputError(f"{path.name} says itself what its units and leads are; leave both options out.")
    with open_store(path) as store:
        about = store.description
        leads = output_leads(about.leads)
        if not leads:
            raise InputError(f"{path.name} holds channels {', '.join(about.leads)}, none of which is an ECG lead.")
        fs = request.fs or rate(about.fs, "its profile")
        first, end = request.cut(path.name, fs, store.span, len(leads))
        signal = np.full((len(leads), end - first), np.nan, np.float32)
        for block in store.blocks(store.first + first, store.first + end):
            at = round(block.start * about.fs) - store.first - first
            signal[:, at : at + block.signal.shape[1]] = block.signal
        comments = [
            f"Device: {about.device}",
            f"Recorded: {store.started.isoformat(timespec='milliseconds')}",
            f"Scale: confidence {about.scale_confidence}",
        ]
        if store.closed is None:
            comments.append("This recording was cut off; its last second may be missing")
        return Recording(
            signal,
            fs,
            leads,
            name=path.stem,
            synthetic=about.synthetic,
            comments=tuple(" ".join(c.split()) for c in comments),
        )
