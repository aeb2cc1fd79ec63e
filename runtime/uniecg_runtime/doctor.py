"""Is this machine ready? Versions, what can run here and why the rest cannot, memory, serial ports, bundle."""

from __future__ import annotations

import ctypes
import glob
import importlib
import os
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from uniecg_device.errors import UniecgError
from uniecg_runtime.jetson import Jetson, find_jetson, gpu_nodes, readable
from uniecg_runtime.machine import machine, meminfo, peak_memory_mb

if TYPE_CHECKING:
    from uniecg_runtime.backends.graphs import Backend
    from uniecg_runtime.bundle import Bundle

Status = Literal["ok", "note", "problem"]
DISTRIBUTIONS = ("uniecg-edge", "numpy", "onnxruntime", "llama-cpp-python", "pyserial", "msgspec", "typer", "rich")
INSTEAD = {"onnxruntime": ("onnxruntime-gpu",)}  # the same module under another name
MODULES = ("numpy", "onnxruntime", "llama_cpp", "serial", "msgspec", "uniecg_device._native")
BASIC = ("numpy", "msgspec")
SERIAL_GLOBS = ("/dev/ttyUSB*", "/dev/ttyACM*", "/dev/ttyAMA*", "/dev/ttyTHS*", "/dev/serial/by-id/*", "/dev/rfcomm*")
BUILT_IN_PORTS = ("/dev/ttyAMA", "/dev/ttyTHS")


@dataclass(frozen=True)
class Check:
    """One line of the report: what was found, and where it is less than could be, what to do.

    A "problem" stops interpretation on the backend that was asked for; a "note" does not.
    """

    topic: str
    name: str
    status: Status
    found: str


def examine(bundle: str, *, backend: str = "cpu", public_key: Path | None = None) -> list[Check]:
    """Look at this machine and at `bundle`; never raises, every failure is a check of its own.

    backend: the one to be used, which must run here. public_key: as `Bundle.open` takes it.
    """
    modules = _modules()
    checks = [*_versions(), *modules, *_hardware()]
    if any(check.name in BASIC and check.status == "problem" for check in modules):
        return [*checks, *_ports()]  # the rest of the runtime does not load without these
    opened, about = _bundle(bundle, public_key)
    return [*checks, *_gpu(), *_backends(opened, backend), *_ports(), *about]


def _versions() -> list[Check]:
    checks = [Check("versions", "python", "ok", platform.python_version())]
    for name in DISTRIBUTIONS:
        found = [
            version if other == name else f"{version} ({other})"
            for other in (name, *INSTEAD.get(name, ()))
            if (version := _version(other))
        ]
        missing = Check("versions", name, "problem", f"not installed; pip install {name}")
        checks.append(Check("versions", name, "ok", ", ".join(found)) if found else missing)
    return checks


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _modules() -> list[Check]:
    checks = []
    for name in MODULES:
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            checks.append(Check("modules", name, "problem", f"does not load: {error}"))
        else:
            checks.append(Check("modules", name, "ok", "loads"))
    return checks


def _hardware() -> list[Check]:
    this = machine()
    return [
        Check("machine", "system", "ok", f"{this.system} {this.architecture}"),
        Check("machine", "processor", "ok", this.cpu),
        Check("machine", "threads", "ok", f"{this.cpus} usable"),
        Check("machine", "memory", "ok", f"{this.memory_mb:.0f} MiB, this process peaks at {peak_memory_mb():.0f}"),
        Check("machine", "available", "ok", f"{_mebibytes('MemAvailable')} MiB, swap {_mebibytes('SwapTotal')} MiB"),
    ]


def _mebibytes(name: str) -> str:
    found = meminfo(name)
    return "unknown" if found is None else str(found >> 20)


def _gpu() -> list[Check]:
    """The GPU and what stands between it and this process; most machines have neither it nor TensorRT."""
    jetson = find_jetson()
    return [*_jetson(jetson), *_nodes(jetson), _cuda(), _tensorrt()]


def _jetson(jetson: Jetson | None) -> list[Check]:
    if jetson is None:
        return [Check("gpu", "Jetson", "ok", "this is none")]
    found = f"Jetson Linux {jetson.linux}, " + (f"nvidia-jetpack {jetson.jetpack}" if jetson.jetpack else "no JetPack")
    if jetson.jetpack is None:
        return [Check("gpu", "Jetson", "note", f"{found}: CUDA and TensorRT come with sudo apt install nvidia-jetpack")]
    return [Check("gpu", "Jetson", "ok", found)]


def _nodes(jetson: Jetson | None) -> list[Check]:
    """Devices of the GPU that this user may not open."""
    closed = [path for path in gpu_nodes(jetson is not None) if not readable(path)]
    groups = ",".join(dict.fromkeys(_group(path, "video") for path in closed))
    advice = f"run: sudo usermod -aG {groups} $USER, then log in again"
    return [Check("gpu", "permission", "note", f"none for {', '.join(closed)}; {advice}")] if closed else []


