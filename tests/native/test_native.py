"""Builds the C++ tests with warnings as errors and runs them: here with the sanitizers, and for 64-bit ARM."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from needs import lacks

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_native_tests_pass_under_the_sanitizers(tmp_path: Path) -> None:
    options = ["-DCMAKE_BUILD_TYPE=Debug", "-DUNIECG_PYTHON=OFF", "-DUNIECG_TESTS=ON", "-DUNIECG_DEVELOPER=ON"]
    run("cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DUNIECG_SANITIZE=ON", *options)
    run("cmake", "--build", str(tmp_path))
    output = run("ctest", "--test-dir", str(tmp_path), "--verbose", "--no-tests=error")
    assert "FAIL" not in output and output.count("ok   ") >= 10
    profiles = tmp_path / "profiles"
    run(sys.executable, str(ROOT / "tests/native/fuzz_profiles.py"), str(profiles))
    fuzzer = str(tmp_path / "tests/native/uniecg_fuzz_random")
    assert "2000 random inputs" in run("env", f"UNIECG_FUZZ_PROFILES={profiles}", fuzzer, "2000")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_native_tests_pass_on_64_bit_arm(tmp_path: Path) -> None:
    for program in ("aarch64-linux-gnu-g++", "qemu-aarch64"):
        if shutil.which(program) is None:
            lacks("aarch64", f"NO {program}: run tools/test-aarch64 --tools as root to run this test")
    output = run(str(ROOT / "tools/test-aarch64"), str(tmp_path))
    assert "100% tests passed" in output


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
