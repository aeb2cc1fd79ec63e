"""What a Jetson's own files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from uniecg_runtime import jetson
from uniecg_runtime.jetson import Jetson, find_jetson, gpu_nodes, package_version

# Lines as NVIDIA's tools write them: JetPack 6.2 on an Orin, and dpkg's status file with one package removed.
R36 = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan 8 01:49:37 UTC 2025\n"
)
STATUS = """Package: nvidia-jetpack
Status: install ok installed
Architecture: arm64
Version: 6.2+b77
Description: NVIDIA Jetpack Meta Package
 Version: not this one

Package: python3-libnvinfer
Status: deinstall ok config-files
Version: 10.3.0.30-1+cuda12.5
"""


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(jetson, "RELEASE", tmp_path / "nv_tegra_release")
    monkeypatch.setattr(jetson, "PACKAGES", tmp_path / "status")
    return tmp_path


def test_another_machine_is_no_jetson(files: Path) -> None:
    (files / "status").write_text(STATUS)
    assert find_jetson() is None


def test_a_jetson_is_known_by_its_release(files: Path) -> None:
    (files / "nv_tegra_release").write_text(R36)
    assert find_jetson() == Jetson("36.4.3", None)
    (files / "status").write_text(STATUS)
    assert find_jetson() == Jetson("36.4.3", "6.2+b77")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\0", b"# R (release)", b"R36 4.3"])
def test_a_release_that_does_not_read_is_still_a_jetson(files: Path, data: bytes) -> None:
    (files / "nv_tegra_release").write_bytes(data)
    assert find_jetson() == Jetson("unknown", None)


def test_only_what_is_installed_has_a_version(files: Path) -> None:
    assert package_version("nvidia-jetpack") is None
    (files / "status").write_text(STATUS)
    assert package_version("nvidia-jetpack") == "6.2+b77"
    assert package_version("python3-libnvinfer") is None
    assert package_version("jetpack") is None


def test_render_nodes_count_on_a_jetson_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nvmap").touch()
    (tmp_path / "renderD128").touch()
    monkeypatch.setattr(jetson, "NODES", (str(tmp_path / "nvmap"), str(tmp_path / "none*")))
    monkeypatch.setattr(jetson, "JETSON_NODES", (str(tmp_path / "renderD*"),))
    assert gpu_nodes(False) == [str(tmp_path / "nvmap")]
    assert gpu_nodes(True) == [str(tmp_path / "nvmap"), str(tmp_path / "renderD128")]
