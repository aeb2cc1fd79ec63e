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

    Where `out` is a link, what it points to is replaced. Raises InputError where `out` is there and is not a bundle, at
    the start or by the end, or where a folder cannot be moved there.
    """
    out = Path(os.path.realpath(out))
    try:
        _check(out)
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


def _check(out: Path) -> None:
    """Raises InputError where `out` is anything but a new folder, an empty one or a bundle."""
    if os.path.ismount(out):
        raise InputError(f"expected a folder that can be moved at {out}, found a mount point; give a folder inside it.")
    if os.path.lexists(out) and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise InputError(
            f"expected a new folder or a bundle to replace at {out}, found something else; choose another."
        )


def _replace(folder: Path, out: Path) -> None:
    """Move `folder` to `out`; folders cannot be exchanged in one step, so the old one waits aside."""
    aside = folder.with_name(f"{folder.name}.old")
    try:
        _check(out)
        if out.exists():
            os.rename(out, aside)
        try:
            os.rename(folder, out)
        except OSError:
            if aside.exists():
                os.rename(aside, out)
            raise
        if aside.exists():
            shutil.rmtree(aside)
    except OSError as error:
        raise InputError(f"expected to be able to replace {out}: {error}; choose another place.") from None
