"""Many devices on one small machine: is anything lost, and what does each cost?

usage: python benchmarks/many_devices.py [--devices 32] [--minutes 10] [--profile e8_12lead] [--json FILE]

The simulators play at true pace over ptys, in processes of their own; one process opens all of them, reads each in a
thread of its own as a gateway would, and looks at every sample's number. Its CPU time and memory are told per device
from the end of the first tenth on, when all are streaming. What the simulators could not get rid of in time counts as
lost too: the reader was too slow then.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import threading
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from uniecg_device import open_device
from uniecg_device.device import Device
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.simulator import Simulator

ASKED = 2.0  # percent of a core for each
SIMULATING_PROCESSES = 2


@dataclass
class Reader:
    """What one thread saw. gaps: places where a block did not begin where the one before had ended."""

    device: Device
    samples: int = 0
    gaps: int = 0

    def run(self) -> None:
        expected = None
        for block in self.device:
            start = round(block.start * block.fs)
            self.gaps += expected is not None and start != expected
            self.samples += block.signal.shape[1]
            expected = start + block.signal.shape[1]


@dataclass(frozen=True)
class Outcome:
    """missing: samples that a device sent and its reader did not get, of all devices; gaps likewise.

    cpu_percent: of one core, for each device. memory_mb: of the reading process after the first tenth, and at the end.
    """

    devices: int
    seconds: float
    leads: int
    fs: float
    samples: int
    missing: int
    gaps: int
    skipped_bytes: int
    cpu_percent: float
    memory_mb: tuple[float, float]


def play(profile: str, count: int, pipe: Connection) -> None:
    """Simulates so many devices until told to stop; sends their ports, then how many frames nobody took."""
    recordings = [simulate(ParametricEcg(heart_rate=50 + 3 * k), 20.0, 500.0, k) for k in range(count)]
    devices = [Simulator(profile, recording) for recording in recordings]
    pipe.send([device.url for device in devices])
    pipe.recv()
    overrun = sum(device.stats.overrun for device in devices)
    for device in devices:
        device.close()
    pipe.send(overrun)


def measure(profile: str, devices: int, seconds: float) -> Outcome:
    context = multiprocessing.get_context("spawn")
    pipes = []
    for k in range(SIMULATING_PROCESSES):
        ours, theirs = context.Pipe()
        count = (devices + k) // SIMULATING_PROCESSES
        context.Process(target=play, args=(profile, count, theirs), daemon=True).start()
        pipes.append(ours)
    readers = [Reader(open_device(profile, url, reconnect=0)) for pipe in pipes for url in pipe.recv()]
    threads = [threading.Thread(target=reader.run, daemon=True) for reader in readers]
    for thread in threads:
        thread.start()
    me = psutil.Process()
    time.sleep(seconds / 10)
    cpu, since, memory = time.process_time(), time.monotonic(), me.memory_info().rss
    time.sleep(seconds * 9 / 10)
    spent, after = time.process_time() - cpu, me.memory_info().rss
    share = 100 * spent / (time.monotonic() - since) / devices
    stats = [reader.device.stats for reader in readers]
    for reader in readers:
        reader.device.close()
    for pipe in pipes:
        pipe.send(None)
    overrun = sum(pipe.recv() for pipe in pipes)
    lost = sum(each.lost_samples + each.overflowed_samples + each.estimated_lost_samples for each in stats)
    device = readers[0].device
    return Outcome(
        devices=devices,
        seconds=seconds,
        leads=len(device.leads),
        fs=device.fs,
        samples=sum(each.samples for each in stats),
        missing=lost + overrun * device.profile.samples,
        gaps=sum(reader.gaps for reader in readers),
        skipped_bytes=sum(each.skipped_bytes for each in stats),
        cpu_percent=share,
        memory_mb=(memory / 1e6, after / 1e6),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--profile", default="e8_12lead")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found = measure(options.profile, options.devices, 60 * options.minutes)
    print(
        f"{found.devices} devices of {found.leads} leads at {found.fs:g} Hz for {found.seconds / 60:g} min: "
        f"{found.samples} samples a lead, {found.missing} missing, {found.gaps} gaps, "
        f"{found.skipped_bytes} bytes skipped"
    )
    print(f"CPU for each: {found.cpu_percent:.2f} % of a core (asked below {ASKED:g})")
    before, after = found.memory_mb
    print(f"memory of the reading process: {before:.0f} MB after a tenth of the time, {after:.0f} MB at the end")
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=2) + "\n")


if __name__ == "__main__":
    main()
