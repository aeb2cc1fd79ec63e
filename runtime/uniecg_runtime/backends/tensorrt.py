"""A graph as a TensorRT plan on the GPU, over either Python API: `tensorrt` or `tensorrt_rtx`.

`tensorrt` comes with JetPack or from NVIDIA's downloads, `tensorrt_rtx` (TensorRT for RTX) from PyPI. Neither is
imported before it is asked for. Buffers are taken once; the copies in, the plan and the copies out are recorded as one
CUDA graph, so that a call of a sampler's loop is one launch. Sources: TensorRT's Python API reference for
IExecutionContext, TensorRT-RTX's guides on CUDA graphs and the runtime cache, CUDA Driver API reference.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import threading
import weakref
from collections import deque
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import BackendError
from uniecg_runtime.backends.tensors import check_inputs, check_outputs
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.engines import (
    REBUILD,
    CudaDriver,
    Flavour,
    Gpu,
    Precision,
    enter_gpu,
    find_gpu,
    key_here,
    open_driver,
    plan_precision,
    plan_to_read,
    read_key,
    read_plan,
)
from uniecg_runtime.files import replace_file
from uniecg_runtime.manifest import Artifact, Role, Tensor

OLDEST: Final[dict[Flavour, tuple[int, int]]] = {"tensorrt": (10, 0), "tensorrt_rtx": (1, 2)}
INSTALL: Final[dict[Flavour, str]] = {
    "tensorrt": "on a Jetson install nvidia-jetpack with apt and make the virtual environment with "
    "--system-site-packages from the system's own Python; elsewhere pip install tensorrt",
    "tensorrt_rtx": "on a PC with an RTX GPU: pip install 'uniecg-edge[tensorrt]'",
}
MAX_CACHE_BYTES: Final = 256 << 20
_MODULES: Final[dict[Flavour, tuple[str, ...]]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt_rtx_libs", "tensorrt_rtx_bindings"),  # the first loads what the second links to
}
_DTYPES: Final = {"FLOAT": "float32", "HALF": "float16", "INT64": "int64", "INT32": "int32", "INT8": "int8"}
_NON_BLOCKING_STREAM: Final = 1  # CU_STREAM_NON_BLOCKING
_CAPTURE_THREAD_LOCAL: Final = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on using the GPU
_WARNING: Final = 2  # ILogger.Severity: 0 internal error, 1 error, 2 warning
_logs: dict[Flavour, Any] = {}


class TensorRt(NamedTuple):
    """One of the two Python APIs, its version, and the log it writes to: (severity, text), the last 64."""

    module: Any
    flavour: Flavour
    version: str
    log: Any

    def warnings(self) -> tuple[str, ...]:
        """What it warned of since its log was last cleared, each once."""
        return tuple(dict.fromkeys(text for severity, text in self.log.messages if severity == _WARNING))

    def reason(self) -> str:
        """The first error since its log was last cleared; those that follow tend to be its consequences."""
        errors = (" ".join(text.split())[:300] for severity, text in self.log.messages if severity < _WARNING)
        return next(errors, "no reason given")


def find_tensorrt(flavour: Flavour | None = None) -> TensorRt:
    """The API of `flavour`, or the first that is installed. Raises BackendError saying how to install one."""
    wanted: tuple[Flavour, ...] = ("tensorrt", "tensorrt_rtx") if flavour is None else (flavour,)
    failures = []
    for name in wanted:
        try:
            module = [importlib.import_module(part) for part in _MODULES[name]][-1]
            version = str(module.__version__)
            release = tuple(int(part) for part in version.split(".")[:2])
        except Exception as error:  # a binding that misses its libraries, its Python or its NumPy fails in many ways
            failures.append(f"{name} does not load ({(str(error).splitlines() or [type(error).__name__])[0][:200]})")
            continue
        if release >= OLDEST[name]:
            return TensorRt(module, name, version, _log_of(module, name))
        failures.append(f"{name} is {version}, older than {'.'.join(map(str, OLDEST[name]))}")
    advice = "; ".join(f"for {name}: {INSTALL[name]}" for name in wanted)
    raise BackendError(f"expected {' or '.join(wanted)} in this Python, found that {', '.join(failures)}; {advice}.")


def _log_of(module: Any, flavour: Flavour) -> Any:
    """The one log of the process: TensorRT keeps the first it is given, and ignores all others."""
    if flavour not in _logs:

        class Log(module.ILogger):  # type: ignore[misc]  # the base is known once the module is found
            def __init__(self) -> None:
                module.ILogger.__init__(self)
                self.messages: deque[tuple[int, str]] = deque(maxlen=64)

            def log(self, severity: Any, text: str) -> None:
                if int(severity) <= _WARNING:
                    self.messages.append((int(severity), text))

        _logs[flavour] = Log()
    return _logs[flavour]


def open_engine(bundle: Bundle, role: Role) -> Engine:
    """The plan that `uniecg build-engine` left for the graph of a role. Raises BackendError where there is none.

    A plan that was built with --tf32 is taken for a float32 graph, for somebody asked for it; its remarks say so.
    """
    open_gpu()  # else, where there is none, a missing plan would be what is complained of
    artifact = bundle.manifest.artifact(role)
    path = plan_to_read(bundle.folder, role, signed=bundle.signed)
    if read_key(path).key.precision != "tf32" or plan_precision(artifact) != "fp32":
        return Engine(path, artifact)
    engine = Engine(path, artifact, precision="tf32")
    engine.remarks.append(f"the {role} rounds the factors of its products to 10 bits (tf32)")
    return engine


class Buffer(NamedTuple):
    """A tensor's memory here, page-locked, and its address on the GPU."""

    host: NDArray[Any]
    device: ctypes.c_uint64


