"""What is tried where, and how a person asks for something else."""

from __future__ import annotations

import platform

import pytest

pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_device.errors import InputError
from uniecg_export.graph_precision import GRAPH_PRECISIONS
from uniecg_export.targets import GGUF_PRECISIONS, SMALL, TARGETS, find_target, read_precisions
from uniecg_runtime.manifest import Role

ROLES: tuple[Role, ...] = ("encoder", "denoiser", "language_model")


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_a_target_tries_precisions_that_exist_and_leaves_a_large_language_model_fewer_bits(target: object) -> None:
    goal = find_target(target.name)  # type: ignore[attr-defined]
    assert set(goal.candidates("encoder", 0)) | set(goal.candidates("decoder", 0)) <= set(GRAPH_PRECISIONS)
    small, large = goal.candidates("language_model", SMALL - 1), goal.candidates("language_model", SMALL)
    assert set(small) | set(large) <= set(GGUF_PRECISIONS)
    assert (small[0], large[0]) == ("q8_0", "q4_k_m")


def test_speed_counts_only_on_a_machine_of_the_target() -> None:
    assert find_target("cpu").is_here == (platform.machine() == "x86_64")
    assert not any(find_target(name).is_here for name in ("jetson-orin", "jetson-thor", "rtx"))
    with pytest.raises(InputError, match="--target as one of cpu, cpu-arm"):
        find_target("toaster")


def test_a_precision_alone_is_for_every_role_that_can_have_it_and_a_later_one_wins() -> None:
    assert read_precisions((), ROLES) == {}
    assert read_precisions(("q6_k",), ROLES) == {"language_model": "q6_k"}
    both = {"encoder": "float16", "denoiser": "float16"}
    assert read_precisions(("float16",), ROLES) == both
    assert read_precisions(("float16", "encoder=int8_qdq"), ROLES) == both | {"encoder": "int8_qdq"}


@pytest.mark.parametrize(
    "wrong", ["int3", "encoder=q8_0", "language_model=float16", "decoder=float16", "encoder=", "", "=float16x"]
)
def test_a_precision_that_the_role_cannot_have_is_an_error_that_lists_them(wrong: str) -> None:
    with pytest.raises(InputError, match=r"ROLE=\]PRECISION.*int8_dynamic.*q4_k_m") as caught:
        read_precisions((wrong,), ROLES)
    assert repr(wrong) in str(caught.value)
