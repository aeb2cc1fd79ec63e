"""What this machine is: processor, threads, memory. Read from the kernel, without a dependency."""

from __future__ import annotations

import os
import platform
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1 << 20
MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Machine:
    """cpus: the processors this process may use. memory_mb: MiB of physical memory."""

    system: str
    architecture: str
    cpu: str
    cpus: int
    memory_mb: float


def machine() -> Machine:
    """The machine this runs on."""
    return Machine(
        system=platform.platform(terse=True),
        architecture=platform.machine(),
        cpu=_cpu_model(),
        cpus=usable_cpus(),
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MEBIBYTE,
    )


def usable_cpus() -> int:
    """Processors that this process is allowed to run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def meminfo(name: str) -> int | None:
    """Bytes of "MemAvailable" (what can be taken without swapping), "SwapTotal" ...; None where it is not said."""
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    kibibytes = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kibibytes[0]) << 10 if kibibytes else None


def peak_memory_mb() -> float:
    """Peak resident memory of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would report the parent's peak where it was larger before exec.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEBIBYTE if sys.platform == "darwin" else peak / 1024


def _cpu_model() -> str:
    """The processor's own name; ARM kernels name the board in the device tree instead."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    board = Path("/proc/device-tree/model")
    if board.exists():
        return board.read_text(errors="replace").strip("\0\n ")
    return platform.processor() or platform.machine()
