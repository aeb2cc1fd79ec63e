"""The device's side of a line: a pseudo-terminal or a TCP port that a simulated device can leave and come back to."""

from __future__ import annotations

import errno
import os
import select
import socket
import time

from uniecg_device.errors import DeviceError, InputError

_READ_BYTES = 4096
_DRAIN_SECONDS = 0.25  # that a reader has to take what was sent before a pty closes, which would take it away


class PtyLine:
    """The master side of a pseudo-terminal; its other side stays open, so readers may come and go.

    url: its path, another one after each return. away: between `hang_up` and `come_back`.
    """

    def __init__(self) -> None:
        self.away = False
        self._master, self._slave = _open_pty()
        self.url = os.ttyname(self._slave)

    @property
    def connected(self) -> bool:
        return not self.away

    def wait(self, seconds: float, *, writing: bool) -> tuple[bool, bool]:
        """Whether there is something to read, and room to write if asked for, after at most so long."""
        masters = [] if self.away else [self._master]
        readable, writable, _ = select.select(masters, masters if writing else [], [], seconds)
        return bool(readable), bool(writable)

    def read(self) -> bytes:
        return os.read(self._master, _READ_BYTES)

    def write(self, data: bytearray) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def hang_up(self) -> None:
        """Leaves the line, which the reader sees as the plug being pulled."""
        self._drain()
        self._close()
        self.away = True

    def come_back(self) -> None:
        """Under another name, as a device does that was plugged in anew."""
        lines = [_open_pty()]
        while os.ttyname(lines[-1][1]) == self.url:
            lines.append(_open_pty())
        self._master, self._slave = lines.pop()
        for line in lines:
            _close_both(line)
        self.url = os.ttyname(self._slave)
        self.away = False

    def close(self) -> None:
        if not self.away:
            self._close()

    def _close(self) -> None:
        _close_both((self._master, self._slave))

    def _drain(self) -> None:
        """Waits until nothing is left to read; what was written takes a moment to get there: it looks three times."""
        deadline, idle = time.monotonic() + _DRAIN_SECONDS, 0
        while idle < 3 and time.monotonic() < deadline:
            idle = 0 if select.select([self._slave], [], [], 0)[0] else idle + 1
            time.sleep(0.002)


class TcpLine:
    """A TCP port with one reader at a time; while the device is away, whoever connects is hung up on."""

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise InputError(f"expected 'pty' or HOST:PORT to listen on, found {listen!r}")
        try:
            self._server = socket.create_server((host, int(port)))
        except OSError as error:
            raise DeviceError(f"cannot listen on {listen}: {error.strerror or error}; choose another port") from error
        self.away = False
        self._client: socket.socket | None = None
        self.url = f"socket://{host}:{self._server.getsockname()[1]}"

    @property
    def connected(self) -> bool:
        return self._client is not None

    def wait(self, seconds: float, *, writing: bool) -> tuple[bool, bool]:
        """Whether there is something to read, and room to write if asked for, after at most so long."""
        if self._client is None:
            if select.select([self._server], [], [], seconds)[0]:
                self._accept()
            return False, False
        readable, writable, _ = select.select([self._client], [self._client] if writing else [], [], seconds)
        return bool(readable), bool(writable)

    def read(self) -> bytes:
        data = b""
        if self._client is not None:
            try:
                data = self._client.recv(_READ_BYTES)
            except BlockingIOError:
                return b""
            except OSError:
                pass  # the reader broke the connection off
            if not data:
                self._drop_client()
        return data

    def write(self, data: bytearray) -> int:
        if self._client is None:
            return len(data)
        try:
            return self._client.send(data)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
                self._drop_client()
            return 0

    def hang_up(self) -> None:
        """Drops the connection, after what was sent."""
        self._drop_client()
        self.away = True

    def come_back(self) -> None:
        self.away = False

    def close(self) -> None:
        self._drop_client()
        self._server.close()

    def _accept(self) -> None:
        client, _ = self._server.accept()
        if self.away:
            client.close()
        else:
            client.setblocking(False)
            self._client = client

    def _drop_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _open_pty() -> tuple[int, int]:
    import tty

    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    return master, slave


def _close_both(line: tuple[int, int]) -> None:
    for descriptor in line:
        os.close(descriptor)
