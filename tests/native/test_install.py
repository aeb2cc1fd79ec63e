"""Installs the C library into a fresh prefix and builds the C example against it, as another project would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import uniecg_device

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "c"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
# Sample 7 of a Cyton: counts 1, -1, 8388607, -8388608, 0, 100, -100, 12345; then sample 9, so that 8 is lost.
FRAME = bytes.fromhex("a007 000001 ffffff 7fffff 800000 000000 000064 ffff9c 003039 0010fff01000 c0")
CAPTURE = b"\xff" + FRAME + FRAME[:1] + b"\x09" + FRAME[2:]

needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
pytestmark = [pytest.mark.slow, needs_cmake]


@pytest.fixture(scope="module", params=["static", "shared"])
def prefix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    shared = "ON" if request.param == "shared" else "OFF"
    run("cmake", "-S", str(ROOT), "-B", str(folder / "build"), "-DUNIECG_DEVELOPER=ON", f"-DBUILD_SHARED_LIBS={shared}")
    run("cmake", "--build", str(folder / "build"))
    run("cmake", "--install", str(folder / "build"), "--prefix", str(folder / "first"))
    return (folder / "first").rename(folder / "prefix")  # what was installed may be moved


def test_installs_the_library_its_header_and_its_packages_only(prefix: Path) -> None:
    files = {path.name for path in prefix.rglob("*") if path.is_file()}
    libraries = {name for name in files if name.startswith("libuniecg.")}
    assert libraries
    targets = {name for name in files if name.startswith("uniecgTargets")}
    assert files - libraries - targets == {"uniecg.h", "uniecg.pc", "uniecgConfig.cmake", "uniecgConfigVersion.cmake"}


def test_the_example_builds_through_the_cmake_package(prefix: Path, tmp_path: Path) -> None:
    flags = " ".join(STRICT)
    run("cmake", "-S", str(EXAMPLE), "-B", str(tmp_path), f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_C_FLAGS={flags}")
    run("cmake", "--build", str(tmp_path))
    assert_reads_capture(tmp_path / "millivolts", prefix)


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="pkg-config is not installed: its file goes untested")
def test_the_example_builds_through_pkg_config(prefix: Path, tmp_path: Path) -> None:
    (pc,) = prefix.rglob("uniecg.pc")
    environment = os.environ | {"PKG_CONFIG_PATH": str(pc.parent)}
    flags = run("pkg-config", "--cflags", "--libs", "uniecg", env=environment).split()
    assert run("pkg-config", "--modversion", "uniecg", env=environment).strip() == uniecg_device.__version__
    run("cc", *STRICT, str(EXAMPLE / "millivolts.c"), "-o", str(tmp_path / "millivolts"), *flags)
    assert_reads_capture(tmp_path / "millivolts", prefix)


def test_the_header_says_the_packages_version() -> None:
    header = (ROOT / "device/native/include/uniecg.h").read_text()
    parts = [re.search(rf"UNIECG_VERSION_{part} (\d+)", header) for part in ("MAJOR", "MINOR", "PATCH")]
    assert ".".join(part[1] for part in parts if part) == uniecg_device.__version__


def test_the_example_stays_short() -> None:
    assert len((EXAMPLE / "millivolts.c").read_text().splitlines()) < 100


def assert_reads_capture(program: Path, prefix: Path) -> None:
    libraries = ":".join({str(path.parent) for path in prefix.rglob("libuniecg.*")})
    done = subprocess.run(
        [str(program), str(EXAMPLE / "cyton.json")],
        input=CAPTURE,
        capture_output=True,
        env=os.environ | {"LD_LIBRARY_PATH": libraries},
        check=True,
    )
    lines = [[float(word) for word in line.split()] for line in done.stdout.decode().splitlines()]
    millivolts = [count * 4500 / 24 / (2**23 - 1) for count in (1, -1, 8388607, -8388608, 0, 100, -100, 12345)]
    assert [line[0] for line in lines] == [0.0, 0.008]
    assert lines[0][1:] == pytest.approx(millivolts, abs=1e-4)
    assert done.stderr.decode() == "samples 2 lost 1 skipped bytes 1\n"


def run(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
