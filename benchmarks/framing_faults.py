"""A damaged line, and what the native framer makes of it: `python benchmarks/framing_faults.py [--minutes 10]`.

Twelve leads of 24 bits at 500 Hz in frames with a 16-bit counter and a checksum of 8 bits, about 1 % of whose bytes are
hit: by single flipped bits, and by lost, doubled and inserted bytes. Every frame that arrived whole must come out, bit
by bit and in its place, and the framer's counts must be what was injected.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_device.encoder import encode_wire
from uniecg_device.faults import FaultCounts, Faults, FaultyLine
from uniecg_device.grammar import Checksum, Counter, Frame, Match
from uniecg_device.profile import Channel, Port, Profile, Scale
from uniecg_device.signals import LEADS

FRAME_BYTES = 42
PROFILE = Profile(
    name="twelve",
    title="12 leads of 24 bits, counter and checksum",
    fs=500,
    port=Port(baud=460800),
    scale=Scale(counts_per_mv=1000, offset=0, basis="measured", confidence="high", provenance="made up"),
    frame=Frame(
        sync="A5 5A",
        length=FRAME_BYTES,
        counter=Counter(byte=2, type="u16le", modulus=65536),
        checksum=Checksum(kind="sum8", byte=40, first=2, last=39),
        footer=(Match(-1, 0x0D),),
    ),
    channel=tuple(Channel(lead=lead, byte=4 + 3 * k, type="i24be") for k, lead in enumerate(LEADS)),
)
FAULTS = Faults(flip=0.3, drop=0.002, duplicate=0.001, insert=0.004, stall=4e-5, seconds=0.1)
_BATCH = 500  # frames
_LARGEST_READ = 4096  # bytes


@dataclass(frozen=True)
class Outcome:
    """What was injected into so many frames, and what the framer counted.

    missing: frames that arrived whole and did not come out. wrong: samples that came out and were not sent, or stand in
    a wrong place. uncounted: samples lost between the first and the last to arrive, less those that the framer counted.
    unexplained: bytes damaged or inserted, less those that the framer skipped; a frame's worth may wait at the end.
    seconds: that the framer took.
    """

    frames: int
    injected: FaultCounts
    counters: dict[str, int]
    missing: int
    wrong: int
    uncounted: int
    unexplained: int
    seconds: float

    @property
    def share_hit(self) -> float:
        """Bytes flipped, lost, doubled or inserted, of all that were sent."""
        whole = self.injected.dropped + self.injected.stalled + self.injected.duplicated
        return (self.injected.flipped + self.injected.inserted_bytes) / (
            self.frames * FRAME_BYTES
        ) + whole / self.frames

    @property
    def exact(self) -> bool:
        """Whether nothing was missed and every count is what was injected."""
        duplicates = self.counters["duplicates"] - self.injected.duplicated
        return not (self.missing or self.wrong or self.uncounted or duplicates) and 0 <= self.unexplained < FRAME_BYTES


def measure(frames: int, seed: int = 0, faults: Faults = FAULTS) -> Outcome:
    """Sends so many frames through the faults, in pieces of any size, and holds what comes out against what went in."""
    random = np.random.default_rng(seed)
    sent = random.integers(-(1 << 23), 1 << 23, (len(LEADS), frames))
    line = FaultyLine(dataclasses.replace(faults, seed=seed), PROFILE.fs, len(LEADS))
    framer = PROFILE.make_framer(frames)
    spent = 0.0
    for first in range(0, frames, _BATCH):
        data = _send(line, sent[:, first : first + _BATCH], first)
        edges = [0, *np.cumsum(random.integers(1, _LARGEST_READ, 2 + len(data) // (_LARGEST_READ // 4))).tolist()]
        pieces = [data[begin:end] for begin, end in zip(edges, [*edges[1:], len(data)], strict=True)]
        begin = time.perf_counter()
        for piece in pieces:
            framer.push(piece)
        spent += time.perf_counter() - begin
    counts, _, positions = framer.pull_counts(frames)
    return _compare(sent, counts, positions, FaultCounts(**line.totals), framer.counters(), spent)


def _send(line: FaultyLine, counts: NDArray[np.int64], first: int) -> bytes:
    pieces = line.damage(encode_wire(PROFILE, counts, None, first))
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def _compare(
    sent: NDArray[np.int64],
    received: NDArray[np.int32],
    positions: NDArray[np.uint64],
    injected: FaultCounts,
    counters: dict[str, int],
    seconds: float,
) -> Outcome:
    frames = sent.shape[1]
    # Positions count from the first frame that arrived: frames are random, so only one place fits.
    origin = int(np.flatnonzero((sent == received[:, :1]).all(axis=0))[0])
    numbers = positions.astype(np.int64) + origin
    within = numbers < frames
    right = (sent[:, numbers[within]] == received[:, within]).all(axis=0)
    damaged = injected.dropped + injected.flipped + injected.stalled
    between = int(numbers[-1]) - origin + 1 - len(numbers)
    return Outcome(
        frames=frames,
        injected=injected,
        counters=counters,
        missing=frames - damaged - len(numbers),
        wrong=len(numbers) - int(right.sum()),
        uncounted=between - counters["lost_samples"],
        unexplained=FRAME_BYTES * injected.flipped + injected.inserted_bytes - counters["skipped_bytes"],
        seconds=seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    outcome = measure(round(told.minutes * 60 * PROFILE.fs), told.seed)
    print(f"{outcome.frames} frames, {100 * outcome.share_hit:.2f} % of bytes hit")
    print("injected:", ", ".join(f"{n} {name}" for name, n in dataclasses.asdict(outcome.injected).items() if n))
    print("framer:  ", ", ".join(f"{n} {name}" for name, n in outcome.counters.items() if n))
    print(f"missing {outcome.missing}, wrong {outcome.wrong}, uncounted {outcome.uncounted} samples")
    print(f"framed in {outcome.seconds:.2f} s;", "exact" if outcome.exact else "NOT exact")


if __name__ == "__main__":
    main()
