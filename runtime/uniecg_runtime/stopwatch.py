"""Where the milliseconds go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Milliseconds per stage, and of the whole."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._times: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str, within: str | None = None) -> Iterator[None]:
        """Time a stage. within: the stage it interrupts, which does not count it."""
        begin = time.perf_counter()
        yield
        spent = 1000 * (time.perf_counter() - begin)
        self._times[name] = self._times.get(name, 0.0) + spent
        if within is not None:
            self._times[within] = self._times.get(within, 0.0) - spent

    @contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """Time a stage at the beginning that does not count into the whole."""
        with self.lap(name):
            yield
        self._begin = time.perf_counter()

    def mark(self, name: str) -> None:
        """Time since the beginning."""
        self._times[name] = 1000 * (time.perf_counter() - self._begin)

    def read(self) -> dict[str, float]:
        """All of them, and the total."""
        self.mark("total")
        return {name: round(value, 3) for name, value in self._times.items()}