def _cuda() -> Check:
    from uniecg_runtime.engines import find_gpu

    try:
        gpu = find_gpu()
    except UniecgError as error:
        return Check("gpu", "NVIDIA GPU", "note", str(error))
    if gpu is not None:
        version = f"{gpu.cuda // 1000}.{gpu.cuda % 1000 // 10}"
        return Check("gpu", "NVIDIA GPU", "ok", f"{gpu.name}, SM {gpu.sm}, driver for CUDA {version}")
    return Check("gpu", "NVIDIA GPU", "note", f"none found: {_why_no_gpu()}")


def _why_no_gpu() -> str:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"no driver ({error}); with an NVIDIA GPU, install its driver"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        f"the driver is there and sees none; CUDA_VISIBLE_DEVICES is {'not set' if visible is None else repr(visible)}"
    )


def _tensorrt() -> Check:
    from uniecg_runtime.backends.tensorrt import find_tensorrt

    try:
        found = find_tensorrt()
    except UniecgError as error:
        return Check("gpu", "TensorRT", "note", str(error))
    return Check("gpu", "TensorRT", "ok", f"{found.flavour} {found.version}, builds plans")


def _backends(bundle: Bundle | None, wanted: str) -> list[Check]:
    """Each backend with the bundle's smallest graph on it, or why that cannot be; and llama.cpp."""
    try:
        import onnxruntime

        from uniecg_runtime.backends.graphs import BACKENDS
        from uniecg_runtime.backends.llama import sees_gpu
    except (ImportError, OSError, RuntimeError):
        return []  # the modules' own checks say why
    has = ", ".join(onnxruntime.get_available_providers())
    checks = [Check("backends", "onnxruntime has", "ok", has)]
    if bundle is not None:
        checks += [_backend(bundle, name, "problem" if name == wanted else "note") for name in BACKENDS]
    advice = "CPU only: for the GPU compile llama-cpp-python with CMAKE_ARGS=-DGGML_CUDA=on, see docs/jetson.md"
    seen = sees_gpu()
    checks.append(Check("backends", "llama.cpp", "ok" if seen else "note", "CPU and GPU" if seen else advice))
    return checks


def _backend(bundle: Bundle, name: Backend, failing: Status) -> Check:
    from uniecg_runtime.backends.graphs import open_graph

    graphs = [item for item in bundle.manifest.artifacts if item.backend == "onnxruntime"]
    if not graphs:
        return Check("backends", name, "note", "not tried, for this bundle has no graph")
    role = min(graphs, key=lambda item: item.size).role
    try:
        graph = open_graph(bundle, role, name)
    except UniecgError as error:
        return Check("backends", name, failing, str(error))
    found = f"{graph.provider}, tried with the {role}"
    return Check("backends", name, "note" if graph.remarks else "ok", "; ".join([found, *graph.remarks]))


def _ports() -> list[Check]:
    paths = sorted({path for pattern in SERIAL_GLOBS for path in glob.glob(pattern)})
    if not paths:
        return [Check("serial", "ports", "note", "none found; plug one in, or use a socket:// or rfc2217:// URL")]
    return [_port(path) for path in paths]


def _port(path: str) -> Check:
    if os.access(path, os.R_OK | os.W_OK):
        return Check("serial", path, "ok", "readable and writable")
    advice = f"no permission; run: sudo usermod -aG {_group(path, 'dialout')} $USER, then log in again"
    built_in = path.startswith(BUILT_IN_PORTS)  # there whether or not a device is, and often a console's
    return Check("serial", path, "note" if built_in else "problem", advice)


def _group(path: str, usual: str) -> str:
    """The group that a device belongs to; the usual one where that is not known."""
    import grp

    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (KeyError, OSError):
        return usual


def _bundle(name: str, public_key: Path | None) -> tuple[Bundle | None, list[Check]]:
    from uniecg_runtime.bundle import Bundle
    from uniecg_runtime.signing import read_signature, required_key

    begin = time.perf_counter()
    try:
        bundle = Bundle.open(name, public_key=public_key)
        key = required_key(public_key)
    except UniecgError as error:
        return None, [Check("bundle", name, "problem", str(error))]
    manifest, seconds = bundle.manifest, time.perf_counter() - begin
    size = sum(artifact.size for artifact in manifest.artifacts)
    roles = ", ".join(f"{artifact.role} ({artifact.precision})" for artifact in manifest.artifacts)
    held = f"{manifest.name} {manifest.version}, {size / (1 << 20):.1f} MiB, hashes right ({seconds:.2f} s)"
    signed = "there is one" if read_signature(bundle.folder) else "none"
    return bundle, [
        Check("bundle", name, "ok", held),
        Check("bundle", "signature", "ok", f"{signed}; no key is required" if key is None else f"by the key {key.id}"),
        *_room(size),
        Check("bundle", "roles", "ok", roles),
        *(Check("bundle", f"gate {o.gate}", "note", f"overridden: {o.reason}") for o in manifest.overrides),
    ]


def _room(size: int) -> list[Check]:
    """Weights are mapped or read whole; with less memory than they take, the machine swaps at every token."""
    available = meminfo("MemAvailable")
    if available is None or available > size:
        return []
    found = (
        f"{available >> 20} MiB are available, the weights take {size >> 20}; close programs, or take a smaller bundle"
    )
    return [Check("bundle", "memory", "note", found)]
