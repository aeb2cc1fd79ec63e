"""A GPU, its driver and TensorRT, as far as the runtime sees them, for machines that have none.

The driver answers real C function pointers of the driver's signatures and does its copies in this process's memory. The
TensorRT above it is a stand-in: a plan is a name for a function of arrays, which reads its inputs where the runtime put
them and writes its outputs where the runtime looks for them. That a real plan computes what its graph does is tested,
where there is a GPU, in tests/test_on_a_gpu.py.
"""

from __future__ import annotations

import ctypes
import enum
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uniecg_runtime.backends.onnx import Graph
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.engines import SIGNATURES, Gpu, PlanKey, key_here, plan_to_write, write_plan
from uniecg_runtime.manifest import Artifact, Role

GPU = Gpu("RTX 4090", 89, 13000)
PLAN = b"a plan"  # of x -> y = 2x, both (1, 3) float32
ERRORS = {
    2: b"CUDA_ERROR_OUT_OF_MEMORY",
    700: b"CUDA_ERROR_ILLEGAL_ADDRESS",
    901: b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
}
KINDS = {"float32": "FLOAT", "float16": "HALF", "int64": "INT64"}

Work = list[Callable[[], None]]
Arrays = dict[str, NDArray[Any]]
Tensors = dict[str, tuple[str, tuple[int, ...], str, str]]  # name -> direction, shape, type, place


class Recording(NamedTuple):
    stream: int
    steps: Work


@dataclass(frozen=True)
class Plan:
    """What a plan's bytes stand for."""

    tensors: Tensors
    compute: Callable[[Arrays], Arrays]


DOUBLING = Plan(
    {"x": ("INPUT", (1, 3), "FLOAT", "DEVICE"), "y": ("OUTPUT", (1, 3), "FLOAT", "DEVICE")},
    lambda arrays: {"y": 2 * arrays["x"]},
)


