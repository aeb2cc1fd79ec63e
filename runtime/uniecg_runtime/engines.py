"""TensorRT plans on disk, what each was built for, and the GPU that is to run them.

A plan is compiled for one graph, one release of TensorRT and one kind of GPU; on anything else it fails late, or
computes something else. So a key lies beside every plan, and a plan whose key is not the one wanted here is refused
by name of what differs. The key guards against mistakes, not against malice: a plan is code for the GPU, so run only
plans that were built here or came from whom you trust. Nothing here imports TensorRT.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from uniecg_device import typed
from uniecg_device.errors import BackendError
from uniecg_runtime.files import replace_file
from uniecg_runtime.manifest import Artifact, Count, Plain, Role, Sha256

Flavour = Literal["tensorrt", "tensorrt_rtx"]
Precision = Literal["fp32", "tf32", "fp16", "bf16", "int8"]
Word = Annotated[str, Meta(min_length=1, max_length=256)]

AHEAD_OF_TIME: Final = "ahead-of-time"  # in place of a GPU's name: built for an architecture, without a GPU
REBUILD: Final = "run `uniecg build-engine BUNDLE` on this machine"
MAX_KEY_BYTES: Final = 64 << 10
MAX_PLAN_BYTES: Final = 4 << 30
# What an artifact's precision, as the exporter names it, computes in. int8_dynamic has no plan.
_PRECISIONS: Final[dict[str, Precision]] = {
    "float32": "fp32",
    "float16_weights": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int8_qdq": "int8",
    "int4_weights": "fp32",
}


class PlanKey(Plain, frozen=True):
    """What a plan was built for.

    onnx_sha256: the graph's file. version: TensorRT's own. gpu: its name, or AHEAD_OF_TIME. sms: architectures as
    10 x major + minor, 87 for an Orin. precision: of the arithmetic; tf32 rounds the factors of float32 products to
    10 bits. flags: the builder's flags that `builder_flags` names.
    """

    onnx_sha256: Sha256
    flavour: Flavour
    version: Word
    gpu: Word
    sms: Annotated[tuple[Annotated[int, Meta(ge=10, le=9999)], ...], Meta(min_length=1, max_length=32)]
    precision: Precision
    flags: Annotated[tuple[Word, ...], Meta(max_length=32)] = ()


class PlanFile(Plain, frozen=True):
    """`<role>.plan.json`: the key, and the plan's size in bytes and SHA-256."""

    key: PlanKey
    size: Count
    sha256: Sha256


@dataclass(frozen=True)
class Gpu:
    """A GPU: name, architecture as 10 x major + minor, and the CUDA version (13000 for 13.0) that its driver knows."""

    name: str
    sm: int
    cuda: int


class CudaDriver:
    """NVIDIA's driver API, over ctypes. Every status but success is a BackendError with the driver's name for it.

    The driver's library comes with the driver itself, so that no CUDA toolkit is needed; its symbols keep their
    signatures for good (a new signature gets a new suffix). Sources: CUDA Driver API reference, cuda.h.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        for name, kinds in SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = kinds, ctypes.c_int

    def status(self, name: str, *arguments: Any) -> int:
        """Call a function of SIGNATURES; its status, 0 for success."""
        return int(getattr(self._library, name)(*arguments))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of SIGNATURES. Raises BackendError unless it succeeds."""
        status = self.status(name, *arguments)
        if status != 0:
            raise BackendError(
                f"expected the GPU's {name} to succeed, found {self.error_name(status)}; "
                f"run `uniecg doctor`, and start again where the GPU was reset."
            )

    def error_name(self, status: int) -> str:
        """ "CUDA_ERROR_OUT_OF_MEMORY" for 2."""
        text = ctypes.c_char_p()
        known = self.status("cuGetErrorName", status, ctypes.byref(text)) == 0 and text.value
        return f"{text.value.decode() if known and text.value else 'CUDA error'} ({status})"


_HANDLE: Final = ctypes.c_void_p  # CUcontext, CUstream, CUgraph, CUgraphExec, and addresses on the host
_HANDLE_OUT: Final = ctypes.POINTER(ctypes.c_void_p)
_INT_OUT: Final = ctypes.POINTER(ctypes.c_int)
_DEVICE_ADDRESS: Final = ctypes.c_uint64  # CUdeviceptr on a 64-bit machine

