"""What a graph is given at work: windows, pictures and beats of recordings, or what passes through the generator."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniecg_export.role_metrics import Reference, delineated, draw_request, pictures
from uniecg_runtime.manifest import Role, need
from uniecg_runtime.sampler import Denoiser
from uniecg_runtime.signal.delineator import Delineator
from uniecg_runtime.signal.waves import find_waves
from uniecg_runtime.signal.window import prepare_window

MOST = 48  # sets of inputs
MOST_PICTURES = 16  # a tower of images is slow and each has hundreds of patches
REQUESTS = 8  # drawings whose inputs are looked at

Inputs = dict[str, NDArray[Any]]


class _Overheard:
    """A graph that keeps what it is given."""

    def __init__(self, graph: Denoiser) -> None:
        self.graph, self.heard = graph, list[Inputs]()

    def run(self, **inputs: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        """Run the graph."""
        self.heard.append({name: value.copy() for name, value in inputs.items()})
        return self.graph.run(**inputs)


def role_inputs(reference: Reference, role: Role) -> list[Inputs]:
    """At most `MOST` sets of inputs of the role's graph, by name, as `calibration` wants them."""
    assistant = reference.assistant
    manifest = assistant.bundle.manifest
    if role == "encoder":
        preprocessing = need(manifest.preprocessing, "an encoder")
        windows = [prepare_window(recording, preprocessing) for recording in reference.tried.calibration[:MOST]]
        return [dict(window.inputs(manifest.artifact("encoder"))) for window in windows]
    if role == "image_encoder":
        return [{"image": image} for image in pictures(assistant, reference.tried.calibration[:MOST_PICTURES])]
    ear = _Overheard(assistant.graph(role))
    if role == "delineator":
        for recording in delineated(reference.tried.calibration):
            find_waves(recording, Delineator(ear))
        return _spread(ear.heard)
    for k in range(REQUESTS):
        draw_request(lambda r: ear if r == role else assistant.graph(r), reference, k, seed=k + 1000)
    return _spread(ear.heard)


def _spread(heard: list[Inputs]) -> list[Inputs]:
    """At most `MOST` of them, from the first to the last."""
    return [heard[i] for i in np.linspace(0, len(heard) - 1, min(MOST, len(heard))).round().astype(int)]
