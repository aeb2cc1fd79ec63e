"""The samplers of a denoiser: noise carried to a latent.

Rectified flow (Liu et al., arXiv 2209.03003): the denoiser predicts the velocity dx/dt of straight
paths from noise at t = 0 to data at t = 1; sampling integrates it. DDPM and DDIM: the denoiser predicts the noise
in the latent, and `schedule` says how a step takes it away. Guidance lives in the graph.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_runtime import schedule as diffusion
from uniecg_runtime.manifest import Generation, Schedule

MAX_STEPS = 1000
MAX_SEED = 2**64 - 1
MAX_GUIDANCE = 20.0


class Denoiser(Protocol):
    """What a denoiser graph answers to: `backends.onnx.Graph`, or a function in a test."""

    def run(self, **inputs: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        """latent, time (1,), condition (1, width) and, where the graph takes it, guidance (1,) -> as the latent."""
        ...


def noise(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Standard normal noise, float32; the same for the same seed (Philox, a counter-based generator)."""
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape, dtype=np.float32)


def sample(
    denoiser: Denoiser,
    condition: NDArray[np.float32],
    generation: Generation,
    *,
    steps: int | None = None,
    seed: int = 0,
    guidance: float | None = None,
) -> NDArray[np.float32]:
    """A latent (1, *generation.latent_shape), float32, for `condition` (1, width).

    steps and guidance default to the bundle's own. Euler takes one velocity per step, Heun two. DDPM draws new noise
    at every step, from the same seed.
    Raises InputError for steps outside 1..1000, a seed outside 0..2^64-1 or guidance outside 0..20.
    """
    steps = generation.steps if steps is None else steps
    guidance = guidance_of(generation) if guidance is None else guidance
    check_options(steps, seed, guidance)
    given = {"condition": condition}
    if generation.guidance is not None:
        given["guidance"] = np.array([guidance], np.float32)
    if generation.schedule is not None:
        return _denoise(denoiser, given, generation, generation.schedule, steps, seed)

    def velocity(x: NDArray[np.float32], t: float) -> NDArray[np.float32]:
        return denoiser.run(latent=x, time=np.array([t], np.float32), **given)[0]

    x = noise((1, *generation.latent_shape), seed)
    dt = np.float32(1 / steps)
    for step in range(steps):
        v = velocity(x, step / steps)
        if generation.solver == "heun":
            v = np.float32(0.5) * (v + velocity(x + v * dt, (step + 1) / steps))
        x = x + v * dt
    return x


def _denoise(
    denoiser: Denoiser,
    given: dict[str, NDArray[np.float32]],
    generation: Generation,
    schedule: Schedule,
    steps: int,
    seed: int,
) -> NDArray[np.float32]:
    """The latent at the end of a DDPM or DDIM run."""
    generator = np.random.Generator(np.random.Philox(seed))
    x = generator.standard_normal((1, *generation.latent_shape), dtype=np.float32)
    for t in diffusion.timesteps(schedule, steps):
        predicted = denoiser.run(latent=x, time=np.array([t], np.int64), **given)[0]
        if generation.sampler == "ddim":
            x = diffusion.ddim_step(schedule, steps, int(t), x, predicted)
        else:
            fresh = generator.standard_normal(x.shape, dtype=np.float32)
            x = diffusion.ddpm_step(schedule, steps, int(t), x, predicted, fresh)
        x = x.astype(np.float32, copy=False)
    return x


def guidance_of(generation: Generation) -> float:
    """The bundle's own; 1, which steers nothing, where its graph takes none."""
    return 1.0 if generation.guidance is None else generation.guidance


def check_options(steps: int, seed: int, guidance: float) -> None:
    """Raises InputError where the sampler cannot take an option."""
    if not 1 <= steps <= MAX_STEPS:
        raise InputError(f"expected 1 to {MAX_STEPS} steps, found {steps}; the bundle's own number is the default.")
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"expected a seed from 0 to {MAX_SEED}, found {seed}; choose another.")
    if not 0 <= guidance <= MAX_GUIDANCE:  # also refuses NaN
        raise InputError(f"expected guidance from 0 to {MAX_GUIDANCE:g}, found {guidance}; 1 is none, 2 to 4 is usual.")
