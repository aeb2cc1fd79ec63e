"""The noise schedule of a diffusion model, and the steps that walk it back: DDPM and deterministic DDIM.

Denoising diffusion probabilistic models (Ho et al., arXiv 2006.11239) and denoising diffusion implicit models (Song
et al., arXiv 2010.02502). A noisy latent at step t is sqrt(abar_t) x0 + sqrt(1 - abar_t) e; the denoiser predicts e.
Steps of a sampler lie train_steps // steps apart and end at 0, so that each counts from what training saw
("leading" spacing). The predicted x0 is clipped where the schedule says how
far. Nothing here draws noise: it is an argument.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_runtime.manifest import Schedule

Array = NDArray[np.float32]


@lru_cache(maxsize=8)
def alpha_bars(schedule: Schedule) -> Array:
    """(train_steps,): the share of the signal's variance left after each step, falling from nearly 1.

    Rounded to float32 where the published schedulers round: 1 - abar is small in the last steps, and shows it.
    """
    betas = np.linspace(schedule.beta_start, schedule.beta_end, schedule.train_steps, dtype=np.float32)
    return np.cumprod(1 - betas, dtype=np.float64).astype(np.float32)


def timesteps(schedule: Schedule, steps: int) -> NDArray[np.int64]:
    """(steps,): the training steps to visit, from noise down to 0.

    Raises InputError for steps outside 1..train_steps.
    """
    if not 1 <= steps <= schedule.train_steps:
        raise InputError(
            f"expected 1 to {schedule.train_steps} steps, found {steps}; the model was trained on no more than these."
        )
    return np.arange(steps, dtype=np.int64)[::-1] * (schedule.train_steps // steps)


def ddpm_step(schedule: Schedule, steps: int, t: int, latent: Array, predicted: Array, noise: Array) -> Array:
    """The latent one sampler step before `t`: a draw from the posterior q(x_prev | x_t, x0).

    steps: how many the sampler takes in all. predicted: the denoiser's noise at `t`, shaped as the latent.
    noise: standard normal; unused at t = 0, where the posterior is a point. Its variance is the posterior's own
    ("fixed small", the lower of the two choices in section 3.2 of the paper).
    """
    kept, left = _kept(schedule, t), _kept(schedule, t - schedule.train_steps // steps)
    alpha = kept / left
    of_start = math.sqrt(left) * (1 - alpha) / (1 - kept)
    of_latent = math.sqrt(alpha) * (1 - left) / (1 - kept)
    mean: Array = of_start * predicted_start(schedule, t, latent, predicted) + of_latent * latent
    if t == 0:
        return mean
    deviation = math.sqrt((1 - left) / (1 - kept) * (1 - alpha))
    drawn: Array = mean + deviation * noise
    return drawn


def ddim_step(schedule: Schedule, steps: int, t: int, latent: Array, predicted: Array) -> Array:
    """The latent one sampler step before `t`, without chance (eta = 0).

    Noise is put back as predicted, also where the predicted x0 was clipped.
    """
    left = _kept(schedule, t - schedule.train_steps // steps)
    start = predicted_start(schedule, t, latent, predicted)
    latent = math.sqrt(left) * start + math.sqrt(1 - left) * predicted
    return latent


def predicted_start(schedule: Schedule, t: int, latent: Array, predicted: Array) -> Array:
    """x0 that `latent` at step `t` and the predicted noise speak of, clipped where the schedule clips."""
    kept = _kept(schedule, t)
    start = np.asarray((latent - math.sqrt(1 - kept) * predicted) / math.sqrt(kept), np.float32)
    return start if schedule.clip is None else start.clip(-schedule.clip, schedule.clip)


def _kept(schedule: Schedule, t: int) -> float:
    """abar_t; before the first step nothing has been added."""
    return float(alpha_bars(schedule)[t]) if t >= 0 else 1.0
