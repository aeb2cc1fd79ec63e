"""The rectified-flow sampler: what it integrates, and that a seed is a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.signals import INDEPENDENT_LEADS
from uniecg_runtime.manifest import Generation, Schedule
from uniecg_runtime.sampler import check_options, guidance_of, noise, sample
from uniecg_runtime.schedule import alpha_bars

Array = NDArray[np.float32]
CONDITION = np.zeros((1, 4), np.float32)


def generation(solver: str = "euler", steps: int = 8, guidance: float | None = 2.0) -> Generation:
    return Generation(
        token="[ECG]",
        token_count=2,
        scalars=(),
        latent_shape=(2, 5),
        sampler="rectified_flow",
        solver=solver,  # type: ignore[arg-type]
        steps=steps,
        guidance=guidance,
        fs=128.0,
        leads=INDEPENDENT_LEADS,
    )


@dataclass
class Flow:
    """A denoiser whose velocity is a given function of latent and time; it keeps what it was given."""

    velocity: Callable[[Array, float], Array]
    times: list[float] = field(default_factory=list)
    guidance: list[float] = field(default_factory=list)

    def run(self, **inputs: Array) -> tuple[Array, ...]:
        assert inputs["latent"].shape == (1, 2, 5)
        assert all(array.dtype == np.float32 for array in inputs.values())
        assert inputs["time"].shape == inputs["guidance"].shape == (1,)
        self.times.append(float(inputs["time"][0]))
        self.guidance.append(float(inputs["guidance"][0]))
        return (self.velocity(inputs["latent"], self.times[-1]).astype(np.float32),)


def test_a_straight_flow_carries_noise_to_data_in_any_number_of_steps() -> None:
    data = np.arange(10, dtype=np.float32).reshape(1, 2, 5)
    for steps in (1, 3, 24):
        flow = Flow(lambda x, t: data - noise((1, 2, 5), 5))
        np.testing.assert_allclose(sample(flow, CONDITION, generation(), steps=steps, seed=5), data, atol=1e-5)


def test_time_runs_from_zero_up_in_equal_steps() -> None:
    flow = Flow(lambda x, t: x)
    sample(flow, CONDITION, generation(steps=4))
    assert flow.times == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("solver", "tolerance"), [("euler", 0.2), ("heun", 0.01)])
def test_a_curved_flow_is_followed_to_the_order_of_the_solver(solver: str, tolerance: float) -> None:
    flow = Flow(lambda x, t: x)  # dx/dt = x: x(1) = e x(0)
    got = sample(flow, CONDITION, generation(solver, steps=10))
    start = noise((1, 2, 5), 0)
    assert np.abs(got / start - np.e).max() < tolerance
    assert len(flow.times) == (20 if solver == "heun" else 10)


def test_steps_and_guidance_default_to_the_bundle_and_may_be_given() -> None:
    flow = Flow(lambda x, t: x)
    sample(flow, CONDITION, generation(steps=3))
    assert flow.guidance == [2.0] * 3
    sample(flow, CONDITION, generation(steps=3), steps=2, guidance=1.0)
    assert flow.guidance[3:] == [1.0] * 2


def test_a_bundles_own_guidance_may_be_none_at_all_or_zero() -> None:
    assert guidance_of(generation(guidance=0.0)) == 0.0
    assert guidance_of(generation(guidance=None)) == 1.0


def test_the_same_seed_is_the_same_noise_bit_for_bit_and_another_is_not() -> None:
    assert noise((20, 80), 7).tobytes() == noise((20, 80), 7).tobytes()
    assert not np.allclose(noise((20, 80), 7), noise((20, 80), 8))
    assert abs(float(noise((200, 80), 3).std()) - 1) < 0.03


@given(st.integers(0, 2**64 - 1))
def test_every_allowed_seed_gives_finite_float32_noise(seed: int) -> None:
    x = noise((3, 4), seed)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()


@pytest.mark.parametrize(
    ("steps", "seed", "guidance", "says"),
    [
        (0, 0, 1.0, "1 to 1000 steps"),
        (1001, 0, 1.0, "1 to 1000 steps"),
        (5, -1, 1.0, "seed from 0"),
        (5, 2**64, 1.0, "seed from 0"),
        (5, 0, -0.1, "guidance"),
        (5, 0, float("nan"), "guidance"),
        (5, 0, 21.0, "guidance"),
    ],
)
def test_options_out_of_range_are_input_errors(steps: int, seed: int, guidance: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_options(steps, seed, guidance)
    with pytest.raises(InputError, match=says):
        sample(Flow(lambda x, t: x), CONDITION, generation(), steps=steps, seed=seed, guidance=guidance)


def diffusion(sampler: str, steps: int = 20) -> Generation:
    return Generation(
        scalars=(),
        latent_shape=(2, 5),
        sampler=sampler,  # type: ignore[arg-type]
        steps=steps,
        fs=128.0,
        leads=INDEPENDENT_LEADS,
        schedule=Schedule(train_steps=100, beta_start=0.001, beta_end=0.1, clip=3.0),
    )


@dataclass
class Knowing:
    """A denoiser that knows the clean latent: it says what noise the given one must hold."""

    clean: Array
    times: list[int] = field(default_factory=list)

    def run(self, **inputs: Array) -> tuple[Array, ...]:
        assert inputs.keys() == {"latent", "time", "condition"}
        assert inputs["time"].dtype == np.int64
        self.times.append(int(inputs["time"][0]))
        schedule = diffusion("ddpm").schedule
        assert schedule is not None
        kept = float(alpha_bars(schedule)[self.times[-1]])
        return (((inputs["latent"] - np.sqrt(kept) * self.clean) / np.sqrt(1 - kept)).astype(np.float32),)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_a_denoiser_that_knows_the_clean_latent_is_led_to_it(sampler: str) -> None:
    clean = np.linspace(-2, 2, 10, dtype=np.float32).reshape(1, 2, 5)
    denoiser = Knowing(clean)
    found = sample(denoiser, CONDITION, diffusion(sampler), seed=3)
    np.testing.assert_allclose(found, clean, atol=1e-3)
    assert denoiser.times == list(range(95, -1, -5))
    assert found.dtype == np.float32


def test_ddpm_draws_along_the_way_and_the_seed_says_what() -> None:
    def run(seed: int) -> bytes:
        return sample(Knowing(np.zeros((1, 2, 5), np.float32)), CONDITION, diffusion("ddpm", 3), seed=seed).tobytes()

    assert run(1) == run(1) != run(2)
