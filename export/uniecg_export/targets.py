"""Where a bundle is to run, and which precisions are worth trying there, the most thrifty first."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from uniecg_device.errors import InputError
from uniecg_export.gguf_writer import Precision
from uniecg_export.graph_precision import GRAPH_PRECISIONS
from uniecg_runtime.manifest import Role

SMALL_GRAPHS: tuple[Role, ...] = ("condition", "denoiser", "decoder", "delineator")
SMALL = 1_000_000_000  # parameters below which a language model is better left at eight bits
GGUF_PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclass(frozen=True)
class Target:
    """A kind of machine. machine: `platform.machine()` of it where its CPU does the work; None for a GPU.

    Each tuple is tried from the left, see `trials.Bench.choose` for which is shipped. small_graphs: of a generator, and
    of a delineator: they work on few samples at their deepest levels, so eight bits gain nothing there. large: of
    language models with a billion parameters or more.
    """

    name: str
    machine: str | None
    encoder: tuple[str, ...]
    small_graphs: tuple[str, ...]
    small: tuple[str, ...]
    large: tuple[str, ...]
    note: str

    @property
    def is_here(self) -> bool:
        """Whether speed measured on this machine says something about the target."""
        return self.machine is not None and self.machine == platform.machine()

    def candidates(self, role: Role, parameters: int) -> tuple[str, ...]:
        """Precisions to try for a role whose model has so many parameters."""
        if role == "language_model":
            return self.small if parameters < SMALL else self.large
        return self.small_graphs if role in SMALL_GRAPHS else self.encoder


_ON_CPU = {
    "encoder": ("int8_dynamic", "float16_weights"),
    "small_graphs": ("float16_weights",),
    "small": ("q8_0", "f16"),
    "large": ("q4_k_m", "q5_k_m", "q6_k", "q8_0"),
}
# A plan is built from the graph on the device itself, where TensorRT computes in the graph's own precision.
_ON_GPU = {
    "encoder": ("float16", "float16_weights"),
    "small_graphs": ("float16", "float16_weights"),
    "small": ("q8_0", "f16"),
    "large": ("q4_k_m", "q5_k_m", "q6_k", "q8_0"),
}
TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("cpu", "x86_64", **_ON_CPU, note="x86-64 laptops, carts and servers; ONNX Runtime and llama.cpp"),
        Target("cpu-arm", "aarch64", **_ON_CPU, note="64-bit ARM boards; ONNX Runtime and llama.cpp"),
        Target("jetson-orin", None, **_ON_GPU, note="Jetson Orin (SM 87): TensorRT plans built on the board"),
        Target("jetson-thor", None, **_ON_GPU, note="Jetson Thor: TensorRT plans built on the board"),
        Target("rtx", None, **_ON_GPU, note="PCs with an RTX GPU: TensorRT for RTX, plans built ahead"),
    )
}


def find_target(name: str) -> Target:
    """The target of that name. Raises InputError."""
    if name not in TARGETS:
        raise InputError(f"expected --target as one of {', '.join(TARGETS)}, found {name!r}.")
    return TARGETS[name]


def read_precisions(values: tuple[str, ...], roles: tuple[Role, ...]) -> dict[Role, str]:
    """Parse `ROLE=PRECISION`, or a precision alone for every role that can have it. Raises InputError."""
    wanted: dict[Role, str] = {}
    for value in values:
        named, _, precision = value.rpartition("=")
        of_language = precision in GGUF_PRECISIONS
        meant = [r for r in roles if (r == named if named else (r == "language_model") == of_language)]
        known = GGUF_PRECISIONS if meant == ["language_model"] else GRAPH_PRECISIONS
        if not meant or precision not in known:
            raise InputError(
                f"expected --precision [ROLE=]PRECISION with a role of {', '.join(roles)}, a precision of "
                f"{', '.join(GRAPH_PRECISIONS)} for graphs and {', '.join(GGUF_PRECISIONS)} for the language model, "
                f"found {value!r}."
            )
        wanted |= dict.fromkeys(meant, precision)
    return wanted
