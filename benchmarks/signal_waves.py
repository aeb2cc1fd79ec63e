"""Where waves begin and end, against LUDB's readers: ours, our rules alone, or NeuroKit2's beside it, by one scorer.

`python benchmarks/signal_waves.py [--who ours|rules|neurokit2] [--leads II,V2,V5] [--part all|even|odd]`, with the LUDB
records in $UNIECG_DATA; how they are scored: `uniecg_export.training.ludb`. Ours is `uniecg measure` with the
delineator of the built-in bundle, or of --bundle. It was trained on these very records: what it does on others, its
cross-validation says, which is printed from the bundle's manifest. Peers: pip install neurokit2 wfdb.
"""

from __future__ import annotations

import argparse
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from uniecg_device.signals import Recording
from uniecg_export.training import ludb
from uniecg_export.training.ludb import Found, Marks
from uniecg_runtime.backends.graphs import open_graph
from uniecg_runtime.bundle import BUILT_IN, Bundle
from uniecg_runtime.signal.delineator import Delineator
from uniecg_runtime.signal.edges import edges_of


def main() -> None:
    """Score one method and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--who", choices=("ours", "rules", "neurokit2"), default="ours")
    parser.add_argument("--bundle", default=BUILT_IN)
    parser.add_argument("--leads", default="II,V2,V5")
    parser.add_argument("--part", choices=("all", "even", "odd"), default="all", help="by record number")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")))
    options = parser.parse_args()
    leads = tuple(options.leads.split(","))
    method = neurokit2
    if options.who == "ours":
        bundle = Bundle.open(options.bundle)
        tell_cross_validation(bundle)
        method = ludb.measured(Delineator(open_graph(bundle, "delineator")))
    elif options.who == "rules":
        method = ludb.measured(edges_of)
    paths = ludb.paths(options.data.expanduser())
    if options.part != "all":
        paths = [path for path in paths if int(path.stem) % 2 == (options.part == "odd")]
    ludb.report(leads, [ludb.score(ludb.read(path), method, leads) for path in paths])


def tell_cross_validation(bundle: Bundle) -> None:
    """Print, of a delineator trained on LUDB, what it was found to do on records that it was not trained on."""
    if any("LUDB" in name for name in bundle.manifest.provenance.trained_on):
        print("The table below is of a network on records that it was trained on. On others, by cross-validation:")
    for figure in bundle.manifest.figures:
        if "LUDB" in figure.split:
            print(f"  {figure.name}: {figure.value:g} ({figure.split}, n {figure.n})")


def neurokit2(recording: Recording) -> Found:
    """NeuroKit2: its own cleaning and peaks per lead, `ecg_delineate(method="prominence")`; intervals: as for ours, the
    median over beats, then over the leads."""
    library = _neurokit2()
    marks: dict[str, Marks] = {}
    names = [f"ECG_{wave}_{edge}" for wave in "PRT" for edge in ("Onsets", "Peaks", "Offsets")]
    for lead, row in zip(recording.leads, recording.signal, strict=True):
        marks[lead] = np.empty((0, 9), np.int64)
        try:
            clean = library.ecg_clean(row.astype(float), sampling_rate=int(recording.fs))
            _, peaks = library.ecg_peaks(clean, sampling_rate=int(recording.fs))
            _, found = library.ecg_delineate(clean, peaks, sampling_rate=int(recording.fs), method="prominence")
        except Exception as error:
            print(f"neurokit2 fails on {recording.name} {lead}: {type(error).__name__}")
            continue
        columns: list[Any] = [found.get(name, peaks["ECG_R_Peaks"]) for name in names]
        most = max(len(column) for column in columns)  # it gives columns of different lengths
        held = np.array([np.pad(np.asarray(c, float), (0, most - len(c)), constant_values=np.nan) for c in columns]).T
        marks[lead] = np.where(np.isfinite(held), held, -1).astype(np.int64)
    rows = {
        lead: {wave: held[:, first : first + 3] for wave, first in ludb.WAVES.items()} for lead, held in marks.items()
    }
    return Found(marks, ludb.intervals(rows))


@cache
def _neurokit2() -> Any:
    import warnings

    import neurokit2

    warnings.simplefilter("ignore")
    return neurokit2


if __name__ == "__main__":
    main()
