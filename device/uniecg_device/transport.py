"""An open serial line: bytes in, bytes out, and every failure as one DeviceError that says what to do."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from types import TracebackType
from typing import Any

from uniecg_device.errors import DeviceError

_CHUNK = 4096
_POLL_SECONDS = 0.02


class Transport:
    """A port that pyserial can open: `/dev/ttyUSB0`, `socket://host:port`, `rfc2217://host:port`, ...

    Opened for this process alone where the system can do that. Raises DeviceError.
    """

    def __init__(self, url: str, baud: int) -> None:
        import serial  # imported here because only a live device needs it

        self.url = url
        self._failures = (serial.SerialException, OSError, *_termios_error())
        try:
            self._port: Any = serial.serial_for_url(
                url, baudrate=baud, timeout=_POLL_SECONDS, write_timeout=2.0, exclusive=True
            )
        except ValueError as error:
            raise DeviceError(f"{url} is not a port: {error}; give a device such as /dev/ttyUSB0 or a URL") from error
        except self._failures as error:
            raise DeviceError(_why_not_opened(url, error)) from error

    def read(self) -> bytes:
        """What arrived within the next 20 ms, at most 4096 bytes; empty if nothing did."""
        try:
            return bytes(self._port.read(_CHUNK))
        except self._failures as error:
            raise self._went_away(error) from error

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
        return DeviceError(f"{self.url} went away while it was open ({error}); plug the device in and start again")


def _termios_error() -> tuple[type[Exception], ...]:
    try:
        import termios
    except ImportError:  # not a POSIX system
        return ()
    return (termios.error,)


def _why_not_opened(url: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return f"the port {url} does not exist; {_existing_ports()}"
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"no permission to open {url}; add this user to the group that owns it "
            f"({_owning_group(url)}: sudo usermod -aG {_owning_group(url)} $USER) and log in again"
        )
    if number in (errno.EBUSY, errno.EAGAIN):
        return f"{url} is in use by another program; close that one first"
    if number == errno.ENOTTY:
        return f"{url} is not a serial port; {_existing_ports()}"
    return f"cannot open {url}: {error}"


def _existing_ports() -> str:
    from serial.tools import list_ports

    ports = sorted(port.device for port in list_ports.comports())
    return f"present are {', '.join(ports)}" if ports else "no serial port is present: is the device plugged in?"


def _owning_group(url: str) -> str:
    try:
        import grp

        return grp.getgrgid(os.stat(url).st_gid).gr_name
    except (ImportError, OSError, KeyError):
        return "dialout"
