"""What a test needs and a machine may lack: it is skipped, loudly, unless this run was told to insist."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from uniecg_device.errors import BackendError

DATA = Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")).expanduser()


def lacks(what: str, message: str) -> NoReturn:
    """Skip the test, or fail it where $UNIECG_REQUIRE names `what`: data, tensorrt, aarch64, with commas between."""
    if what in os.environ.get("UNIECG_REQUIRE", "").split(","):
        pytest.fail(f"{message} (UNIECG_REQUIRE insists on {what})")
    pytest.skip(message)


def recordings(folder: str = ".") -> Path:
    """Real recordings under $UNIECG_DATA."""
    path = DATA / folder
    if not path.is_dir():
        lacks("data", f"NO REAL RECORDINGS: set UNIECG_DATA to the folder that holds {folder} to run this test")
    return path


def tensorrt_rtx() -> str:
    """The version of TensorRT for RTX."""
    from uniecg_export.tensorrt_build import find_tensorrt

    try:
        return find_tensorrt("tensorrt_rtx").version
    except BackendError as error:
        lacks("tensorrt", f"NO TENSORRT: pip install 'uniecg-edge[tensorrt]' (240 MB) to run this test; {error}")