class Engine:
    """A plan, loaded and warmed up, that answers like `backends.onnx.Graph`.

    path: the plan, with its key beside it. artifact: the graph it was built from, as the manifest describes it.
    precision: of the plan, where it is not the graph's own (tf32). flavour: which API; by default the one that built
    the plan. cuda_graph: record the calls as a CUDA graph. provider: what runs it, for a person to read; remarks: what
    is less than asked for. Several Python threads may call it; they wait for each other.
    Raises BackendError where there is no GPU, no TensorRT, or the plan is not for these.
    """

    def __init__(
        self,
        path: Path,
        artifact: Artifact,
        *,
        precision: Precision | None = None,
        flavour: Flavour | None = None,
        cuda_graph: bool = True,
    ) -> None:
        self.artifact, self.remarks = artifact, list[str]()
        self._api = find_tensorrt(flavour or read_key(path).key.flavour)
        self._api.log.messages.clear()
        self._driver, gpu = open_gpu()
        precision = plan_precision(artifact) if precision is None else precision
        plan = read_plan(path, key_here(artifact, self._api.flavour, self._api.version, precision, gpu))
        self.provider = f"{self._api.flavour} {self._api.version}, {precision}, on {gpu.name} (SM {gpu.sm})"
        self._lock = threading.Lock()
        self._graph: ctypes.c_void_p | None = None
        self._held: list[tuple[str, Any]] = []  # what to give back, and through which function
        self._gpu_context = enter_gpu(self._driver)
        weakref.finalize(self, _give_back, self._driver, self._gpu_context, self._held)
        self._stream = self._take("cuStreamCreate", _NON_BLOCKING_STREAM, back="cuStreamDestroy_v2")
        self._load(plan, path)
        self._inputs = {tensor.name: self._take_buffer(tensor) for tensor in artifact.inputs}
        self._outputs = {tensor.name: self._take_buffer(tensor) for tensor in artifact.outputs}
        self._warm_up(cuda_graph)
        self._keep_kernels(path)
        self._api.log.messages.clear()

    def run(self, **inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Outputs in the manifest's order. Raises BackendError where the GPU fails or an output is not finite."""
        check_inputs(self.artifact, inputs)
        with self._lock:
            self._driver.call("cuCtxSetCurrent", self._gpu_context)  # contexts belong to threads
            for name, array in inputs.items():
                self._inputs[name].host[...] = array
            self._launch()
            outputs = tuple(buffer.host.copy() for buffer in self._outputs.values())
        check_outputs(self.artifact, outputs)
        return outputs

    def _load(self, plan: bytes, path: Path) -> None:
        """From bytes to an execution context. Raises BackendError where TensorRT refuses the plan."""
        runtime = self._api.module.Runtime(self._api.log)
        if self._api.flavour == "tensorrt_rtx":
            self._check_validity(runtime, plan, path)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(
                f"expected a plan at {path} that TensorRT loads, it refused ({self._api.reason()}); {REBUILD}."
            )
        self._check_tensors(engine, path)
        self._runtime, self._engine = runtime, engine  # both must outlive the context
        self._open_context(path)
        if self._context is None:
            raise BackendError(
                f"expected GPU memory for {path.name}, TensorRT could not take it ({self._api.reason()}); "
                f"free memory on the GPU."
            )

    def _check_validity(self, runtime: Any, plan: bytes, path: Path) -> None:
        """Ask TensorRT for RTX itself whether a plan fits this machine: it knows of drivers, which keys do not."""
        validity, causes = runtime.get_engine_validity(plan)
        kinds = self._api.module.EngineInvalidityDiagnostics.__members__
        named = [name for name, kind in kinds.items() if int(causes) & int(kind)] or [self._api.reason()]
        if validity == self._api.module.EngineValidity.INVALID:
            raise BackendError(
                f"expected {path} to fit this machine, TensorRT for RTX says {', '.join(named)}; update the NVIDIA "
                f"driver where it is too old, else {REBUILD}."
            )
        if validity != self._api.module.EngineValidity.VALID:
            self.remarks.append(f"the plan of the {self.artifact.role} is slower here than one built here would be")

    def _check_tensors(self, engine: Any, path: Path) -> None:
        """A plan with the right key has these by construction; a forged one would have us copy past its buffers."""
        kinds, places = self._api.module.TensorIOMode, self._api.module.TensorLocation
        found = {}
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
            way = "in" if engine.get_tensor_mode(name) == kinds.INPUT else "out"
            dtype = engine.get_tensor_dtype(name).name
            place = "gpu" if engine.get_tensor_location(name) == places.DEVICE else "host"
            found[name] = (way, tuple(engine.get_tensor_shape(name)), _DTYPES.get(dtype, dtype), place)
        ways = (("in", self.artifact.inputs), ("out", self.artifact.outputs))
        expected = {t.name: (way, t.shape, t.dtype, "gpu") for way, tensors in ways for t in tensors}
        if found != expected:
            raise BackendError(f"expected {path} to have tensors {expected}, found {found}; {REBUILD}.")

    def _open_context(self, path: Path) -> None:
        """TensorRT for RTX compiles its kernels here and on the first run; those it compiled before are kept."""
        self._kernels: Any = None
        self._kernels_kept = b""
        if self._api.flavour == "tensorrt":
            self._context = self._engine.create_execution_context()
            return
        self._config = self._engine.create_runtime_config()
        self._kernels = self._config.create_runtime_cache()
        kept = _read_kernels(kernel_path(path))
        # It answers False, and compiles again, where they are of another driver, GPU or release.
        self._kernels_kept = kept if kept and self._kernels.deserialize(kept) else b""
        self._config.set_runtime_cache(self._kernels)
        self._context = self._engine.create_execution_context(self._config)

    def _keep_kernels(self, path: Path) -> None:
        """Write down what was compiled, so that the next start need not."""
        blob = None if self._kernels is None else self._kernels.serialize()
        data = b"" if blob is None else bytes(memoryview(blob))
        if data in (b"", self._kernels_kept) or len(data) > MAX_CACHE_BYTES:
            return
        try:
            replace_file(kernel_path(path), data)
        except OSError as error:
            self.remarks.append(
                f"kernels of the {self.artifact.role} are compiled at every start, for {kernel_path(path)} cannot be "
                f"written ({error.strerror})"
            )

    def _take(self, function: str, *arguments: Any, back: str) -> ctypes.c_void_p:
        """A handle from the driver, given back through `back` when the engine goes."""
        handle = ctypes.c_void_p()
        self._driver.call(function, ctypes.byref(handle), *arguments)
        self._held.append((back, handle))
        return handle

    def _take_buffer(self, tensor: Tensor) -> Buffer:
        """Memory on the GPU, and page-locked memory here, which alone is copied without the processor's help."""
        dtype, device = np.dtype(tensor.dtype), ctypes.c_uint64()
        size = math.prod(tensor.shape) * dtype.itemsize
        self._driver.call("cuMemAlloc_v2", ctypes.byref(device), size)
        self._held.append(("cuMemFree_v2", device))
        host = self._take("cuMemHostAlloc", size, 0, back="cuMemFreeHost")
        if not self._context.set_tensor_address(tensor.name, device.value):
            raise BackendError(
                f"expected TensorRT to take a buffer for {tensor.name!r}, it refused ({self._api.reason()}); {REBUILD}."
            )
        raw = (ctypes.c_uint8 * size).from_address(host.value or 0)
        return Buffer(np.frombuffer(memoryview(raw), dtype).reshape(tensor.shape), device)

    def _warm_up(self, cuda_graph: bool) -> None:
        """Run once on zeros, as recording demands and compiling is paid here; then record if that can be had."""
        for buffer in self._inputs.values():
            buffer.host[...] = 0
        self._launch()
        if not cuda_graph:
            return
        able = getattr(self._context, "is_stream_capturable", None)  # in TensorRT for RTX
        if able is not None and not able(self._stream.value):
            self.remarks.append(f"the {self.artifact.role} runs without a CUDA graph, for its plan cannot be recorded")
            return
        try:
            self._record()
            self._launch()
        except BackendError as error:
            self._graph = None
            self.remarks.append(f"the {self.artifact.role} runs without a CUDA graph: {error}")
            self._launch()

    def _record(self) -> None:
        """Record one call as a CUDA graph; the buffers' addresses become part of it."""
        recorded = ctypes.c_void_p()
        self._driver.call("cuStreamBeginCapture_v2", self._stream, _CAPTURE_THREAD_LOCAL)
        try:
            self._enqueue()
        except BackendError:
            # The stream stays unusable until the recording ends, whatever became of it.
            if self._driver.status("cuStreamEndCapture", self._stream, ctypes.byref(recorded)) == 0 and recorded:
                self._driver.status("cuGraphDestroy", recorded)
            raise
        self._driver.call("cuStreamEndCapture", self._stream, ctypes.byref(recorded))
        try:
            self._graph = self._take("cuGraphInstantiateWithFlags", recorded, 0, back="cuGraphExecDestroy")
        finally:
            self._driver.status("cuGraphDestroy", recorded)

    def _launch(self) -> None:
        """One call, from page-locked inputs to page-locked outputs; returns when it is done."""
        if self._graph is None:
            self._enqueue()
        else:
            self._driver.call("cuGraphLaunch", self._graph, self._stream)
        self._driver.call("cuStreamSynchronize", self._stream)

    def _enqueue(self) -> None:
        for host, device in self._inputs.values():
            self._driver.call("cuMemcpyHtoDAsync_v2", device, host.ctypes.data, host.nbytes, self._stream)
        if not self._context.execute_async_v3(self._stream.value):
            raise BackendError(
                f"expected TensorRT to run the {self.artifact.role}, it refused ({self._api.reason()}); {REBUILD}."
            )
        for host, device in self._outputs.values():
            self._driver.call("cuMemcpyDtoHAsync_v2", host.ctypes.data, device, host.nbytes, self._stream)


def open_gpu() -> tuple[CudaDriver, Gpu]:
    """The driver and the first GPU. Raises BackendError where there is none."""
    driver = open_driver()
    gpu = find_gpu(driver) if driver is not None else None
    if driver is None or gpu is None:
        raise BackendError(
            "expected an NVIDIA GPU and its driver for TensorRT, found none; run on the backend cpu, or check "
            "nvidia-smi and CUDA_VISIBLE_DEVICES."
        )
    return driver, gpu


def kernel_path(path: Path) -> Path:
    """`encoder.kernels` beside `encoder.plan`: what TensorRT for RTX compiled from it on this GPU."""
    return path.with_suffix(".kernels")


def _read_kernels(path: Path) -> bytes:
    """What was kept; nothing where it cannot be read, for it can be compiled again."""
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_CACHE_BYTES else b""
    except OSError:
        return b""


def _give_back(driver: CudaDriver, context: ctypes.c_void_p, held: list[tuple[str, Any]]) -> None:
    """Give back in reverse. A status is of no use here: the process may be ending, the driver with it."""
    driver.status("cuCtxSetCurrent", context)
    while held:
        driver.status(*held.pop())
