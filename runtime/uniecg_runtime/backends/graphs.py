"""A bundle's parts on the backend that was asked for; where one cannot run there, that is an error.

Nothing falls back. The one thing that may stay behind is the language model, where llama.cpp was compiled without GPU
support: it then runs on the CPU and says so in every result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

from numpy.typing import NDArray

from uniecg_device.errors import BundleError, InputError
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.manifest import Artifact, Role, need

if TYPE_CHECKING:
    from uniecg_runtime.backends.llama import LanguageModel

Backend = Literal["cpu", "cuda", "tensorrt"]

BACKENDS: Final[tuple[Backend, ...]] = get_args(Backend)
ALL_LAYERS: Final = -1
# What is as wide as the language model: by role, an input or output.
SHARED: Final = (("encoder", "tokens"), ("image_encoder", "tokens"), ("condition", "states"))


class RoleGraph(Protocol):
    """What `backends.onnx.Graph` and `backends.tensorrt.Engine` both are.

    provider: what runs it, for a person to read. remarks: what is less than was asked for.
    """

    artifact: Artifact
    provider: str
    remarks: list[str]

    def run(self, **inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Outputs in the manifest's order. Raises BackendError where it fails or an output is not finite."""
        ...


def check_backend(backend: str) -> Backend:
    """The name of a backend. Raises InputError for any other."""
    for name in BACKENDS:
        if name == backend:
            return name
    raise InputError(f"expected a backend of {', '.join(BACKENDS)}, found {backend!r}; name one of these.")


def open_graph(bundle: Bundle, role: Role, backend: Backend = "cpu", threads: int = 1) -> RoleGraph:
    """The graph of `role`, loaded.

    "cpu" and "cuda" are ONNX Runtime's providers; "tensorrt" runs the plan that `uniecg build-engine` left, and never
    builds one. threads: CPU threads, for "cpu". Raises BackendError where the backend cannot run here, or its plan is
    missing or was built for something else; BundleError where the bundle has no such role.
    """
    if backend == "tensorrt":
        from uniecg_runtime.backends.tensorrt import open_engine

        return open_engine(bundle, role)
    from uniecg_runtime.backends.onnx import CPU, CUDA, Graph

    artifact = bundle.manifest.artifact(role)
    return Graph(bundle.path(role), artifact, provider=CUDA if backend == "cuda" else CPU, threads=threads)


def open_language_model(bundle: Bundle, backend: Backend = "cpu", threads: int = 1) -> LanguageModel:
    """The bundle's language model, on the GPU for "cuda" and "tensorrt" where llama.cpp can use one.

    Raises BundleError where the bundle has none, its file does not load, or the graphs are not as wide as it is.
    """
    from uniecg_runtime.backends.llama import LanguageModel, sees_gpu

    prompt = need(bundle.manifest.prompt, "a language model")
    gpu = backend != "cpu" and sees_gpu()
    layers = ALL_LAYERS if gpu else 0
    model = LanguageModel(bundle.path("language_model"), context=prompt.context, threads=threads, gpu_layers=layers)
    _check_widths(bundle, model.width)
    if backend != "cpu" and not gpu:
        model.remarks.append("the language model runs on the CPU, for llama.cpp has no GPU support here")
    return model


def _check_widths(bundle: Bundle, width: int) -> None:
    """The encoders write into, and the condition reads from, the language model's space."""
    for artifact in bundle.manifest.artifacts:
        for tensor in (*artifact.inputs, *artifact.outputs):
            if (artifact.role, tensor.name) in SHARED and tensor.shape[-1] != width:
                raise BundleError(
                    f"expected {artifact.role} to be {width} wide as the language model, found {tensor.name} "
                    f"{tensor.shape}; export the bundle again."
                )
