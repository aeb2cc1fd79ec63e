"""Weights of `reversal`, as `uniecg_export.training.signal_reversal` prints them.

Fitted to 2192 records: PTB-XL folds 1-7, CODE-15 % with SaMi-Trop, CinC 2011 acceptable.
"""

from __future__ import annotations

import numpy as np

# P, QRS, T: mean vector, its direction doubled and tripled, change, loop; then the turns between waves.
LIMB_ALONE = np.concatenate(
    [
        [1.43, 0.70, -0.73, 2.08, -0.35, -0.38, -0.85, -0.64, -21.54],
        [5.08, 0.04, -0.70, 0.05, -0.46, -0.20, -2.01, -1.24, 0.69],
        [1.77, 1.98, 0.07, -0.02, -0.06, 0.61, -0.04, -0.08, 6.72],
        [0.89, 0.27, -0.36],
    ]
)
# The same, then of P, QRS and T how I, and then its perpendicular, goes with V1..V6.
WITH_CHEST = np.concatenate(
    [
        [0.67, 0.46, -0.43, -0.78, -0.06, -0.23, -0.06, -0.61, -15.11],
        [3.29, 0.07, -1.28, -1.25, -0.54, 0.10, -2.14, -1.16, 0.56],
        [0.97, 1.38, -0.25, -0.45, -0.23, -0.01, 0.03, -0.05, 7.58],
        [0.46, -0.21, 0.03],
        [-1.78, 2.57, -1.38, -1.11, 0.59, 1.86],
        [2.09, -3.58, 2.67, 2.46, 2.28, 0.85],
        [-1.69, 0.15, 0.12, -0.47, 0.32, 1.11],
        [1.16, -1.80, 0.22, 0.42, 0.83, 0.17],
        [-0.93, 0.60, 0.39, -0.25, 0.90, 0.49],
        [0.50, -0.52, 0.36, 0.64, 0.21, 0.46],
    ]
)
# Of one lead, for P, QRS and T: mean, sum of the extremes, change.
ONE_LEAD = np.concatenate(
    [
        [-0.34, 0.85, -0.51],
        [-0.34, 0.50, -1.02],
        [0.50, 0.26, 0.03],
    ]
)
