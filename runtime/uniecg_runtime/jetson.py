"""What a Jetson says of itself: which Jetson Linux, which of JetPack's packages, which devices of the GPU.

Read from files alone, so that a missing tool is no obstacle. Sources: NVIDIA's user guide of the Jetson Orin Nano
developer kit, "JetPack SDK Setup" (nv_tegra_release, the package nvidia-jetpack); dpkg-query(1) for its status file.
"""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RELEASE: Final = Path("/etc/nv_tegra_release")
PACKAGES: Final = Path("/var/lib/dpkg/status")
MAX_BYTES: Final = 64 << 20  # of either file
# What CUDA opens: on a PC nvidia*, on a Jetson the others or both. Only the first few of each kind matter.
NODES: Final = ("/dev/nvidiactl", "/dev/nvidia[0-9]", "/dev/nvidia-uvm", "/dev/nvmap", "/dev/nvhost-ctrl-gpu")
JETSON_NODES: Final = ("/dev/dri/renderD*",)  # on other machines they may be another maker's
_RELEASE_LINE: Final = re.compile(r"#\s*R(\d+)\b.*?REVISION:\s*([\d.]+)")


@dataclass(frozen=True)
class Jetson:
    """linux: the release of Jetson Linux (L4T), "36.4.3". jetpack: version of nvidia-jetpack, None if not installed."""

    linux: str
    jetpack: str | None


def find_jetson() -> Jetson | None:
    """None on any other machine."""
    text = _read(RELEASE)
    if text is None:
        return None
    found = _RELEASE_LINE.search(text)
    return Jetson(f"{found[1]}.{found[2]}" if found else "unknown", package_version("nvidia-jetpack"))


def package_version(name: str) -> str | None:
    """Version of a Debian package that is installed; None for one that is not."""
    for paragraph in (_read(PACKAGES) or "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Package") == name and fields.get("Status", "").endswith(" installed"):
            return fields.get("Version")
    return None


def gpu_nodes(jetson: bool) -> list[str]:
    """The devices through which CUDA reaches the GPU, those that are there."""
    patterns = (*NODES, *(JETSON_NODES if jetson else ()))
    return sorted({path for pattern in patterns for path in glob.glob(pattern)})


def readable(path: str) -> bool:
    """Whether this user may open a device; some of the GPU's are read-only even to those who may use it."""
    return os.access(path, os.R_OK)


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
