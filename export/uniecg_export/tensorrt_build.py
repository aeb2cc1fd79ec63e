"""From an ONNX file to a TensorRT plan: once, before anything is interpreted, and in sight of whoever waits.

A plan is built where it is to run, by `tensorrt` for the GPU that is there, or by `tensorrt_rtx` ahead of time for
named architectures, which needs no GPU. Precision comes from the graph: networks are strongly typed, TensorRT changes
no type, and float32 stays float32 (TensorRT would round the factors of products to 10 bits; only `tf32` lets it).
Imports neither torch nor onnx, so that a device builds its plans with a lean install and TensorRT.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from uniecg_device.errors import BackendError, InputError
from uniecg_runtime.backends.tensorrt import TensorRt, find_tensorrt
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.engines import (
    AHEAD_OF_TIME,
    Flavour,
    PlanKey,
    Precision,
    builder_flags,
    find_gpu,
    plan_precision,
    plan_to_write,
    write_plan,
)
from uniecg_runtime.machine import meminfo
from uniecg_runtime.manifest import Role

__all__ = ["Built", "Step", "build_bundle", "build_plan", "find_tensorrt"]

WORKSPACE: Final = 512 << 20  # bytes of GPU memory that a layer may use beside its tensors; on a Jetson that is RAM
MEMORY_PER_BYTE: Final = 8  # of ONNX; see check_memory for this and the next
MEMORY_BASE: Final[dict[Flavour, int]] = {"tensorrt": 1 << 30, "tensorrt_rtx": 256 << 20}  # libraries, CUDA
MAX_ONNX_BYTES: Final = 2 << 30  # protobuf's own limit
MAX_NAMED: Final = 20  # refused nodes in one message
_PRODUCTS: Final = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM", "QUANTIZE")
_TYPES: Final[dict[Precision, str]] = {"fp32": "FLOAT", "tf32": "FLOAT", "fp16": "HALF", "bf16": "BF16", "int8": "INT8"}


class Step(NamedTuple):
    """Where the builder is: `done` of `steps` in `phase`, which is part of `parent`. Names are TensorRT's own."""

    phase: str
    parent: str | None
    done: int
    steps: int


Progress = Callable[[Step], None]


@dataclass(frozen=True)
class Built:
    """A plan that was built: where, for what, its size in bytes, how long it took, what TensorRT warned of."""

    path: Path
    key: PlanKey
    size: int
    seconds: float
    warnings: tuple[str, ...]


def build_bundle(
    bundle: Bundle,
    *,
    sms: tuple[int, ...] = (),
    flavour: Flavour | None = None,
    tf32: bool = False,
    progress: Callable[[Role, Step], None] | None = None,
) -> list[Built]:
    """Plans of every graph of a bundle, each where `engines.plan_to_read` finds it. Raises as `build_plan` does.

    tf32: float32 graphs may round the factors of their products; faster, and their goldens may no longer hold.
    """
    built = []
    for artifact in bundle.manifest.artifacts:
        if artifact.backend != "onnxruntime":
            continue
        role, precision = artifact.role, plan_precision(artifact)
        built.append(
            build_plan(
                bundle.path(role),
                plan_to_write(bundle.folder, role, signed=bundle.signed),
                sms=sms,
                precision="tf32" if tf32 and precision == "fp32" else precision,
                flavour=flavour,
                progress=None if progress is None else partial(progress, role),
            )
        )
    return built


def build_plan(
    onnx: Path,
    out: Path,
    *,
    sms: tuple[int, ...] = (),
    precision: Precision = "fp32",
    flavour: Flavour | None = None,
    progress: Progress | None = None,
) -> Built:
    """Build the plan of `onnx`, a single file of fixed shapes, and write it to `out` with its key beside it.

    sms: architectures as 10 x major + minor, by default that of the GPU here. precision: what the graph computes in.
    progress: called at every step of every phase, from TensorRT's threads; what it raises stops the build and is
    raised here.
    Raises InputError for a graph or option that TensorRT refuses, BackendError for a machine that cannot build.
    """
    begin = time.perf_counter()
    api = find_tensorrt(flavour)
    data = _read_onnx(onnx)
    gpu, sms = _target(api, sms)
    check_memory(len(data), api.flavour)
    flags = builder_flags(api.flavour, precision)
    key = PlanKey(hashlib.sha256(data).hexdigest(), api.flavour, api.version, gpu, sms, precision, flags)
    api.log.messages.clear()
    plan = _build(api, data, key, onnx.name, progress)
    record = write_plan(out, memoryview(plan), key)
    return Built(out, key, record.size, time.perf_counter() - begin, api.warnings())


