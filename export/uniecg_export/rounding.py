"""Weights to integer codes: each to the nearest, or so that the product with what was seen stays closest.

The second is GPTQ (Frantar et al., 2022, arXiv 2210.17323): input channels are rounded one after the other, and each
one's error is made up for by those behind it, as far as the activations' second moments say that they can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Moments = NDArray[np.floating[Any]]
# From a block of rows and how much each row matters, the step of each output channel: (rows, out), (rows,) -> (out,).
ChooseStep = Callable[[Doubles, Doubles], NDArray[np.float32]]
DAMPING: Final = 0.01  # of the mean second moment, as published


def round_weight(
    weight: NDArray[np.float32],
    choose: ChooseStep,
    block: int,
    limits: tuple[int, int],
    moments: Moments | None = None,
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes (in, out) within `limits`, and steps (blocks, out), of a weight (in, out).

    choose: gives the step of every block of input channels when its turn comes, with the errors before it made up for.
    moments: (in, in), the sum of x x' over activations; without it every weight goes to the nearest code.
    """
    rest = weight.astype(np.float64)
    codes = np.empty(weight.shape, np.int8)
    steps = []
    factor = None if moments is None else _factor(moments)
    for start in range(0, len(weight), block):
        rows = slice(start, min(start + block, len(weight)))
        importance = np.ones(rows.stop - start) if factor is None else np.diag(factor)[rows] ** -2.0
        step = choose(rest[rows], importance)
        steps.append(step)
        if factor is None:
            codes[rows] = np.clip(np.rint(rest[rows] / step), *limits)
            continue
        errors = np.empty((rows.stop - start, weight.shape[1]))
        for i in range(start, rows.stop):
            codes[i] = np.clip(np.rint(rest[i] / step), *limits)
            errors[i - start] = (rest[i] - codes[i] * step.astype(np.float64)) / factor[i, i]
            rest[i + 1 : rows.stop] -= np.outer(factor[i, i + 1 : rows.stop], errors[i - start])
        rest[rows.stop :] -= factor[rows, rows.stop :].T @ errors
    return codes, np.stack(steps)


def _factor(moments: Moments) -> Doubles:
    """The upper Cholesky factor of the damped moments' inverse; row i says how later channels make up for i."""
    damped = moments.astype(np.float64)
    damped[np.diag_indices_from(damped)] += DAMPING * (float(np.mean(np.diag(damped))) or 1.0)
    inverse = np.linalg.inv(damped)
    return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T, np.float64)
