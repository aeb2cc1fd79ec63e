"""Does a bundle compute here what its exporter computed there? Golden inputs, replayed on the backends in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import BackendError, BundleError
from uniecg_runtime.backends.graphs import Backend, check_backend, open_graph, open_language_model
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.manifest import Artifact, Golden, Role

Arrays = Mapping[str, NDArray[Any]]
Replayed = tuple[tuple[str, ...], tuple[NDArray[Any], ...], str]  # names of outputs, the outputs, what ran them

# The golden conversation: tokens, then soft tokens, then tokens whose hidden states are compared.
LANGUAGE_MODEL_INPUTS: Final = ("before", "soft_tokens", "after")
LANGUAGE_MODEL_OUTPUTS: Final = ("logits", "states")


class Check(NamedTuple):
    """One role's golden replayed: error is max |a-b| / max |b|, the largest over its outputs.

    backend: what ran it, for a person to read. reason: why it did not run at all; the error is NaN then.
    """

    role: Role
    error: float
    tolerance: float
    ok: bool
    backend: str
    reason: str = ""


def verify_bundle(bundle: Bundle, *, backend: str = "cpu", threads: int = 1) -> list[Check]:
    """Replay the golden of every role that has one, each on the backend that would run it.

    A role that the backend cannot run, its plan missing or stale, is a check that failed, with the reason.
    Raises BundleError for a role without golden, or golden arrays that do not fit the role; InputError for an unknown
    backend.
    """
    checked = check_backend(backend)
    arrays = bundle.golden()
    golden = {item.role: item for item in bundle.manifest.golden}
    missing = [artifact.role for artifact in bundle.manifest.artifacts if artifact.role not in golden]
    if missing:
        raise BundleError(f"expected golden outputs for every role, found none for {', '.join(missing)}; export again.")
    replay = _Replay(bundle, arrays, checked, threads)
    return [replay.check(artifact, golden[artifact.role]) for artifact in bundle.manifest.artifacts]


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


@dataclass(frozen=True)
class _Replay:
    """Where the golden arrays of a bundle are run."""

    bundle: Bundle
    arrays: Arrays
    backend: Backend
    threads: int

    def check(self, artifact: Artifact, golden: Golden) -> Check:
        role, tolerance = artifact.role, golden.tolerance
        try:
            names, found, provider = self._language_model() if role == "language_model" else self._graph(artifact)
            expected = [self.arrays[f"{role}.out.{name}"] for name in names]
            errors = [relative_error(a, b) for a, b in zip(found, expected, strict=True)]
        except BackendError as error:
            return Check(role, float("nan"), tolerance, False, self.backend, str(error))
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise BundleError(
                f"expected golden arrays that fit the {role}, found others ({error}); export again."
            ) from None
        worst = float(np.max(errors)) if errors else float("nan")  # np.max keeps a NaN, max() may lose it
        return Check(role, worst, tolerance, worst <= tolerance, provider)

    def _graph(self, artifact: Artifact) -> Replayed:
        role = artifact.role
        inputs = {tensor.name: self.arrays[f"{role}.in.{tensor.name}"] for tensor in artifact.inputs}
        graph = open_graph(self.bundle, role, self.backend, self.threads)
        return tuple(tensor.name for tensor in artifact.outputs), graph.run(**inputs), graph.provider

    def _language_model(self) -> Replayed:
        inputs = {name: self.arrays[f"language_model.in.{name}"] for name in LANGUAGE_MODEL_INPUTS}
        model = open_language_model(self.bundle, self.backend, self.threads)
        return LANGUAGE_MODEL_OUTPUTS, replay_language_model(model, inputs), model.provider
