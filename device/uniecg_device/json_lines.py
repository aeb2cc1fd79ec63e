"""JSON Lines with binary data inside, which a frame grammar cannot say: a stage before the native framer.

A data line is {"C": 200, "D": "<base64>"}: what the HackEEG board sends in JSON Lines mode. The same
board sends the same two members as a MessagePack map in its other mode, whose header never changes.
So a data line becomes that MessagePack map, and one [frame] describes both modes.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from uniecg_device.grammar import Frame

if TYPE_CHECKING:
    from uniecg_device import _native

MAX_LINE = 4096
_MAX_MESSAGE = 256
_MESSAGE_QUEUE = 16
_HEADER = bytes.fromhex("82 A1 43 CC C8 A1 44 C4")  # {"C": 200, "D": bytes of a length that follows}
_OK = 200


class _Line(msgspec.Struct):
    """Of a data line, what matters; msgspec decodes the base64."""

    C: int
    D: bytes


_Decoded = TypeVar("_Decoded")
_DATA_LINE = msgspec.json.Decoder(_Line)
_ANY_LINE = msgspec.json.Decoder(dict[str, Any])


class JsonLinesFramer:
    """A native framer that is fed JSON lines: same methods, same threads, same counters, counted on the wire.

    A line that is a JSON object without data is a message. One that is neither is skipped bytes and
    a bad header; so is one longer than MAX_LINE, of which nothing is kept. What stands before the
    first line end is a line joined in the middle, and no bad header.
    """

    def __init__(self, framer: _native.Framer, frame: Frame) -> None:
        self._framer = framer
        self._length = frame.data_length
        self._matches = frame.header + frame.footer
        self._rest = bytearray()  # of the line being received
        self._overlong = False  # that line is too long; its bytes are counted and gone
        self._joined = False  # a line end has been seen
        self._synchronised = True
        self._messages: deque[bytes] = deque()
        self._bytes = self._skipped = self._bad = self._resyncs = self._valid = self._message_count = 0
        self._dropped = 0

    @staticmethod
    def takes(frame: Frame) -> bool:
        """Whether these are frames that it can make, and vouch for: the native framer shall refuse none."""
        return (
            frame.sync_bytes == _HEADER
            and isinstance(frame.length, int)
            and len(_HEADER) + 1 < frame.length <= len(_HEADER) + 256
            and not (frame.kind or frame.checksum or frame.confirm)
        )

    def push(self, data: bytes | bytearray | memoryview) -> None:
        chunk = bytes(data)
        self._bytes += len(chunk)
        begin = 0
        while (end := chunk.find(b"\n", begin) + 1) > 0:
            self._finish_line(chunk[begin:end])
            begin = end
        self._keep(chunk[begin:])

    @property
    def available(self) -> int:
        return self._framer.available

    def pull(self, max_samples: int) -> tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.uint64]]:
        return self._framer.pull(max_samples)

    def pull_counts(self, max_samples: int) -> tuple[NDArray[np.int32], NDArray[np.uint32], NDArray[np.uint64]]:
        return self._framer.pull_counts(max_samples)

    def pull_message(self) -> bytes | None:
        return self._messages.popleft() if self._messages else None

    def counters(self) -> dict[str, int]:
        return self._framer.counters() | {
            "bytes": self._bytes,
            "messages": self._message_count,
            "skipped_bytes": self._skipped,
            "resyncs": self._resyncs,
            "bad_headers": self._bad,
            "dropped_messages": self._dropped,
        }

    def _keep(self, piece: bytes) -> None:
        if self._overlong:
            self._skipped += len(piece)
            return
        self._rest += piece
        if len(self._rest) > MAX_LINE:
            self._skipped += len(self._rest)
            self._rest.clear()
            self._overlong = True

    def _finish_line(self, piece: bytes) -> None:
        line = bytes(self._rest) + piece
        self._rest.clear()
        if self._overlong or len(line) > MAX_LINE or not (self._take_data(line) or self._take_message(line)):
            self._skipped += len(line)
            self._bad += self._joined
            self._synchronised = False
        else:
            self._resyncs += not self._synchronised and self._valid > 0
            self._synchronised = True
            self._valid += 1
        self._overlong, self._joined = False, True

    def _take_data(self, line: bytes) -> bool:
        found = _decode(_DATA_LINE, line)
        if found is None or found.C != _OK or len(found.D) != self._length - len(_HEADER) - 1:
            return False
        frame = _HEADER + bytes([len(found.D)]) + found.D
        if any(frame[match.byte] & match.mask != match.value for match in self._matches):
            return False
        self._framer.push(frame)
        return True

    def _take_message(self, line: bytes) -> bool:
        found = _decode(_ANY_LINE, line)
        if found is None or "D" in found:
            return False
        self._message_count += 1
        if len(self._messages) < _MESSAGE_QUEUE:
            self._messages.append(line.rstrip()[:_MAX_MESSAGE])
        else:
            self._dropped += 1
        return True


def to_json_lines(frames: NDArray[np.uint8]) -> list[bytes]:
    """The lines that carry these frames, shape (frames, bytes): the stage run backwards."""
    bodies = (frame[len(_HEADER) + 1 :].tobytes() for frame in frames)
    return [b'{"C":200,"D":"' + b2a_base64(body, newline=False) + b'"}\n' for body in bodies]


def _decode(decoder: msgspec.json.Decoder[_Decoded], line: bytes) -> _Decoded | None:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
