"""A folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from uniecg_device.errors import InputError
from uniecg_runtime.bundle import MANIFEST


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A fresh folder beside `out` that takes its place when the block ends well and vanishes when it does not.

    Raises InputError where `out` is there and is not a bundle.
    """
    out = out.absolute()
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise InputError(
            f"expected a new folder or a bundle to replace at {out}, found something else; choose another."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise InputError(f"expected to be able to write beside {out}: {error}; choose another place.") from None
    try:
        yield folder
        folder.chmod(0o755)
        _replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(folder: Path, out: Path) -> None:
    """Move `folder` to `out`; folders cannot be exchanged in one step, so the old one waits aside."""
    if not out.exists():
        os.rename(folder, out)
        return
    aside = folder.with_name(f"{folder.name}.old")
    os.rename(out, aside)
    try:
        os.rename(folder, out)
    except OSError:
        os.rename(aside, out)
        raise
    shutil.rmtree(aside)
