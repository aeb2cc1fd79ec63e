"""The noise schedule and its steps: the published scheduler's values, and what must hold of any."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from golden import Golden
from uniecg_device.errors import InputError
from uniecg_runtime.manifest import Schedule
from uniecg_runtime.schedule import alpha_bars, ddim_step, ddpm_step, predicted_start, timesteps

Array = NDArray[np.float32]
SCHEDULE = Schedule(train_steps=1000, beta_start=0.00085, beta_end=0.012, clip=1.0)  # DiffuSETS'
GOLDEN = Golden("diffusets_sampling_1536")


def noisy(start: Array, noise: Array, t: int) -> Array:
    """What training shows the denoiser at step `t`."""
    kept = float(alpha_bars(SCHEDULE)[t]) if t >= 0 else 1.0
    return (np.sqrt(kept) * start + np.sqrt(1 - kept) * noise).astype(np.float32)


def drawn(seed: int) -> tuple[Array, Array]:
    """A latent within the clip, and noise."""
    rng = np.random.default_rng(seed)
    return np.tanh(rng.standard_normal((1, 4, 16), np.float32)), rng.standard_normal((1, 4, 16), np.float32)


def test_the_variances_are_the_published_ones() -> None:
    published = GOLDEN.arrays["const.alphas_cumprod"]
    np.testing.assert_allclose(alpha_bars(SCHEDULE), published, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(alpha_bars(SCHEDULE)[:10], published[:10])  # where a rounding weighs most


@pytest.mark.parametrize("t", [999, 500, 1, 0])
def test_a_step_is_the_published_scheduler_s(t: int) -> None:
    arrays = GOLDEN.arrays
    sample, predicted = arrays["step.in.sample"], arrays["step.in.model_output"]
    found = ddpm_step(SCHEDULE, 1000, t, sample, predicted, arrays["in.noise"][0])
    assert found.dtype == np.float32
    assert GOLDEN.difference(found, f"step.out.prev_t{t}") < 1e-5
    assert GOLDEN.difference(predicted_start(SCHEDULE, t, sample, predicted), f"step.out.x0_t{t}") < 2e-5


@pytest.mark.parametrize("case", ["full5", "first5_of_1000", "last5_of_1000"])
def test_a_walk_is_the_published_one_given_its_noise_predictions(case: str) -> None:
    steps = 5 if case == "full5" else 1000
    times = GOLDEN.arrays[f"timesteps.{case}"].tolist()
    assert [t for t in timesteps(SCHEDULE, steps).tolist() if t in times] == times
    latent, latents = GOLDEN.arrays["in.x_T"], []
    for t, predicted, noise in zip(times, GOLDEN.arrays[f"out.{case}.eps"], GOLDEN.arrays["in.noise"], strict=True):
        latent = ddpm_step(SCHEDULE, steps, t, latent, predicted[None], noise)
        latents.append(latent)
    assert GOLDEN.difference(np.concatenate(latents), f"out.{case}.latents") < 2e-5


@given(st.integers(1, 1000))
def test_steps_are_equally_far_apart_and_end_at_zero(steps: int) -> None:
    times = timesteps(SCHEDULE, steps)
    assert times.shape == (steps,)
    assert times[-1] == 0 and times[0] < 1000
    assert set(np.diff(times).tolist()) <= {-(1000 // steps)}


@given(st.integers(1, 1000), st.integers(0, 2**32 - 1))
def test_with_the_true_noise_ddim_walks_the_same_noise_down_to_the_start(steps: int, seed: int) -> None:
    start, noise = drawn(seed)
    first, *rest = timesteps(SCHEDULE, steps)[:3].tolist()
    latent = ddim_step(SCHEDULE, steps, first, noisy(start, noise, first), noise)
    assert latent.dtype == np.float32
    following = rest[0] if rest else -1
    np.testing.assert_allclose(latent, noisy(start, noise, following), atol=2e-5)


@given(st.sampled_from([1, 4, 5, 50, 300, 1000]), st.integers(0, 2**32 - 1))
def test_the_last_step_of_both_is_the_predicted_start_itself(steps: int, seed: int) -> None:
    latent, predicted = drawn(seed)
    expected = predicted_start(SCHEDULE, 0, latent, predicted)
    noise = np.full_like(latent, np.nan)  # not to be looked at
    np.testing.assert_allclose(ddpm_step(SCHEDULE, steps, 0, latent, predicted, noise), expected, atol=1e-6)
    np.testing.assert_allclose(ddim_step(SCHEDULE, steps, 0, latent, predicted), expected, atol=1e-6)


@pytest.mark.parametrize("steps", [10, 50, 1000])
def test_a_ddpm_step_keeps_the_variance_of_noise_where_the_true_noise_is_predicted(steps: int) -> None:
    rng = np.random.default_rng(0)
    start = np.zeros((100_000,), np.float32)
    for t in timesteps(SCHEDULE, steps)[:-1:3].tolist():
        predicted, noise = rng.standard_normal((2, *start.shape), np.float32)
        found = ddpm_step(SCHEDULE, steps, t, noisy(start, predicted, t), predicted, noise)
        previous = alpha_bars(SCHEDULE)[t - 1000 // steps]
        assert found.var() == pytest.approx(1 - previous, rel=0.03)


def test_the_predicted_start_is_clipped() -> None:
    latent = np.full((1, 2, 3), 5, np.float32)
    nothing = np.zeros_like(latent)
    assert np.all(predicted_start(SCHEDULE, 999, latent, nothing) == 1)
    assert np.all(predicted_start(msgspec.structs.replace(SCHEDULE, clip=0.5), 999, -latent, nothing) == -0.5)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_out_of_range_are_input_errors(steps: int) -> None:
    with pytest.raises(InputError, match="1 to 1000 steps"):
        timesteps(SCHEDULE, steps)
