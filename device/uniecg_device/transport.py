"""An open serial line: bytes in, bytes out, and every failure as one DeviceError that says what to do."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from uniecg_device import discovery
from uniecg_device.errors import DeviceError

_CHUNK = 4096
_POLL_SECONDS = 0.02  # bytes gather meanwhile: fifty wake-ups a second, in however many pieces they arrive


class Transport:
    """A port that pyserial can open: `/dev/ttyUSB0`, `socket://host:port`, `rfc2217://host:port`, ...

    Opened for this process alone where the system can do that, and in low-latency mode where the driver has one
    (an FTDI chip then hands over what it has every 1 ms and not every 16). dtr: the level of that line, raised
    by default; False where raising it would reset the board. Raises DeviceError.
    """

    def __init__(self, url: str, baud: int, *, dtr: bool = True) -> None:
        import serial  # imported here because only a live device needs it

        self.url = url
        self._failures = (serial.SerialException, OSError, *_termios_error())
        self._more = False
        try:
            self._port: Any = serial.serial_for_url(
                url, do_not_open=True, baudrate=baud, timeout=0, write_timeout=2.0, exclusive=True
            )
            self._port.dtr = dtr
            self._port.open()
        except ValueError as error:
            raise DeviceError(f"{url} is not a port: {error}; give a device such as /dev/ttyUSB0 or a URL") from error
        except self._failures as error:
            raise DeviceError(_why_not_opened(url, error)) from error
        except Exception as error:  # what pyserial's URL handlers make of options they do not understand
            raise DeviceError(f"{url} is not a port: {error!r}; give a device such as /dev/ttyUSB0 or a URL") from error
        _lower_latency(self._port)

    def read(self) -> bytes:
        """What has arrived 20 ms after the last call, at most 4096 bytes; empty if nothing did."""
        if not self._more:
            time.sleep(_POLL_SECONDS)
        data = bytearray()
        try:
            # pyserial itself would gather too, but forget what it has when the plug is pulled meanwhile.
            while len(data) < _CHUNK and (piece := self._port.read(_CHUNK - len(data))):
                data += piece
                if len(piece) < _CHUNK // 4:
                    break  # what may be left comes with the next call: looking for it costs as much as this read
        except self._failures as error:
            if not data:
                raise self._went_away(error) from error
        self._more = len(data) == _CHUNK
        return bytes(data)

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
            self._port.flush()
        except self._failures as error:
            raise self._went_away(error) from error

    def discard_input(self) -> None:
        """Forgets what has arrived and was not read."""
        try:
            self._port.reset_input_buffer()
        except self._failures as error:
            raise self._went_away(error) from error

    def close(self) -> None:
        with suppress(*self._failures):  # a port that went away has nothing left to close
            self._port.close()

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _went_away(self, error: BaseException) -> DeviceError:
        return DeviceError(f"{self.url} went away while it was open ({error}); check the plug, the cable and the power")


def _lower_latency(port: Any) -> None:
    """Asks the driver to hand bytes over at once; only Linux and some drivers can, and nothing depends on it."""
    switch = getattr(port, "set_low_latency_mode", None)
    if switch is not None:
        with suppress(ValueError, OSError, NotImplementedError):
            switch(True)


def _termios_error() -> tuple[type[Exception], ...]:
    try:
        import termios
    except ImportError:  # not a POSIX system
        return ()
    return (termios.error,)


def _why_not_opened(url: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number is None and error.__context__ is not None:  # pyserial could open it, but not configure it
        number = next(iter(error.__context__.args), None)
    if number == errno.ENOENT:
        return f"the port {url} does not exist; {discovery.present(discovery.serial_ports())}"
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"no permission to open {url}; add this user to the group that owns it "
            f"({_owning_group(url)}: sudo usermod -aG {_owning_group(url)} $USER) and log in again"
        )
    if number in (errno.EBUSY, errno.EAGAIN):
        return f"{url} is in use by another program; close that one first"
    if number == errno.ENOTTY:
        return f"{url} is not a serial port; {discovery.present(discovery.serial_ports())}"
    return f"cannot open {url}: {error}"


def _owning_group(url: str) -> str:
    try:
        import grp

        return grp.getgrgid(os.stat(url).st_gid).gr_name
    except (ImportError, OSError, KeyError):
        return "dialout"
