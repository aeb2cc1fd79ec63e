"""Is this machine ready? Versions, providers, threads, memory, serial ports, bundle."""

from __future__ import annotations

import glob
import importlib
import os
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from uniecg_device.errors import UniecgError
from uniecg_runtime.machine import machine, peak_memory_mb

Status = Literal["ok", "note", "problem"]
DISTRIBUTIONS = ("uniecg-edge", "numpy", "onnxruntime", "llama-cpp-python", "pyserial", "msgspec", "typer", "rich")
MODULES = ("numpy", "onnxruntime", "llama_cpp", "serial", "msgspec", "uniecg_device._native")
SERIAL_GLOBS = ("/dev/ttyUSB*", "/dev/ttyACM*", "/dev/ttyAMA*", "/dev/ttyTHS*", "/dev/serial/by-id/*", "/dev/rfcomm*")


@dataclass(frozen=True)
class Check:
    """One line of the report. A "problem" stops interpretation; a "note" does not."""

    topic: str
    name: str
    status: Status
    found: str


def examine(bundle: str) -> list[Check]:
    """Look at this machine and at `bundle`; never raises, every failure is a check of its own."""
    return [*_versions(), *_modules(), *_hardware(), *_providers(bundle), *_ports(), *_bundle(bundle)]


def _versions() -> list[Check]:
    checks = [Check("versions", "python", "ok", platform.python_version())]
    for name in DISTRIBUTIONS:
        try:
            checks.append(Check("versions", name, "ok", metadata.version(name)))
        except metadata.PackageNotFoundError:
            checks.append(Check("versions", name, "problem", f"not installed; pip install {name}"))
    return checks


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
    ]


def _providers(bundle: str) -> list[Check]:
    try:
        import onnxruntime
    except ImportError:
        return []
    available = ", ".join(onnxruntime.get_available_providers())
    checks = [Check("providers", "onnxruntime has", "ok", available)]
    try:
        from uniecg_runtime.backends.onnx import Graph
        from uniecg_runtime.bundle import Bundle

        opened = Bundle.open(bundle, verify=False)
        first = next((item for item in opened.manifest.artifacts if item.backend == "onnxruntime"), None)
        if first is not None:
            checks.append(Check("providers", "in use", "ok", Graph(opened.path(first.role), first).provider))
    except UniecgError as error:
        checks.append(Check("providers", "in use", "problem", str(error)))
    return [*checks, *_tensorrt()]


def _tensorrt() -> list[Check]:
    """Whether plans could be built and run here; most machines have neither TensorRT nor a GPU, and need neither."""
    from uniecg_runtime.backends.tensorrt import find_tensorrt
    from uniecg_runtime.engines import find_gpu

    checks = []
    try:
        found = find_tensorrt()
        checks.append(Check("providers", "TensorRT", "ok", f"{found.flavour} {found.version}, builds plans"))
    except UniecgError as error:
        checks.append(Check("providers", "TensorRT", "note", str(error)))
    try:
        gpu = find_gpu()
        shown = "none found: plans can be built, not run" if gpu is None else f"{gpu.name}, SM {gpu.sm}"
        checks.append(Check("providers", "NVIDIA GPU", "note" if gpu is None else "ok", shown))
    except UniecgError as error:
        checks.append(Check("providers", "NVIDIA GPU", "problem", str(error)))
    return checks


def _ports() -> list[Check]:
    paths = sorted({path for pattern in SERIAL_GLOBS for path in glob.glob(pattern)})
    if not paths:
        return [Check("serial", "ports", "note", "none found; plug one in, or use a socket:// or rfc2217:// URL")]
    return [_port(path) for path in paths]


def _port(path: str) -> Check:
    if os.access(path, os.R_OK | os.W_OK):
        return Check("serial", path, "ok", "readable and writable")
    advice = f"no permission; run: sudo usermod -aG {_group(path)} $USER, then log in again"
    return Check("serial", path, "problem", advice)


def _group(path: str) -> str:
    import grp

    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (KeyError, OSError):
        return "dialout"


def _bundle(name: str) -> list[Check]:
    from uniecg_runtime.bundle import Bundle

    begin = time.perf_counter()
    try:
        bundle = Bundle.open(name)
    except UniecgError as error:
        return [Check("bundle", name, "problem", str(error))]
    manifest, seconds = bundle.manifest, time.perf_counter() - begin
    size = sum(artifact.size for artifact in manifest.artifacts) / (1 << 20)
    roles = ", ".join(f"{artifact.role} ({artifact.precision})" for artifact in manifest.artifacts)
    held = f"{manifest.name} {manifest.version}, {size:.1f} MiB, hashes right ({seconds:.2f} s)"
    return [
        Check("bundle", name, "ok", held),
        Check("bundle", "roles", "ok", roles),
        *(Check("bundle", f"gate {o.gate}", "note", f"overridden: {o.reason}") for o in manifest.overrides),
    ]
