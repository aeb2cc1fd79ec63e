"""Weights of `reversal`, as `uniecg_export.training.signal_reversal` prints them.

Fitted to 2192 records: PTB-XL folds 1-7, CODE-15 % with SaMi-Trop, CinC 2011 acceptable.
"""

from __future__ import annotations

import numpy as np

# P, QRS, T: mean vector, its direction doubled and tripled, change, loop; then the turns between waves.
LIMB_ALONE = np.concatenate(
    [
        [1.10, 0.59, -0.66, 1.59, -0.37, -0.34, -0.08, -0.42, -19.94],
        [4.13, 0.43, -0.80, -0.85, -0.62, 0.14, -2.47, -1.38, 0.17],
        [1.57, 1.82, -0.02, -0.19, -0.11, 0.07, 0.03, -0.13, 7.61],
        [0.71, 0.43, -0.09],
    ]
)
# The same, then of P, QRS and T how I, and then its perpendicular, goes with V1..V6.
WITH_CHEST = np.concatenate(
    [
        [0.71, 0.19, -0.25, -0.70, -0.18, -0.27, -0.10, -0.75, -15.41],
        [3.68, -0.18, -0.80, -1.29, -0.71, -0.09, -2.52, -1.17, 0.19],
        [1.27, 1.19, -0.15, -0.51, -0.34, -0.09, -0.04, -0.11, 8.36],
        [0.44, 0.06, 0.18],
        [-1.85, 1.83, -1.39, -0.55, 0.18, 1.28],
        [1.97, -3.66, 2.24, 3.00, 2.29, 0.64],
        [-0.86, 0.28, 0.03, -0.52, 0.18, 0.60],
        [1.24, -1.82, 0.14, 0.23, 0.66, 0.35],
        [-0.94, 0.27, 0.05, -0.47, 0.78, 0.20],
        [0.48, -0.73, 0.32, 0.57, 0.10, 0.47],
    ]
)