class FakeDriver:
    """One GPU whose memory is this process's; a recorded stream keeps its work for cuGraphLaunch."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: dict[str, int] = {}
        self.devices = 1
        self.memory: dict[int, Any] = {}
        self.handles = iter(range(101, 10_000))
        self.streams: set[int] = set()
        self.recording: Recording | None = None
        self.graphs: dict[int, Work] = {}
        self.executables: dict[int, Work] = {}
        for name, kinds in SIGNATURES.items():
            setattr(self, name, ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(self._answer(name)))

    def _answer(self, name: str) -> Callable[..., int]:
        def answer(*arguments: Any) -> int:
            self.calls.append(name)
            return self.failing.get(name) or getattr(self, f"_{name}", lambda *_: 0)(*arguments)

        return answer

    def work(self, stream: int, step: Callable[[], None]) -> int:
        assert stream in self.streams
        if self.recording is not None and self.recording.stream == stream:
            self.recording.steps.append(step)
        else:
            step()
        return 0

    def since(self, mark: int) -> list[str]:
        return self.calls[mark:]

    def _take(self, place: Any, size: int) -> int:
        buffer = ctypes.create_string_buffer(size)
        place[0] = ctypes.addressof(buffer)
        self.memory[ctypes.addressof(buffer)] = buffer
        return 0

    def _cuInit(self, flags: int) -> int:
        return 0 if self.devices else 100

    def _cuGetErrorName(self, status: int, text: Any) -> int:
        text[0] = ERRORS[status]
        return 0

    def _cuDeviceGetName(self, name: int, length: int, device: int) -> int:
        ctypes.memmove(name, b"RTX 4090\0", 9)
        return 0

    def _cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        value[0] = {75: 8, 76: 9}[attribute]
        return 0

    def _cuMemAlloc_v2(self, address: Any, size: int) -> int:
        return self._take(address, size)

    def _cuMemHostAlloc(self, address: Any, size: int, flags: int) -> int:
        return self._take(address, size)

    def _cuMemFree_v2(self, address: int) -> int:
        del self.memory[address]
        return 0

    _cuMemFreeHost = _cuMemFree_v2

    def _cuMemcpyHtoDAsync_v2(self, to: int, source: int, size: int, stream: int) -> int:
        return self.work(stream, lambda: ctypes.memmove(to, source, size) and None)

    def _cuMemcpyDtoHAsync_v2(self, to: int, source: int, size: int, stream: int) -> int:
        return self._cuMemcpyHtoDAsync_v2(to, source, size, stream)

    def _cuStreamCreate(self, stream: Any, flags: int) -> int:
        assert flags == 1
        stream[0] = next(self.handles)
        self.streams.add(stream[0])
        return 0

    def _cuStreamDestroy_v2(self, stream: int) -> int:
        self.streams.remove(stream)
        return 0

    def _cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:
        assert stream in self.streams and mode == 1 and self.recording is None
        self.recording = Recording(stream, [])
        return 0

    def _cuStreamEndCapture(self, stream: int, graph: Any) -> int:
        assert self.recording is not None and self.recording.stream == stream
        graph[0] = next(self.handles)
        self.graphs[graph[0]], self.recording = self.recording.steps, None
        return 0

    def _cuGraphInstantiateWithFlags(self, executable: Any, graph: int, flags: int) -> int:
        assert flags == 0
        executable[0] = next(self.handles)
        self.executables[executable[0]] = self.graphs[graph]
        return 0

    def _cuGraphDestroy(self, graph: int) -> int:
        del self.graphs[graph]
        return 0

    def _cuGraphExecDestroy(self, executable: int) -> int:
        del self.executables[executable]
        return 0

    def _cuGraphLaunch(self, executable: int, stream: int) -> int:
        assert stream in self.streams
        for step in self.executables[executable]:
            step()
        return 0


class FakeTensorRt:
    """The names of TensorRT that the backend uses."""

    __version__ = "10.13.3.9"
    TensorIOMode = enum.Enum("TensorIOMode", ["INPUT", "OUTPUT"])
    TensorLocation = enum.Enum("TensorLocation", ["DEVICE", "HOST"])
    DataType = enum.Enum("DataType", ["FLOAT", "HALF", "INT64"])

    class ILogger:
        pass

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver
        self.log: Any = None
        self.plans = {PLAN: DOUBLING}
        self.loads, self.runs, self.fits = True, True, True
        self.seconds = 0.0

    def Runtime(self, log: Any) -> FakeTensorRt:  # the module is its own runtime
        self.log = log
        return self

    def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine | None:
        self.log.log(2, "a warning")
        if not self.loads:
            self.log.log(1, "Version tag does not match.\nNote: a plan of elsewhere")
        return FakeEngine(self, self.plans[plan]) if self.loads else None

    def execute(self, engine: FakeEngine, stream: int) -> bool:
        self.driver.calls.append("execute_async_v3")
        if not self.runs:
            self.log.log(1, "a kernel is missing")
        return self.runs and self.driver.work(stream, engine.compute) == 0


class FakeEngine:
    """A plan that was loaded, and its execution context."""

    def __init__(self, module: FakeTensorRt, plan: Plan) -> None:
        self.module, self.plan = module, plan
        self.addresses: dict[str, int] = {}

    @property
    def num_io_tensors(self) -> int:
        return len(self.plan.tensors)

    def get_tensor_name(self, i: int) -> str:
        return list(self.plan.tensors)[i]

    def get_tensor_mode(self, name: str) -> Any:
        return self.module.TensorIOMode[self.plan.tensors[name][0]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.plan.tensors[name][1]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.module.DataType[self.plan.tensors[name][2]]

    def get_tensor_location(self, name: str) -> Any:
        return self.module.TensorLocation[self.plan.tensors[name][3]]

    def create_execution_context(self, *config: Any) -> FakeEngine | None:
        if not self.module.fits:
            self.module.log.log(0, "out of memory")
        return self if self.module.fits else None

    def create_runtime_config(self) -> Any:
        return self.module

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in self.module.driver.memory
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        return self.module.execute(self, stream)

    def compute(self) -> None:
        time.sleep(self.module.seconds)
        views = {name: self._view(name) for name in self.addresses}
        given = {name: view.copy() for name, view in views.items() if self.plan.tensors[name][0] == "INPUT"}
        for name, array in self.plan.compute(given).items():
            views[name][...] = array

    def _view(self, name: str) -> NDArray[Any]:
        _, shape, kind, _ = self.plan.tensors[name]
        dtype = np.dtype(next(dtype for dtype, known in KINDS.items() if known == kind))
        raw = (ctypes.c_uint8 * (math.prod(shape) * dtype.itemsize)).from_address(self.addresses[name])
        return np.frombuffer(memoryview(raw), dtype).reshape(shape)


class FakeRtxEngine(FakeEngine):
    def is_stream_capturable(self, stream: int) -> bool:
        assert stream in self.module.driver.streams
        return self.module.capturable  # type: ignore[attr-defined]


class FakeRtx(FakeTensorRt):
    """What TensorRT for RTX has beside: validity, capturability, and a cache of compiled kernels."""

    __version__ = "1.7.1.116"
    EngineValidity = enum.Enum("EngineValidity", ["VALID", "SUBOPTIMAL", "INVALID"])
    EngineInvalidityDiagnostics = enum.IntFlag("EngineInvalidityDiagnostics", ["VERSION_MISMATCH", "OLD_CUDA_DRIVER"])

    def __init__(self, driver: FakeDriver) -> None:
        super().__init__(driver)
        self.validity: tuple[Any, int] = (self.EngineValidity.VALID, 0)
        self.capturable = True
        self.kernels = b""

    def get_engine_validity(self, plan: bytes) -> tuple[Any, int]:
        return self.validity

    def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine | None:
        return FakeRtxEngine(self, self.plans[plan])

    def create_runtime_cache(self) -> FakeRtx:
        return self

    def set_runtime_cache(self, cache: Any) -> bool:
        return True

    def deserialize(self, data: bytes) -> bool:
        if data.startswith(b"compiled"):
            self.kernels = data
        return data.startswith(b"compiled")

    def serialize(self) -> bytes:
        return self.kernels or b"compiled here"


def add_plans(module: FakeTensorRt, bundle: Bundle) -> None:
    """Beside a bundle that can be written to, the plans of all its graphs; each computes what ONNX Runtime does."""
    for artifact in bundle.manifest.artifacts:
        if artifact.backend == "onnxruntime":
            graph = Graph(bundle.path(artifact.role), artifact)
            module.plans[f"plan of {artifact.role}".encode()] = Plan(_tensors(artifact), _as_arrays(graph))
            add_plan(module, bundle, artifact.role)


def add_plan(module: FakeTensorRt, bundle: Bundle, role: Role, **planted: Any) -> None:
    """The plan of a role with the key that fits, but for the fields that are `planted`."""
    key = key_here(bundle.manifest.artifact(role), "tensorrt", module.__version__, "fp32", GPU)
    fields = {name: getattr(key, name) for name in PlanKey.__struct_fields__}
    write_plan(
        plan_to_write(bundle.folder, role, signed=bundle.signed),
        f"plan of {role}".encode(),
        PlanKey(**{**fields, **planted}),
    )


def _tensors(artifact: Artifact) -> Tensors:
    ways = (("INPUT", artifact.inputs), ("OUTPUT", artifact.outputs))
    return {t.name: (way, t.shape, KINDS[t.dtype], "DEVICE") for way, tensors in ways for t in tensors}


def _as_arrays(graph: Graph) -> Callable[[Arrays], Arrays]:
    names = [tensor.name for tensor in graph.artifact.outputs]
    return lambda arrays: dict(zip(names, graph.run(**arrays), strict=True))