def check_memory(onnx_bytes: int, flavour: Flavour) -> None:
    """Raises BackendError where building a plan of so large a graph could exhaust this machine's memory.

    Measured with TensorRT for RTX 1.7: 240 MiB for a small graph, and beyond that 3.8 bytes for each byte of a graph of
    float32 weights, 5.5 for one of fp16 weights that are cast to float32. NVIDIA's own users report 3 to 4 times the
    weights (TensorRT-Edge-LLM issue 30). Eight leaves room for the copy on the GPU, which on a Jetson is the same
    memory. TensorRT itself, whose libraries and CUDA context are larger, was not measured.
    """
    available = meminfo("MemAvailable")
    needed = MEMORY_BASE[flavour] + MEMORY_PER_BYTE * onnx_bytes + (WORKSPACE if flavour == "tensorrt" else 0)
    if available is not None and available < needed:
        raise BackendError(
            f"expected {needed >> 20} MiB of free memory to build a plan of a graph of {onnx_bytes >> 20} MiB, found "
            f"{available >> 20}; close other programs, or build where there is more."
        )


def _read_onnx(path: Path) -> bytes:
    if not path.is_file() or not 0 < path.stat().st_size <= MAX_ONNX_BYTES:
        raise InputError(
            f"expected an ONNX file of at most {MAX_ONNX_BYTES >> 30} GiB at {path}, found none; export the bundle "
            f"again."
        )
    return path.read_bytes()


