"""What is true of PTB-XL's records, as `uniecg export --truth` reads it: `python benchmarks/ptbxl_truth.py --fold 9`.

Writes a CSV table to standard output: a row per record of the fold in $UNIECG_DATA, a column per label that uniecg-nano
was taught, 1 or 0, empty where the annotation does not say.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

from uniecg_export.training.labels import NAMES, read_annotations


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, default=9)
    options = parser.parse_args()
    data = Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")).expanduser() / "ptbxl"
    annotations = {k: a for k, a in read_annotations(data).items() if a.fold == options.fold}
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["record", *NAMES])
    for path in sorted(data.rglob("records500/**/*.hea")):
        held = annotations.get(int(path.stem.split("_")[0]))
        if held is not None:
            cells = [str(int(v)) if k > 0 else "" for v, k in zip(held.labels, held.known, strict=True)]
            table.writerow([path.stem, *cells])


if __name__ == "__main__":
    main()
