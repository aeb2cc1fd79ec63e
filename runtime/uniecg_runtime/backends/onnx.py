"""A graph in ONNX Runtime that is what the manifest says, on the provider that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from uniecg_device.errors import BackendError, BundleError
from uniecg_runtime.manifest import Artifact, Tensor

CPU: Final = "CPUExecutionProvider"
_DTYPES: Final = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


class Graph:
    """One ONNX graph.

    path: the file. artifact: its entry in the manifest; names, shapes and dtypes of the graph must be
    the same. provider: ONNX Runtime's name of it. threads: CPU threads.
    Raises BackendError where the provider is not the one that would run, BundleError where the file
    is not the graph that the manifest describes.
    """

    def __init__(self, path: Path, artifact: Artifact, *, provider: str = CPU, threads: int = 1) -> None:
        self.artifact, self.provider = artifact, provider
        self._session = _open_session(path, provider, threads)
        _check_tensors(artifact, "input", artifact.inputs, self._session.get_inputs())
        _check_tensors(artifact, "output", artifact.outputs, self._session.get_outputs())

    def run(self, **inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Outputs in the manifest's order. Raises BackendError where an output is not finite."""
        expected = {tensor.name: tensor for tensor in self.artifact.inputs}
        if inputs.keys() != expected.keys():
            raise ValueError(f"{self.artifact.role}: expected inputs {sorted(expected)}, found {sorted(inputs)}")
        for name, array in inputs.items():
            tensor = expected[name]
            if array.shape != tensor.shape or array.dtype != np.dtype(tensor.dtype):
                raise ValueError(
                    f"{self.artifact.role}: expected {name} as {tensor.dtype} {tensor.shape}, "
                    f"found {array.dtype} {array.shape}"
                )
        names = [tensor.name for tensor in self.artifact.outputs]
        outputs = self._session.run(names, inputs)
        if not all(np.isfinite(array).all() for array in outputs):
            raise BackendError(
                f"expected finite numbers from the {self.artifact.role}, found others; run `uniecg verify`."
            )
        return tuple(outputs)


def _open_session(path: Path, provider: str, threads: int) -> Any:
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise BackendError(
            f"expected ONNX Runtime with {provider}, this installation has {', '.join(available)}; "
            f"install the build of onnxruntime that has it, or ask for one of these."
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait would take the cores from the language model and the reader.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise BundleError(
            f"expected an ONNX graph at {path}, ONNX Runtime could not load it ({_first_line(error)}); "
            f"export the bundle again."
        ) from None
    session.disable_fallback()
    if session.get_providers()[0] != provider:
        raise BackendError(
            f"expected {path.name} to run on {provider}, ONNX Runtime chose {session.get_providers()[0]}; "
            f"check the provider's libraries with `uniecg doctor`."
        )
    return session


def _check_tensors(artifact: Artifact, kind: str, expected: tuple[Tensor, ...], found: Any) -> None:
    said = {t.name: (tuple(t.shape), t.dtype) for t in expected}
    held = {t.name: (tuple(t.shape), _DTYPES.get(t.type, t.type)) for t in found}
    if said != held:
        raise BundleError(
            f"expected {artifact.file} to have {kind}s {said} as its manifest says, found {held}; "
            f"export the bundle again."
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