def _target(api: TensorRt, sms: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """The GPU's name as the key holds it, and the architectures, in order."""
    gpu = None if sms and api.flavour == "tensorrt_rtx" else find_gpu()
    if api.flavour == "tensorrt":
        if gpu is None:
            raise BackendError(
                "expected the GPU that the plan is for, found none; build on the device, or ahead of time with "
                "tensorrt_rtx for an RTX GPU."
            )
        if sms and set(sms) != {gpu.sm}:
            raise InputError(f"expected SM {gpu.sm}, which {gpu.name} has, found {_list(sms)}; leave it out.")
        return gpu.name, (gpu.sm,)
    known = tuple(int(name[2:]) for name in api.module.ComputeCapability.__members__ if name.startswith("SM"))
    if not sms and gpu is None:
        raise InputError(
            f"expected architectures to build for, found none and no GPU here; name some of {_list(known)}."
        )
    wanted = tuple(sorted(set(sms or (gpu.sm if gpu else 0,))))
    if unknown := set(wanted) - set(known):
        raise InputError(
            f"expected architectures out of {_list(known)} for TensorRT for RTX, found {_list(sorted(unknown))}; "
            f"a Jetson Orin (87) and data centre GPUs take plans that `tensorrt` builds on them."
        )
    return AHEAD_OF_TIME, wanted


def _build(api: TensorRt, data: bytes, key: PlanKey, name: str, progress: Progress | None) -> Any:
    """The plan's bytes, in TensorRT's own memory."""
    builder = api.module.Builder(api.log)
    network = builder.create_network(1 << int(api.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.module.OnnxParser(network, api.log)
    _parse(parser, network, data, name)
    _check_precision(network, key.precision, name)
    config = _configure(api, builder, key)
    monitor = _monitor(api, progress)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    del parser  # not before: it holds the weights
    if monitor.raised is not None:
        raise monitor.raised
    if plan is None:
        raise BackendError(
            f"expected TensorRT to build a plan of {name}, it gave up ({api.reason()}); free memory, or report this "
            f"with the file."
        )
    return plan


def _parse(parser: Any, network: Any, data: bytes, name: str) -> None:
    """Raises InputError naming every node that TensorRT refuses."""
    parsed = parser.parse(data)
    errors = [_describe(parser.get_error(i)) for i in range(min(parser.num_errors, MAX_NAMED))]
    if not parsed:
        more = f" and {parser.num_errors - MAX_NAMED} more" if parser.num_errors > MAX_NAMED else ""
        raise InputError(
            f"expected a graph that TensorRT takes, it refuses in {name}: {'; '.join(errors)}{more}. "
            f"Export the graph with other operators in these places."
        )
    shapes = {network.get_input(i).name: tuple(network.get_input(i).shape) for i in range(network.num_inputs)}
    if network.num_outputs == 0 or any(n < 0 for shape in shapes.values() for n in shape):
        raise InputError(
            f"expected {name} to have outputs and inputs of fixed shapes, found {network.num_outputs} and {shapes}; "
            f"export the bundle again."
        )


def _describe(error: Any) -> str:
    """ "Unique 'node_3' (UNSUPPORTED_NODE)", with TensorRT's own words where they say more than "false"."""
    operator, node, text = error.node_operator(), error.node_name(), " ".join(error.desc().split())[:200]
    kind = error.code().name if text in ("", "false") else f"{error.code().name}: {text}"
    return f"{operator} {node!r} ({kind})" if operator else f"the file ({kind})"


def _check_precision(network: Any, precision: Precision, name: str) -> None:
    """Raises InputError where the graph's products are not in the precision that was asked for."""
    layers = map(network.get_layer, range(network.num_layers))
    found = {layer.get_output(0).dtype.name for layer in layers if layer.type.name in _PRODUCTS}
    found = found or {network.get_output(i).dtype.name for i in range(network.num_outputs)}
    wanted = _TYPES[precision]
    exact = wanted == "FLOAT"  # half a graph in fp16 is common, and called fp16
    if found != {wanted} if exact else wanted not in found or ("INT8" in found) != (wanted == "INT8"):
        raise InputError(
            f"expected a graph that computes in {precision}, {name} computes in {_list(sorted(found))}; TensorRT takes "
            f"the precision from the graph, so export it in {precision}, or ask for what it has."
        )


def _configure(api: TensorRt, builder: Any, key: PlanKey) -> Any:
    module, config = api.module, builder.create_builder_config()
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.clear_flag(module.BuilderFlag.TF32)  # set by default
    for flag in key.flags:
        config.set_flag(getattr(module.BuilderFlag, flag))
    if api.flavour == "tensorrt_rtx":
        config.num_compute_capabilities = len(key.sms)
        for place, sm in enumerate(key.sms):
            if not config.set_compute_capability(getattr(module.ComputeCapability, f"SM{sm}"), place):
                raise BackendError(f"expected TensorRT to build for SM {sm}, it refused ({api.reason()}).")
    return config


def _monitor(api: TensorRt, progress: Progress | None) -> Any:
    """What TensorRT reports to; `raised` is what stopped it."""
    base: Any = api.module.IProgressMonitor

    class Monitor(base):
        def __init__(self) -> None:
            base.__init__(self)
            self.raised: BaseException | None = None
            self._phases: dict[str, tuple[str | None, int]] = {}
            self._lock = threading.Lock()

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._phases[phase] = (parent, steps)
            self._report(phase, 0)

        def step_complete(self, phase: str, step: int) -> bool:
            self._report(phase, step + 1)
            return self.raised is None

        def phase_finish(self, phase: str) -> None:
            self._report(phase, self._phases.get(phase, (None, 0))[1])  # the last step is not told of otherwise
            self._phases.pop(phase, None)

        def _report(self, phase: str, done: int) -> None:
            with self._lock:
                if progress is None or self.raised is not None:
                    return
                parent, steps = self._phases.get(phase, (None, 0))
                try:
                    progress(Step(phase, parent, done, steps))
                except BaseException as error:  # nothing may unwind through TensorRT, not even a Ctrl-C
                    self.raised = error

    return Monitor()


def _list(values: object) -> str:
    return ", ".join(map(str, values)) if isinstance(values, (list, tuple)) else str(values)
