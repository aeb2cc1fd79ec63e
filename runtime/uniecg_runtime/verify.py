"""Does a bundle compute here what its exporter computed there? Golden inputs, replayed on the backends in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import BundleError
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.backends.onnx import Graph
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.manifest import Artifact, Golden, Role, need

Arrays = Mapping[str, NDArray[Any]]

# The golden conversation: tokens, then soft tokens, then tokens whose hidden states are compared.
LANGUAGE_MODEL_INPUTS: Final = ("before", "soft_tokens", "after")
LANGUAGE_MODEL_OUTPUTS: Final = ("logits", "states")


class Check(NamedTuple):
    """One role's golden replayed: error is max |a-b| / max |b|, the largest over its outputs."""

    role: Role
    error: float
    tolerance: float
    ok: bool


def verify_bundle(bundle: Bundle, *, threads: int = 1) -> list[Check]:
    """Replay the golden of every role that has one.

    Raises BundleError for a role without golden, or golden arrays that do not fit the role.
    """
    arrays = bundle.golden()
    golden = {item.role: item for item in bundle.manifest.golden}
    missing = [artifact.role for artifact in bundle.manifest.artifacts if artifact.role not in golden]
    if missing:
        raise BundleError(f"expected golden outputs for every role, found none for {', '.join(missing)}; export again.")
    return [_check(bundle, golden[artifact.role], artifact, arrays, threads) for artifact in bundle.manifest.artifacts]


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """max |a-b| / max |b|; infinite where the shapes differ, NaN where a value is not a number."""
    if found.shape != expected.shape or expected.size == 0:
        return float("inf")
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return float(np.abs(a - b).max() / max(float(np.abs(b).max()), np.finfo(np.float32).tiny))


def replay_language_model(model: LanguageModel, inputs: Arrays) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Feed a golden conversation to an empty prefix: last logits (vocabulary,) and states of `after` (n, width)."""
    model.reset()
    model.feed_tokens([int(i) for i in inputs["before"].ravel()])
    if len(inputs["soft_tokens"]):  # a language model alone has none
        model.feed_embeddings(inputs["soft_tokens"])
    return model.feed_states([int(i) for i in inputs["after"].ravel()])


def _check(bundle: Bundle, golden: Golden, artifact: Artifact, arrays: Arrays, threads: int) -> Check:
    role, path = artifact.role, bundle.path(artifact.role)
    try:
        if role == "language_model":
            inputs = {name: arrays[f"{role}.in.{name}"] for name in LANGUAGE_MODEL_INPUTS}
            model = LanguageModel(path, context=need(bundle.manifest.prompt, "a prompt").context, threads=threads)
            found: tuple[NDArray[Any], ...] = replay_language_model(model, inputs)
            names: tuple[str, ...] = LANGUAGE_MODEL_OUTPUTS
        else:
            inputs = {tensor.name: arrays[f"{role}.in.{tensor.name}"] for tensor in artifact.inputs}
            found = Graph(path, artifact, threads=threads).run(**inputs)
            names = tuple(tensor.name for tensor in artifact.outputs)
        expected = [arrays[f"{role}.out.{name}"] for name in names]
        errors = [relative_error(a, b) for a, b in zip(found, expected, strict=True)]
    except (KeyError, ValueError, TypeError) as error:
        raise BundleError(
            f"expected golden arrays that fit the {role}, found others ({error}); export again."
        ) from None
    worst = float(np.max(errors)) if errors else float("nan")  # np.max keeps a NaN, max() may lose it
    return Check(role, worst, golden.tolerance, worst <= golden.tolerance)
