"""What goes wrong between a simulated device and its reader, drawn by seed alone and counted exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError

_Kind = Literal["drop", "flip", "duplicate", "insert", "split", "stall", "disconnect", "electrode_off"]
_KINDS: tuple[_Kind, ...] = get_args(_Kind)
_BLOCK = 1024  # frames whose fates are drawn at once
_MOST_NOISE = 40  # bytes
_MOST_DRIFT = 100_000.0  # ppm
_MOST_SECONDS = 3600.0


@dataclass(frozen=True)
class Faults:
    """What goes wrong, each with this probability per frame (or line of text); a frame meets at most one of them.

    drop: it is not sent. flip: one of its bits is inverted. duplicate: it is sent twice. insert: 1 to 40
    random bytes precede it. split: it is written in two parts with a pause between. stall: from this frame on
    the device is silent for a while; its clock and counter run on. disconnect: likewise, and it hangs up
    meanwhile: a TCP connection drops, a pty closes and comes back under another name. electrode_off: a channel's
    electrode comes off for a while, as far as the profile can say so; it reads zero.

    seconds: how long such a while is on average, 0.5 to 1.5 times this, of the device's time. drift: how much faster
    than its nominal rate the device samples, in ppm. seed: the fate of the n-th frame that a device makes follows from
    the faults and n alone, however fast it goes and in however many pieces. Raises InputError for impossible values.
    """

    seed: int = 0
    drop: float = 0.0
    flip: float = 0.0
    duplicate: float = 0.0
    insert: float = 0.0
    split: float = 0.0
    stall: float = 0.0
    disconnect: float = 0.0
    electrode_off: float = 0.0
    seconds: float = 1.0
    drift: float = 0.0

    def __post_init__(self) -> None:
        for kind, rate in zip(_KINDS, self.rates, strict=True):
            if not 0 <= rate <= 1:
                raise InputError(f"expected a probability per frame from 0 to 1 for the fault {kind}, found {rate:g}")
        if sum(self.rates) > 1 + 1e-9:
            raise InputError(
                f"a frame meets one fault at most, so their probabilities add up to 1, not {sum(self.rates):g}"
            )
        if not abs(self.drift) <= _MOST_DRIFT:
            raise InputError(f"expected a drift of at most {_MOST_DRIFT:g} ppm either way, found {self.drift:g}")
        if not 0 < self.seconds <= _MOST_SECONDS:
            raise InputError(f"expected seconds above 0 and up to {_MOST_SECONDS:g}, found {self.seconds:g}")
        if self.seed < 0:
            raise InputError(f"expected a seed of 0 or more, found {self.seed}")

    @property
    def rates(self) -> tuple[float, ...]:
        return tuple(getattr(self, kind) for kind in _KINDS)


def parse_faults(settings: Iterable[str], seed: int = 0) -> Faults:
    """Faults out of `NAME=VALUE`, such as "drop=0.01" and "drift=80". Raises InputError."""
    names = [field.name for field in fields(Faults) if field.name != "seed"]
    values: dict[str, float] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        name = name.strip().replace("-", "_")
        if name not in names:
            raise InputError(f"expected NAME=VALUE, the name one of {', '.join(names)}, found {setting!r}")
        if name in values:
            raise InputError(f"the fault {name} is given twice; give it once")
        try:
            values[name] = float(value)
        except ValueError:
            raise InputError(f"expected a number after {name}=, found {value!r}") from None
    return Faults(seed=seed, **values)


@dataclass(frozen=True, kw_only=True)
class FaultCounts:
    """How often each fault happened. A frame that arrives whole is none of dropped, flipped, stalled and disconnected.

    inserted_bytes: of all `inserted` together. stalled, disconnected: frames that fell into `stalls` and `disconnects`.
    """

    dropped: int = 0
    flipped: int = 0
    duplicated: int = 0
    inserted: int = 0
    inserted_bytes: int = 0
    split: int = 0
    stalls: int = 0
    stalled: int = 0
    disconnects: int = 0
    disconnected: int = 0
    electrodes_off: int = 0


class Event(Enum):
    """What happens on the line between bytes."""

    PAUSE = "pause"
    HANG_UP = "hang up"
    COME_BACK = "come back"


class FaultyLine:
    """Takes a device's frames in order, in batches of any size, and gives what its reader shall meet.

    frame_rate: frames a second, which turns seconds into frames. `totals` has the fields of FaultCounts.
    """

    def __init__(self, faults: Faults, frame_rate: float, channels: int) -> None:
        self.totals: Counter[str] = Counter()
        self._faults = faults
        self._frame_rate = frame_rate
        self._edges = np.cumsum(faults.rates)
        self._next = 0  # number of the frame that comes next, from 0
        self._silent_until = 0
        self._away = False
        self._block = (-1, np.empty(0))  # its number, and what was drawn for its frames
        self._off_until = np.zeros(channels, np.int64)

    def electrodes_off(self, count: int) -> NDArray[np.bool_]:
        """Whose electrode is off in each of the next `count` frames, (channels, count); asked once, before `damage`."""
        off = self._next + np.arange(count) < self._off_until[:, np.newaxis]
        for k in np.flatnonzero(self._fates(count) == _KINDS.index("electrode_off")).tolist():
            random = self._random(self._next + k)
            channel, frames = int(random.integers(len(off))), self._draw_frames(random)
            off[channel, k : k + frames] = True
            self._off_until[channel] = max(self._off_until[channel], self._next + k + frames)
            self.totals["electrodes_off"] += 1
        return off

    def damage(self, frames: list[bytes]) -> list[bytes | Event]:
        """What the next frames become."""
        fates = self._fates(len(frames))
        first, self._next = self._next, self._next + len(frames)
        if first >= self._silent_until and not self._away and (fates == len(_KINDS)).all():
            return [b"".join(frames)]
        names = (*_KINDS, None)
        pieces: list[bytes | Event] = []
        for number, (fate, frame) in enumerate(zip(fates.tolist(), frames, strict=True), first):
            pieces += self._meet(names[fate], number, frame)
        return pieces

    def _meet(self, fate: _Kind | None, number: int, frame: bytes) -> list[bytes | Event]:
        if number < self._silent_until:
            self.totals["disconnected" if self._away else "stalled"] += 1
            return []
        back: list[bytes | Event] = [Event.COME_BACK] if self._away else []
        self._away = False
        random = self._random(number) if fate else None
        return back + ([frame] if random is None or fate is None else self._suffer(fate, number, frame, random))

    def _suffer(self, fate: _Kind, number: int, frame: bytes, random: np.random.Generator) -> list[bytes | Event]:
        match fate:
            case "drop":
                self.totals["dropped"] += 1
                return []
            case "flip":
                self.totals["flipped"] += 1
                return [_flip(frame, int(random.integers(8 * len(frame))))]
            case "duplicate":
                self.totals["duplicated"] += 1
                return [frame, frame]
            case "insert":
                noise = random.bytes(int(random.integers(1, _MOST_NOISE + 1)))
                self.totals.update(inserted=1, inserted_bytes=len(noise))
                return [noise, frame]
            case "split":
                self.totals["split"] += 1
                at = int(random.integers(1, max(2, len(frame))))
                return [frame[:at], Event.PAUSE, frame[at:]]
            case "stall":
                self._silent_until = number + self._draw_frames(random)
                self.totals.update(stalls=1, stalled=1)
                return []
            case "disconnect":
                self._silent_until, self._away = number + self._draw_frames(random), True
                self.totals.update(disconnects=1, disconnected=1)
                return [Event.HANG_UP]
            case "electrode_off":
                return [frame]

    def _fates(self, count: int) -> NDArray[np.intp]:
        """For each of the next frames which of _KINDS it meets, len(_KINDS) for none."""
        first, start = divmod(self._next, _BLOCK)
        last = (self._next + count - 1) // _BLOCK
        draws = np.concatenate([self._draw_block(number) for number in range(first, last + 1)])
        return np.searchsorted(self._edges, draws[start : start + count], side="right")

    def _draw_block(self, number: int) -> NDArray[np.float64]:
        if self._block[0] != number:
            self._block = number, np.random.default_rng((self._faults.seed, 0, number)).random(_BLOCK)
        return self._block[1]

    def _random(self, number: int) -> np.random.Generator:
        """Decides the particulars of what frame `number` meets."""
        return np.random.default_rng((self._faults.seed, 1, number))

    def _draw_frames(self, random: np.random.Generator) -> int:
        return max(1, round(random.uniform(0.5, 1.5) * self._faults.seconds * self._frame_rate))


def _flip(frame: bytes, bit: int) -> bytes:
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
