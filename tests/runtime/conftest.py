"""Fixtures of the runtime's tests: a GPU that is not there, and a bundle that may be written to."""

from __future__ import annotations

import ctypes
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cuda_fakes import FakeDriver, FakeRtx, FakeTensorRt
from uniecg_runtime.backends import tensorrt
from uniecg_runtime.bundle import Bundle


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The bundle in a folder that a test may write to and spoil."""
    return Bundle.open(shutil.copytree(bundle.folder, tmp_path / "copied"))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """A driver with one GPU, and neither TensorRT installed."""
    fake, real = FakeDriver(), ctypes.CDLL

    def load(name: str, *arguments: Any, **options: Any) -> Any:
        return fake if name == "libcuda.so.1" else real(name, *arguments, **options)

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(tensorrt, "_logs", {})
    for name in ("tensorrt", "tensorrt_rtx_libs", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it is an ImportError
    return fake


@pytest.fixture
def trt(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    module = FakeTensorRt(driver)
    monkeypatch.setitem(sys.modules, "tensorrt", module)  # type: ignore[arg-type]
    return module


@pytest.fixture
def rtx(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> FakeRtx:
    module = FakeRtx(driver)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_libs", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", module)  # type: ignore[arg-type]
    return module
