"""Fixtures that every package's tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from uniecg_runtime.bundle import Bundle

sys.path.insert(0, str(Path(__file__).parent))
# A busy machine is no failure; what must be quick has a test that says so.
settings.register_profile("uniecg", deadline=None)
settings.load_profile("uniecg")


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The built-in bundle, or the one that $UNIECG_TEST_BUNDLE names."""
    from uniecg_runtime.bundle import BUILT_IN, Bundle

    return Bundle.open(os.environ.get("UNIECG_TEST_BUNDLE", BUILT_IN))


def pytest_unconfigure() -> None:
    """llama_cpp opens /dev/null when imported and leaves it to the interpreter, which warns."""
    utils = sys.modules.get("llama_cpp._utils")
    for name in ("outnull_file", "errnull_file"):
        if utils is not None and hasattr(utils, name):
            getattr(utils, name).close()
