"""Builds the C++ tests with warnings as errors and the sanitizers on, and runs them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_native_tests_pass_under_the_sanitizers(tmp_path: Path) -> None:
    options = ["-DCMAKE_BUILD_TYPE=Debug", "-DUNIECG_PYTHON=OFF", "-DUNIECG_TESTS=ON", "-DUNIECG_DEVELOPER=ON"]
    run("cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DUNIECG_SANITIZE=ON", *options)
    run("cmake", "--build", str(tmp_path))
    output = run("ctest", "--test-dir", str(tmp_path), "--verbose", "--no-tests=error")
    assert "FAIL" not in output and output.count("ok   ") >= 10


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