SIGNATURES: Final[dict[str, tuple[Any, ...]]] = {
    "cuGetErrorName": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
    "cuInit": (ctypes.c_uint,),
    "cuDriverGetVersion": (_INT_OUT,),
    "cuDeviceGet": (_INT_OUT, ctypes.c_int),
    "cuDeviceGetName": (_HANDLE, ctypes.c_int, ctypes.c_int),
    "cuDeviceGetAttribute": (_INT_OUT, ctypes.c_int, ctypes.c_int),
    "cuDevicePrimaryCtxRetain": (_HANDLE_OUT, ctypes.c_int),
    "cuCtxSetCurrent": (_HANDLE,),
    "cuMemAlloc_v2": (ctypes.POINTER(_DEVICE_ADDRESS), ctypes.c_size_t),
    "cuMemFree_v2": (_DEVICE_ADDRESS,),
    "cuMemHostAlloc": (_HANDLE_OUT, ctypes.c_size_t, ctypes.c_uint),
    "cuMemFreeHost": (_HANDLE,),
    "cuMemcpyHtoDAsync_v2": (_DEVICE_ADDRESS, _HANDLE, ctypes.c_size_t, _HANDLE),
    "cuMemcpyDtoHAsync_v2": (_HANDLE, _DEVICE_ADDRESS, ctypes.c_size_t, _HANDLE),
    "cuStreamCreate": (_HANDLE_OUT, ctypes.c_uint),
    "cuStreamDestroy_v2": (_HANDLE,),
    "cuStreamSynchronize": (_HANDLE,),
    "cuStreamBeginCapture_v2": (_HANDLE, ctypes.c_int),
    "cuStreamEndCapture": (_HANDLE, _HANDLE_OUT),
    "cuGraphInstantiateWithFlags": (_HANDLE_OUT, _HANDLE, ctypes.c_ulonglong),
    "cuGraphLaunch": (_HANDLE, _HANDLE),
    "cuGraphDestroy": (_HANDLE,),
    "cuGraphExecDestroy": (_HANDLE,),
}
_NO_GPU: Final = (34, 100)  # CUDA_ERROR_STUB_LIBRARY, CUDA_ERROR_NO_DEVICE
_COMPUTE_MAJOR, _COMPUTE_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_DEVICE: Final = 0  # CUDA_VISIBLE_DEVICES chooses which one that is


def open_driver() -> CudaDriver | None:
    """The driver, initialised; None where there is no driver or no GPU. Raises BackendError for a broken driver."""
    try:
        driver = CudaDriver(ctypes.CDLL("libcuda.so.1"))
    except (OSError, AttributeError):  # no library, or one older than CUDA 11.4
        return None
    status = driver.status("cuInit", 0)
    if status in _NO_GPU:
        return None
    if status != 0:
        raise BackendError(
            f"expected the NVIDIA driver to start, found {driver.error_name(status)}; "
            f"restart this machine, or install the driver again if that does not help."
        )
    return driver


def find_gpu(driver: CudaDriver | None = None) -> Gpu | None:
    """The first GPU that CUDA sees; None where there is none. Raises BackendError for a broken driver."""
    driver = open_driver() if driver is None else driver
    if driver is None:
        return None
    device, cuda, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    capability = {_COMPUTE_MAJOR: ctypes.c_int(), _COMPUTE_MINOR: ctypes.c_int()}
    driver.call("cuDeviceGet", ctypes.byref(device), _DEVICE)
    driver.call("cuDeviceGetName", name, len(name), device)
    driver.call("cuDriverGetVersion", ctypes.byref(cuda))
    for attribute, value in capability.items():
        driver.call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
    sm = 10 * capability[_COMPUTE_MAJOR].value + capability[_COMPUTE_MINOR].value
    return Gpu(name.value.decode("utf-8", "replace") or "unnamed", sm, cuda.value)


def enter_gpu(driver: CudaDriver) -> ctypes.c_void_p:
    """The GPU's primary context, which TensorRT works in too, made current in this thread.

    Kept for the life of the process: TensorRT's objects may outlive whoever asked for it.
    """
    device, context = ctypes.c_int(), ctypes.c_void_p()
    driver.call("cuDeviceGet", ctypes.byref(device), _DEVICE)
    driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    driver.call("cuCtxSetCurrent", context)
    return context


def builder_flags(flavour: Flavour, precision: Precision) -> tuple[str, ...]:
    """Names of the builder's flags that are set, in order; TF32, which TensorRT sets by itself, is cleared if absent.

    REQUIRE_USER_ALLOCATION: no memory is taken while a plan runs, which recording it as a CUDA graph rests on.
    """
    flags = ["TF32"] if precision == "tf32" else []
    return tuple([*flags, "REQUIRE_USER_ALLOCATION"] if flavour == "tensorrt_rtx" else flags)


def plan_precision(artifact: Artifact) -> Precision:
    """The arithmetic of a graph, as its exporter named it. Raises BackendError for a name without a plan."""
    if artifact.precision not in _PRECISIONS:
        raise BackendError(
            f"expected a precision out of {', '.join(_PRECISIONS)} for TensorRT, found {artifact.precision!r} in the "
            f"{artifact.role}; export the bundle with one of these."
        )
    return _PRECISIONS[artifact.precision]


