"""An E8 unit with a battery of its own, on a pty that can be unplugged and plugged in under another name."""

from __future__ import annotations

import os
import threading
import time
import tty
from contextlib import suppress
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from uniecg_device.discovery import SerialPort
from uniecg_device.signals import LEADS, Block

FS = 500
FRAME_BYTES = 22


def frame(number: int, counter: int) -> bytes:
    """Sample `number` as the unit sends it: leads I and II hold the number itself."""
    values = (number % 4096, number // 4096 % 4096, *(2048 for _ in range(6)))
    data = b"".join(bytes((0x20 | value >> 7, value & 0x7F)) for value in values)
    return bytes((0xE8, counter % 64, 0x11, 0x20, 0)) + data + b"\x8e"


def numbers(block: Block) -> NDArray[np.int64]:
    """The numbers that the unit gave to a block's samples."""
    counts = [np.rint(block.signal[LEADS.index(lead)] * 1423.0 + 2048).astype(np.int64) for lead in ("I", "II")]
    return counts[0] + 4096 * counts[1]


class Unit:
    """Samples at 500 Hz from the start on, whether anyone listens or not.

    runs_on: the counter does so while it is unplugged; else it begins anew at each plug.
    `taken` is the number of samples so far, `received` what the host sent, `ports` what the system lists.
    """

    def __init__(self, *, runs_on: bool = True) -> None:
        self.received = bytearray()
        self.silent = False
        self._runs_on = runs_on
        self._first = 0
        self._began = time.monotonic()
        self._done = 0
        self._lock = threading.Lock()
        self._line: tuple[int, int] | None = None
        self._name = ""
        self.plug()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def taken(self) -> int:
        return int((time.monotonic() - self._began) * FS)

    @property
    def url(self) -> str:
        return self._name

    @property
    def ports(self) -> tuple[SerialPort, ...]:
        with self._lock:
            return () if self._line is None else (SerialPort(self.url, 0x0403, 0x6015, "A1B2", "unit", "", "1-1"),)

    def plug(self) -> None:
        """Under another name than before."""
        lines = [os.openpty()]
        while os.ttyname(lines[-1][1]) == self._name:
            lines.append(os.openpty())
        for line in lines[:-1]:
            _close(line)
        master, slave = lines[-1]
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._name = os.ttyname(slave)
        with self._lock:
            self._line = master, slave
            self._done = self.taken  # what came while it was unplugged is nowhere, though our thread may have slept
            if not self._runs_on:
                self._first = self._done

    def unplug(self) -> None:
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            _close(line)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.unplug()

    def __enter__(self) -> Unit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            with self._lock:
                taken = self.taken
                data = b"".join(frame(number, number - self._first) for number in range(self._done, taken))
                self._done = taken
                if self._line is not None:
                    self._exchange(self._line[0], b"" if self.silent else data)

    def _exchange(self, master: int, data: bytes) -> None:
        with suppress(BlockingIOError):
            self.received += os.read(master, 4096)
        with suppress(BlockingIOError):  # nobody reads: the line overruns
            os.write(master, data)


def _close(line: tuple[int, int]) -> None:
    for descriptor in line:
        os.close(descriptor)
