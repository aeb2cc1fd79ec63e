"""Fit the weights of `uniecg_runtime.signal.quality`: `python -m uniecg_export.training.signal_quality DATA`.

A label is a record's, the faults are a lead's: the record's probability of being acceptable is the geometric mean of
the leads' to the power `quality.POWER`, and all weights are fitted together through it (multiple-instance logistic
regression, ridge on the weights at the faults' own scale). Prints the constants that stand in the runtime.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from uniecg_export.training.signal_records import judged
from uniecg_runtime.signal import quality

RIDGE = 0.01
Floats = NDArray[np.float64]


def faults_and_labels(data: Path) -> tuple[Floats, NDArray[np.bool_]]:
    """(records, leads, faults) of CinC 2011, and which were called unacceptable."""
    pairs = [(quality.examine(recording).faults, bad) for recording, bad in judged(data)]
    return np.stack([faults for faults, _ in pairs]), np.array([bad for _, bad in pairs])


def fit(faults: Floats, bad: NDArray[np.bool_]) -> tuple[float, Floats]:
    """Intercept and weights (faults,) from (records, leads, faults) and a label per record."""
    middle, scale = faults.mean(axis=(0, 1)), faults.std(axis=(0, 1)) + 1e-6
    scaled, truth = torch.tensor((faults - middle) / scale), torch.tensor(bad)
    intercept = torch.tensor(-3.0, dtype=torch.float64, requires_grad=True)
    weights = torch.full((faults.shape[2],), 0.3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([intercept, weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        good = -quality.POWER * torch.nn.functional.softplus(intercept + scaled @ weights).mean(dim=1)
        worst = torch.log(-torch.expm1(good.clamp(max=-1e-9)))
        value = -torch.where(truth, worst, good).mean() + RIDGE * (weights**2).sum()
        value.backward()
        return value

    optimiser.step(loss)
    found = weights.detach().numpy() / scale
    return float(intercept.detach()) - float(found @ middle), found


def scores(faults: Floats, intercept: float, weights: Floats) -> Floats:
    """Each record's score from (records, leads, faults)."""
    return np.array([quality.record_score(intercept + leads @ weights) for leads in faults])


def cross_validated(faults: Floats, bad: NDArray[np.bool_], parts: int = 10, seed: int = 0) -> Floats:
    """Each record's score by weights that were fitted without its part of the records."""
    part = np.random.default_rng(seed).permutation(len(bad)) % parts
    held_out = np.empty(len(bad))
    for number in range(parts):
        out = part == number
        held_out[out] = scores(faults[out], *fit(faults[~out], bad[~out]))
    return held_out


def main() -> None:
    """Print the constants."""
    faults, bad = faults_and_labels(Path(sys.argv[1]).expanduser())
    intercept, weights = fit(faults, bad)
    typical = np.median(faults[~bad].reshape(-1, faults.shape[2]), axis=0)
    print(f"INTERCEPT = {intercept:.2f}")
    print(f"WEIGHTS = np.array([{', '.join(f'{w:.2f}' for w in weights)}])")
    print(f"TYPICAL = np.array([{', '.join(f'{t:.3g}' for t in typical)}])")


if __name__ == "__main__":
    main()