def check_plan(key_found: PlanKey, key_wanted: PlanKey) -> None:
    """Raises BackendError with both values of every field in which a plan is not the one wanted here.

    A plan built ahead of time fits every GPU of the architectures it names.
    """
    names = [name for name in PlanKey.__struct_fields__ if not _fits(name, key_found, key_wanted)]
    if names:
        wanted, found = (
            ", ".join(f"{name} {_show(getattr(key, name))}" for name in names) for key in (key_wanted, key_found)
        )
        raise BackendError(f"expected a plan with {wanted}, found one with {found}; {REBUILD}.")


def _fits(name: str, found: PlanKey, wanted: PlanKey) -> bool:
    if name == "gpu":
        return found.gpu in (wanted.gpu, AHEAD_OF_TIME)
    if name == "sms":
        return set(wanted.sms) <= set(found.sms)
    return bool(getattr(found, name) == getattr(wanted, name))


def _show(value: object) -> str:
    text = ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
    return f"{text[:16]}..." if len(text) == 64 else text  # a SHA-256


def key_here(artifact: Artifact, flavour: Flavour, version: str, precision: Precision, gpu: Gpu) -> PlanKey:
    """The key that a plan of `artifact` must have to run on `gpu`."""
    flags = builder_flags(flavour, precision)
    return PlanKey(artifact.sha256, flavour, version, gpu.name, (gpu.sm,), precision, flags)


def plan_folders(bundle: Path, *, signed: bool = False) -> tuple[Path, ...]:
    """Where plans of the bundle in the folder `bundle` may lie: in the bundle itself, then in the user's cache.

    The bundle inside this package has the cache alone: an installed package is not written to. So has one that had to
    be signed: no signature covers plans, and one that came with the bundle would be run unchecked.
    """
    bundle = bundle.resolve()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = base if base.is_absolute() else Path.home() / ".cache"  # the XDG rules: a relative one counts as unset
    cache = base / "uniecg" / "engines" / f"{bundle.name}-{hashlib.sha256(os.fsencode(bundle)).hexdigest()[:12]}"
    alone = signed or bundle.is_relative_to(Path(__file__).parent)
    return (cache,) if alone else (bundle / "engines", cache)


def plan_to_write(bundle: Path, role: Role, *, signed: bool = False) -> Path:
    """Where to put a role's plan: the first of the folders that can be written to, made if need be."""
    folders = plan_folders(bundle, signed=signed)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder / f"{role}.plan"
    places = ", ".join(map(str, folders))
    raise BackendError(f"expected a folder for plans that can be written to, found none of {places}; free one of them.")


def plan_to_read(bundle: Path, role: Role, *, signed: bool = False) -> Path:
    """A role's plan, the bundle's own before the cache's. Raises BackendError where there is none."""
    places = [folder / f"{role}.plan" for folder in plan_folders(bundle, signed=signed)]
    for place in places:
        if place.is_file():
            return place
    raise BackendError(f"expected a plan of the {role} at {' or '.join(map(str, places))}, found none; {REBUILD}.")


def write_plan(path: Path, plan: bytes | memoryview, key: PlanKey) -> PlanFile:
    """Write a plan and, after it, its key. Cut short at any moment, it leaves a pair that `read_plan` refuses."""
    record = PlanFile(key, memoryview(plan).nbytes, hashlib.sha256(plan).hexdigest())
    replace_file(path, plan)
    replace_file(key_path(path), msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    return record


def read_plan(path: Path, wanted: PlanKey) -> bytes:
    """The plan at `path`. Raises BackendError where its key is not `wanted`, or its bytes are not its key's."""
    record = read_key(path)
    check_plan(record.key, wanted)
    plan = _read_bounded(path, MAX_PLAN_BYTES)
    digest = hashlib.sha256(plan).hexdigest()
    if (len(plan), digest) != (record.size, record.sha256):
        raise BackendError(
            f"expected {path} to have {record.size} bytes and SHA-256 {record.sha256[:16]}..., found {len(plan)} and "
            f"{digest[:16]}...; it was cut short or changed, {REBUILD}."
        )
    return plan


def read_key(path: Path) -> PlanFile:
    """What lies beside the plan at `path`. Raises BackendError where that is missing or does not read."""
    data = _read_bounded(key_path(path), MAX_KEY_BYTES)
    try:
        return typed.decode(data, PlanFile)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BackendError(
            f"expected a plan's key in {key_path(path)}, found other text ({error}); {REBUILD}."
        ) from None


def key_path(path: Path) -> Path:
    """`encoder.plan.json` for `encoder.plan`."""
    return path.with_name(f"{path.name}.json")


def _read_bounded(path: Path, limit: int) -> bytes:
    """A file's bytes, at most `limit`. Raises BackendError for anything but such a file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= limit:
            raise BackendError(f"expected a file of 1 to {limit} bytes at {path}, found another; {REBUILD}.")
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise BackendError(f"expected a file at {path}, it cannot be read ({error.strerror}); {REBUILD}.") from None
