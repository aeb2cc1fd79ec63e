"""Which bundle a command works with, and what runs it: the options that most commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uniecg_runtime.assistant import Assistant
    from uniecg_runtime.bundle import Bundle


@dataclass(frozen=True)
class Opening:
    """bundle: a folder or a built-in name. key: the file of the public key that must have signed it."""

    bundle: str
    key: Path | None
    backend: str = "cpu"
    threads: int | None = None

    def open(self) -> Bundle:
        """Raises BundleError for a bundle that does not open."""
        from uniecg_runtime.bundle import Bundle

        return Bundle.open(self.bundle, public_key=self.key)

    def assistant(self) -> Assistant:
        """Over the bundle, on the backend that was asked for. Raises BundleError for a bundle that does not open."""
        from uniecg_runtime.assistant import Assistant

        return Assistant(self.open(), backend=self.backend, threads=self.threads)
