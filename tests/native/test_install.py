"""Installs the C library into a fresh prefix and builds the C examples against it, as another project would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import uniecg_device
from uniecg_device.encoder import encode_frames
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.profile import load_profile

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


def test_the_examples_build_through_the_cmake_package(prefix: Path, tmp_path: Path) -> None:
    flags = " ".join(STRICT)
    run("cmake", "-S", str(EXAMPLE), "-B", str(tmp_path), f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_C_FLAGS={flags}")
    run("cmake", "--build", str(tmp_path))
    assert_reads_capture(tmp_path / "millivolts", prefix)
    assert_finds_beats_around_a_gap(tmp_path / "heartbeats", prefix)


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


@pytest.mark.parametrize("name", ["millivolts", "heartbeats"])
def test_the_examples_stay_short(name: str) -> None:
    assert len((EXAMPLE / f"{name}.c").read_text().splitlines()) < 100


def assert_reads_capture(program: Path, prefix: Path) -> None:
    done = read_cyton(program, prefix, CAPTURE)
    lines = [[float(word) for word in line.split()] for line in done.stdout.decode().splitlines()]
    millivolts = [count * 4500 / 24 / (2**23 - 1) for count in (1, -1, 8388607, -8388608, 0, 100, -100, 12345)]
    assert [line[0] for line in lines] == [0.0, 0.008]
    assert lines[0][1:] == pytest.approx(millivolts, abs=1e-4)
    assert done.stderr.decode() == "samples 2 lost 1 skipped bytes 1\n"


def assert_finds_beats_around_a_gap(program: Path, prefix: Path) -> None:
    """Lead II at 75 a minute on every channel of a Cyton, 50 frames of which are lost after 10 s."""
    profile = load_profile("openbci_cyton")
    drawn = simulate(ParametricEcg(heart_rate=75, respiratory_arrhythmia=0.0), 20.0, profile.fs, seed=1)
    lead = drawn.signal[drawn.leads.index("II")] * profile.scale_of(profile.channel[0])[0]
    frames = encode_frames(profile, np.rint(np.tile(lead, (8, 1))).astype(np.int64))
    cut = round(10 * profile.fs)
    wire = frames[:cut].tobytes() + frames[cut + 50 :].tobytes()
    lines = [line.split() for line in read_cyton(program, prefix, wire).stdout.decode().splitlines()]
    assert 23 <= len(lines) <= 26
    assert float(lines[-1][0]) > 18.5  # on the device's clock, the gap included
    assert np.median([int(line[2].removesuffix("/min")) for line in lines[1:]]) == pytest.approx(75, abs=1)


def read_cyton(program: Path, prefix: Path, wire: bytes) -> subprocess.CompletedProcess[bytes]:
    libraries = ":".join({str(path.parent) for path in prefix.rglob("libuniecg.*")})
    environment = os.environ | {"LD_LIBRARY_PATH": libraries}
    command = [str(program), str(EXAMPLE / "cyton.json")]
    return subprocess.run(command, input=wire, capture_output=True, env=environment, check=True)


def run(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
