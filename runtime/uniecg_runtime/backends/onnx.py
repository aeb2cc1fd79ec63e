"""A graph in ONNX Runtime that is what the manifest says, on the provider that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import onnxruntime
from numpy.typing import NDArray

from uniecg_device.errors import BackendError, BundleError
from uniecg_runtime.backends.tensors import check_inputs, check_outputs
from uniecg_runtime.manifest import Artifact, Tensor

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
# CUDA would round the factors of float32 products to 10 bits by itself; the goldens are of float32.
_OPTIONS: Final[dict[str, dict[str, str]]] = {CUDA: {"use_tf32": "0"}}
_DTYPES: Final = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


class Graph:
    """One ONNX graph.

    path: the file. artifact: its entry in the manifest; names, shapes and dtypes of the graph must be
    the same. provider: ONNX Runtime's name of it, for every node. threads: CPU threads.
    remarks: none; see `backends.graphs.RoleGraph`.
    Raises BackendError where the provider is not the one that would run, BundleError where the file
    is not the graph that the manifest describes.
    """

    def __init__(self, path: Path, artifact: Artifact, *, provider: str = CPU, threads: int = 1) -> None:
        self.artifact, self.provider, self.remarks = artifact, provider, list[str]()
        self._session = _open_session(path, provider, threads)
        _check_tensors(artifact, "input", artifact.inputs, self._session.get_inputs())
        _check_tensors(artifact, "output", artifact.outputs, self._session.get_outputs())

    def run(self, **inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Outputs in the manifest's order. Raises BackendError where it fails or an output is not finite."""
        check_inputs(self.artifact, inputs)
        names = [tensor.name for tensor in self.artifact.outputs]
        try:
            outputs = self._session.run(names, inputs)
        except Exception as error:  # a GPU out of memory, or lost
            raise BackendError(
                f"expected the {self.artifact.role} to run on {self.provider}, ONNX Runtime stopped "
                f"({_first_line(error)}); run `uniecg doctor`, and free memory where there is too little."
            ) from None
        check_outputs(self.artifact, outputs)
        return tuple(outputs)


def _open_session(path: Path, provider: str, threads: int) -> Any:
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise BackendError(
            f"expected ONNX Runtime with {provider}, this installation has {', '.join(available)}; "
            f"install the build of onnxruntime that has it (onnxruntime-gpu for CUDA), or ask for the backend cpu."
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait would take the cores from the language model and the reader.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider != CPU:
        # Else nodes that the provider does not take, or all where its libraries do not load, go to the CPU unsaid.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=[provider], provider_options=[_OPTIONS.get(provider, {})]
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        if provider != CPU:
            raise BackendError(
                f"expected all of {path.name} to run on {provider}, ONNX Runtime refuses ({_first_line(error)}); check "
                f"the provider's libraries with `uniecg doctor`, or ask for the backend cpu."
            ) from None
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
