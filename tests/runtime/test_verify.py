"""Goldens replayed on the backend in use: each role's error against its limit, or why it did not run."""

from __future__ import annotations

import math

import pytest

from cuda_fakes import FakeTensorRt, Plan, add_plan, add_plans
from uniecg_device.errors import InputError
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.verify import verify_bundle


def test_every_role_is_within_its_limit_and_says_what_ran_it(bundle: Bundle) -> None:
    checks = {check.role: check for check in verify_bundle(bundle)}
    assert checks.keys() == {artifact.role for artifact in bundle.manifest.artifacts}
    assert all(check.ok and check.error <= check.tolerance and not check.reason for check in checks.values())
    assert checks.pop("language_model").backend == "llama.cpp, CPU"
    assert {check.backend for check in checks.values()} == {"CPUExecutionProvider"}


def test_an_unknown_backend_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="expected a backend of"):
        verify_bundle(bundle, backend="npu")


def test_plans_are_held_against_the_same_goldens(copied: Bundle, trt: FakeTensorRt) -> None:
    add_plans(trt, copied)
    on_cpu, on_plans = verify_bundle(copied), verify_bundle(copied, backend="tensorrt")
    assert [(check.role, check.error, check.ok) for check in on_plans] == [(c.role, c.error, c.ok) for c in on_cpu]
    assert {check.backend.partition(" ")[0] for check in on_plans} == {"tensorrt", "llama.cpp,"}


def test_a_plan_that_computes_something_else_is_off(copied: Bundle, trt: FakeTensorRt) -> None:
    add_plans(trt, copied)
    real = trt.plans[b"plan of decoder"]
    trt.plans[b"plan of decoder"] = Plan(
        real.tensors, lambda arrays: {name: 1.1 * array for name, array in real.compute(arrays).items()}
    )
    off = [check for check in verify_bundle(copied, backend="tensorrt") if not check.ok]
    assert [(check.role, check.reason) for check in off] == [("decoder", "")]
    assert off[0].error == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("onnx_sha256", "b" * 64),
        ("version", "10.3.0.30"),
        ("gpu", "Orin"),
        ("sms", (87,)),
        ("precision", "fp16"),
        ("flags", ("TF32",)),
    ],
)
def test_a_stale_plan_is_reported_by_role_and_by_the_field_that_differs(
    copied: Bundle, trt: FakeTensorRt, field: str, other: object
) -> None:
    add_plans(trt, copied)
    add_plan(trt, copied, "condition", **{field: other})
    (stale,) = (check for check in verify_bundle(copied, backend="tensorrt") if not check.ok)
    assert (stale.role, stale.backend) == ("condition", "tensorrt") and math.isnan(stale.error)
    assert f"expected a plan with {field} " in stale.reason and f"found one with {field} " in stale.reason
    assert "run `uniecg build-engine BUNDLE`" in stale.reason


def test_a_plan_that_is_missing_does_not_hide_the_other_roles(copied: Bundle, trt: FakeTensorRt) -> None:
    add_plans(trt, copied)
    (copied.folder / "engines" / "denoiser.plan").unlink()
    (missing,) = (check for check in verify_bundle(copied, backend="tensorrt") if not check.ok)
    assert missing.role == "denoiser" and "found none; run `uniecg build-engine" in missing.reason
