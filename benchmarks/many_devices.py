"""Many devices on one small machine: is anything lost, and what does each cost?

usage: python benchmarks/many_devices.py [--devices 32] [--minutes 10] [--profile e8_12lead] [--record] [--json FILE]

The simulators play at true pace over ptys, in processes of their own; one process opens all of them, reads each in a
thread of its own as a gateway would, and looks at every sample's number. Its CPU time and memory are told per device
from the end of the first tenth on, when all are streaming. What the simulators could not get rid of in time counts as
lost too: the reader was too slow then. With --record each device is recorded to a file, as `uniecg record` does it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from uniecg_device import open_device
from uniecg_device.counts import output_leads
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.profile import load_profile
from uniecg_device.recording import record
from uniecg_device.recording_store import open_store
from uniecg_device.simulator import Simulator

ASKED = 2.0  # percent of a core for each
SIMULATING_PROCESSES = 2


@dataclass
class Tally:
    """Of one device. gaps: places where a block did not begin where the one before had ended."""

    samples: int = 0
    missing: int = 0
    gaps: int = 0
    skipped_bytes: int = 0


def follow(profile: str, url: str, tally: Tally, stop: threading.Event) -> None:
    """Reads a device until told to stop."""
    expected = None
    with open_device(profile, url, reconnect=0) as device:
        for block in device:
            start = round(block.start * block.fs)
            tally.gaps += expected is not None and start != expected
            tally.samples += block.signal.shape[1]
            expected = start + block.signal.shape[1]
            if stop.is_set():
                break
        stats = device.stats
    tally.missing = stats.lost_samples + stats.overflowed_samples + stats.estimated_lost_samples
    tally.skipped_bytes = stats.skipped_bytes


def keep(profile: str, url: str, tally: Tally, stop: threading.Event, file: Path) -> None:
    """Records a device, as `uniecg record` does, until told to stop; the tally is what the file holds in the end."""
    with closing(record(profile, url, file, synthetic=True, reconnect=0)) as steps:
        for _ in steps:
            if stop.is_set():
                break
    with open_store(file) as store:
        for piece in store.pieces():
            tally.gaps += piece.position != tally.samples + tally.missing
            tally.missing = piece.position - tally.samples
            tally.samples += piece.end - piece.position


@dataclass(frozen=True)
class Outcome:
    """missing: samples that a device sent and its reader did not get, of all devices; gaps likewise.

    cpu_percent: of one core, for each device. memory_mb: of the reading process after the first tenth, and at the end.
    """

    devices: int
    seconds: float
    recorded: bool
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


def measure(profile: str, devices: int, seconds: float, folder: Path | None = None) -> Outcome:
    """Reads the devices, or records each into a file in the folder, for so long."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for k in range(SIMULATING_PROCESSES):
        ours, theirs = context.Pipe()
        count = (devices + k) // SIMULATING_PROCESSES
        context.Process(target=play, args=(profile, count, theirs), daemon=True).start()
        pipes.append(ours)
    urls = [url for pipe in pipes for url in pipe.recv()]
    tallies, stop = [Tally() for _ in urls], threading.Event()
    threads = []
    for number, (url, tally) in enumerate(zip(urls, tallies, strict=True)):
        known = (profile, url, tally, stop)
        work = partial(follow, *known) if folder is None else partial(keep, *known, folder / f"{number}.uniecg")
        threads.append(threading.Thread(target=work, daemon=True))
    for thread in threads:
        thread.start()
    me = psutil.Process()
    time.sleep(seconds / 10)
    cpu, since, memory = time.process_time(), time.monotonic(), me.memory_info().rss
    time.sleep(seconds * 9 / 10)
    spent, after = time.process_time() - cpu, me.memory_info().rss
    share = 100 * spent / (time.monotonic() - since) / devices
    stop.set()
    for thread in threads:
        thread.join()
    for pipe in pipes:
        pipe.send(None)
    overrun = sum(pipe.recv() for pipe in pipes)
    known_profile = load_profile(profile)
    return Outcome(
        devices=devices,
        seconds=seconds,
        recorded=folder is not None,
        leads=len(output_leads(known_profile.leads)),
        fs=known_profile.fs,
        samples=sum(tally.samples for tally in tallies),
        missing=sum(tally.missing for tally in tallies) + overrun * known_profile.samples,
        gaps=sum(tally.gaps for tally in tallies),
        skipped_bytes=sum(tally.skipped_bytes for tally in tallies),
        cpu_percent=share,
        memory_mb=(memory / 1e6, after / 1e6),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--profile", default="e8_12lead")
    parser.add_argument("--record", action="store_true", help="each into a file, removed afterwards")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) if options.record else None
        found = measure(options.profile, options.devices, 60 * options.minutes, where)
    what = f"{found.devices} devices of {found.leads} leads at {found.fs:g} Hz"
    print(f"{what}, {'recorded' if found.recorded else 'read'} for {found.seconds / 60:g} min:")
    print(
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
