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
from uniecg_runtime.signal.reversal import ARRANGEMENTS, UPRIGHT, UsualBeat, features, lead_features, usual_beat

RIDGE = 0.001
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Beat:
    """A source's features: (candidates, features) with the limb leads alone, and with the chest; and for each lead of
    `UPRIGHT` (2, features), as it is and turned. The first candidate is what was recorded."""

    source: str
    name: str
    taught: bool
    limb_alone: Floats
    with_chest: Floats
    turned: tuple[Floats, ...]


def usual_beats(sources: Iterable[Source]) -> list[Beat]:
    """Of each source that has twelve leads and a beat."""
    found = []
    for source in sources:
        recording = source.recording
        if set(recording.leads) != set(LEADS):
            continue
        work = examine(recording).work
        beat = usual_beat(work, LEADS)
        if beat is not None and beat.chest is not None:
            alone = replace(beat, chest=None)
            rows = (row for lead in UPRIGHT if (row := lead_features(work, lead)) is not None)
            turned = tuple(np.stack([row, -row]) for row in rows)
            found.append(
                Beat(source.name, recording.name, source.taught, _candidates(alone), _candidates(beat), turned)
            )
    return found


def _candidates(beat: UsualBeat) -> Floats:
    """Every order of the limb electrodes, as recorded and with every sign turned."""
    turned = replace(beat, limb=-beat.limb, chest=None if beat.chest is None else -beat.chest)
    orders = [row for row, name in enumerate(ARRANGEMENTS) if name != "inverted"]
    return np.concatenate([features(beat)[orders], features(turned)[orders]])


def fit(candidates: Floats) -> Floats:
    """Weights (features,) from (records, candidates, features), of which the first candidate is the true one."""
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
    limb = fit(np.stack([beat.limb_alone for beat in beats]))
    _print_rows("LIMB_ALONE", [*limb[:27].reshape(3, 9), limb[27:]])
    print("# The same, then of P, QRS and T how I, and then its perpendicular, goes with V1..V6.")
    chest = fit(np.stack([beat.with_chest for beat in beats]))
    _print_rows("WITH_CHEST", [*chest[:27].reshape(3, 9), chest[27:30], *chest[30:].reshape(-1, 6)])
    print("# Of one lead, for P, QRS and T: mean, sum of the extremes, change.")
    _print_rows("ONE_LEAD", fit(np.stack([pair for beat in beats for pair in beat.turned])).reshape(3, 3))


def _print_rows(name: str, rows: Iterable[Floats]) -> None:
    print(f"{name} = np.concatenate(\n    [")
    for row in rows:
        print(f"        [{', '.join(f'{value:.2f}' for value in row)}],")
    print("    ]\n)")


if __name__ == "__main__":
    main()
