"""Files that are whole: what is cut short while it is written leaves what lay there before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to. It takes the place of `path` in the end, and goes where an error came first."""
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Write beside, then rename: whoever reads `path` sees the old file or the whole new one."""
    with replacing(path) as part:
        part.write_bytes(data)
