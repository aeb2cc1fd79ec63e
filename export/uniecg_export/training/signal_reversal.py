"""Fit the weights of `uniecg_runtime.signal.reversal`: `python -m uniecg_export.training.signal_reversal DATA`.

No label is needed: a recording as it is stands against itself with every other arrangement undone, and the weights are
those under which it is the likeliest (conditional logit with a ridge at the features' own scale). The few records
whose electrodes were in truth swapped are left in. Prints the module `reversal_weights.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from uniecg_device.signals import LEADS
from uniecg_export.training.signal_records import Source, connected
from uniecg_runtime.signal.quality import examine
from uniecg_runtime.signal.reversal import features, usual_beat

RIDGE = 0.001
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Beat:
    """A source's features: (arrangements, features) with the limb leads alone, and with the chest."""

    source: str
    name: str
    taught: bool
    limb_alone: Floats
    with_chest: Floats


def usual_beats(sources: Iterable[Source]) -> list[Beat]:
    """Of each source that has twelve leads and a beat."""
    found = []
    for source in sources:
        recording = source.recording
        if set(recording.leads) != set(LEADS):
            continue
        beat = usual_beat(examine(recording).work, LEADS)
        if beat is not None and beat.chest is not None:
            alone = features(replace(beat, chest=None))
            found.append(Beat(source.name, recording.name, source.taught, alone, features(beat)))
    return found


def fit(candidates: Floats) -> Floats:
    """Weights (features,) from (records, arrangements, features), of which the first arrangement is the true one."""
    scale = candidates.reshape(-1, candidates.shape[2]).std(axis=0) + 1e-6
    scaled = torch.tensor(candidates / scale)
    weights = torch.zeros(candidates.shape[2], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = -torch.log_softmax(scaled @ weights, dim=1)[:, 0].mean() + RIDGE * (weights**2).sum()
        value.backward()
        return value

    optimiser.step(loss)
    return np.asarray(weights.detach().numpy() / scale)


def main() -> None:
    """Print the module."""
    beats = [beat for beat in usual_beats(connected(Path(sys.argv[1]).expanduser())) if beat.taught]
    print('"""Weights of `reversal`, as `uniecg_export.training.signal_reversal` prints them.')
    print(f'\nFitted to {len(beats)} records: PTB-XL folds 1-7, CODE-15 % with SaMi-Trop, CinC 2011 acceptable.\n"""')
    print("\nfrom __future__ import annotations\n\nimport numpy as np\n")
    print("# P, QRS, T: mean vector, its direction doubled and tripled, change, loop; then the turns between waves.")
    _print_array("LIMB_ALONE", fit(np.stack([beat.limb_alone for beat in beats])))
    print("# The same, then of P, QRS and T how I, and then its perpendicular, goes with V1..V6.")
    _print_array("WITH_CHEST", fit(np.stack([beat.with_chest for beat in beats])))


def _print_array(name: str, values: Floats) -> None:
    print(f"{name} = np.concatenate(\n    [")
    limb, chest = values[:30], values[30:]
    rows = [*limb[:27].reshape(3, 9), limb[27:], *chest.reshape(-1, 6)]
    for row in rows:
        print(f"        [{', '.join(f'{value:.2f}' for value in row)}],")
    print("    ]\n)")


if __name__ == "__main__":
    main()
