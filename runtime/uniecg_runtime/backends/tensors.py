"""What goes into a graph and comes out of it is what the manifest says, on every backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import BackendError
from uniecg_runtime.manifest import Artifact


def check_inputs(artifact: Artifact, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Raises ValueError unless `inputs` have the names, shapes and dtypes of the artifact's."""
    expected = {tensor.name: (tensor.shape, tensor.dtype) for tensor in artifact.inputs}
    found = {name: (array.shape, array.dtype.name) for name, array in inputs.items()}
    if found != expected:
        raise ValueError(f"{artifact.role}: expected inputs {expected}, found {found}")


def check_outputs(artifact: Artifact, outputs: Iterable[NDArray[Any]]) -> None:
    """Raises BackendError where an output holds an infinity or a NaN."""
    if not all(np.isfinite(array).all() for array in outputs):
        raise BackendError(f"expected finite numbers from the {artifact.role}, found others; run `uniecg verify`.")
