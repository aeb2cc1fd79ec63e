"""Bytes to millivolts on one core, beside NumPy and BrainFlow: `python benchmarks/framing_throughput.py`.

usage: python benchmarks/framing_throughput.py [--frames 3000] [--rounds 301] [--line-frames 100000] [--json FILE]

In memory: clean frames of the Cyton and of the E8 unit, pushed and pulled as float32 millivolts, electrode states and
positions; beside a vectorised NumPy parse that checks the same constants and counters, but can do nothing except
refuse where one is wrong. Each in its plain form, and in the fastest that we could write.

Over a pty: what the simulated Cyton sends as fast as it is read, taken by `open_device` and by BrainFlow's own Cyton
driver (extra `peers`), each in a process of its own; the pty and the simulator bound the rate, so what counts is the
CPU time that a frame costs its reader.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timing import ratio, take_turns
from uniecg_device import open_device
from uniecg_device.encoder import encode_frames
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.profile import Profile, load_profile
from uniecg_device.simulator import Simulator

CYTON, E8 = load_profile("openbci_cyton"), load_profile("e8_12lead")
CYTON_BYTES, E8_BYTES = 33, 22
SCALE = {profile.name: np.float32(profile.scale_of(profile.channel[0])[0] ** -1) for profile in (CYTON, E8)}
ASKED = 3.0  # times the frames of NumPy
LINE_ROUNDS = 3

# Millivolts (channels, samples), electrodes off and positions (samples), as `Framer.pull` gives them.
Parsed = tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.uint64]]


def cyton_plain(data: bytes) -> Parsed:
    frames = _cyton_frames(data)
    high, middle, low = (frames[:, 2 + k : 26 : 3].T.astype(np.int32, order="C") for k in range(3))
    return _parsed(((high << 24 | middle << 16 | low << 8) >> 8) * SCALE[CYTON.name])


def cyton_words(data: bytes) -> Parsed:
    """With overlapping views: each number is the upper part of four bytes, which NumPy turns while it copies them."""
    count = len(_cyton_frames(data))
    words = np.ndarray((8, count), ">i4", data, offset=2, strides=(3, CYTON_BYTES))
    return _parsed((words.astype(np.int32) >> 8) * SCALE[CYTON.name])


def e8_plain(data: bytes) -> Parsed:
    frames = _e8_frames(data)
    high, low = (np.ascontiguousarray(frames[:, k : 21 + k - 5 : 2].T) for k in (5, 6))
    counts = (high & 0x1F).astype(np.int16) << 7 | (low & 0x7F)
    off = np.packbits(high & 0x20 == 0, axis=0, bitorder="little")[0].astype(np.uint32)
    return _parsed((counts - np.int16(2048)) * SCALE[E8.name], off)


def e8_words(data: bytes) -> Parsed:
    """With both bytes of a number taken as one."""
    count = len(_e8_frames(data))
    words = np.ndarray((count, 8), ">u2", data, offset=5, strides=(E8_BYTES, 2)).astype(np.uint16)
    counts = ((words & 0x1F00) >> 1 | (words & 0x7F)).astype(np.int16) - np.int16(2048)
    off = np.packbits(words & 0x2000 == 0, axis=1, bitorder="little")[:, 0].astype(np.uint32)
    return _parsed(np.ascontiguousarray((counts * SCALE[E8.name]).T), off)


PEERS: dict[str, dict[str, Callable[[bytes], Parsed]]] = {
    CYTON.name: {"NumPy": cyton_plain, "NumPy, words": cyton_words},
    E8.name: {"NumPy": e8_plain, "NumPy, words": e8_words},
}


def _parsed(millivolts: NDArray[np.float32], off: NDArray[np.uint32] | None = None) -> Parsed:
    count = millivolts.shape[1]
    return millivolts, np.zeros(count, np.uint32) if off is None else off, np.arange(count, dtype=np.uint64)


def _cyton_frames(data: bytes) -> NDArray[np.uint8]:
    frames = np.frombuffer(data, np.uint8).reshape(-1, CYTON_BYTES)
    if (frames[:, 0] != 0xA0).any() or (frames[:, -1] & 0xF0 != 0xC0).any() or (np.diff(frames[:, 1]) != 1).any():
        raise ValueError("not clean")
    return frames


def _e8_frames(data: bytes) -> NDArray[np.uint8]:
    frames = np.frombuffer(data, np.uint8).reshape(-1, E8_BYTES)
    constants = frames[:, [0, 2, 3, 21]] != np.array([0xE8, 0x11, 0x20, 0x8E], np.uint8)
    if constants.any() or (np.diff(frames[:, 1]) & 63 != 1).any():
        raise ValueError("not clean")
    return frames


def clean_wire(profile: Profile, frames: int) -> bytes:
    """Frames of any counts, all electrodes on."""
    limits = np.array([channel.range for channel in profile.channel])
    random = np.random.default_rng(0)
    counts = random.integers(limits[:, :1], limits[:, 1:] + 1, (len(limits), frames))
    return encode_frames(profile, counts).tobytes()


def in_memory(profile: Profile, frames: int, rounds: int) -> dict[str, Any]:
    """CPU nanoseconds a frame of each, and how often ours does what a peer does once."""
    data = clean_wire(profile, frames)
    framer = profile.make_framer(frames)

    def ours() -> Parsed:
        framer.push(data)
        return framer.pull(frames)

    calls: dict[str, Callable[[], object]] = {"libuniecg": ours}
    for name, peer in PEERS[profile.name].items():
        calls[name] = lambda peer=peer: peer(data)
        for one, other in zip(ours()[:2], peer(data)[:2], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    times = take_turns(calls, rounds, clock=time.thread_time)
    each = {name: float(np.median(spent)) * 1e6 / frames for name, spent in times.items()}
    return {
        "profile": profile.name,
        "frame_bytes": len(data) // frames,
        "ns_per_frame": each,
        "million_frames_per_second": {name: 1e3 / spent for name, spent in each.items()},
        "times": {name: vars(ratio(times[name], times["libuniecg"])) for name in PEERS[profile.name]},
    }


def over_a_line(frames: int) -> dict[str, list[dict[str, float]]]:
    """What each reader of the simulated Cyton's pty says, in turn."""
    readers = {"libuniecg": read_ours, "BrainFlow": read_brainflow}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in readers}
    recording = simulate(ParametricEcg(heart_rate=70), 20.0, 500.0, 0)
    for _ in range(LINE_ROUNDS):
        for name in readers:
            with Simulator(CYTON, recording, speed=None) as device:
                command = [sys.executable, "-W", "ignore", __file__, "--read", name, device.url]
                done = subprocess.run(
                    [*command, "--line-frames", str(frames)], capture_output=True, text=True, check=False
                )
            if done.returncode:
                print(f"{name} not measured: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    return {name: runs for name, runs in found.items() if runs}


def read_ours(port: str, frames: int) -> dict[str, float]:
    with open_device(CYTON, port) as device:
        next(device)
        got, begin, spent = 0, time.perf_counter(), time.process_time()
        while got < frames:
            got += next(device).signal.shape[1]
        return _rate(got, begin, spent, device.stats.lost_samples + device.stats.skipped_bytes)


def read_brainflow(port: str, frames: int) -> dict[str, float]:
    from brainflow.board_shim import BoardIds, BoardShim, BrainFlowInputParams

    BoardShim.disable_board_logger()
    parameters = BrainFlowInputParams()
    parameters.serial_port = port
    board = BoardShim(BoardIds.CYTON_BOARD.value, parameters)
    board.prepare_session()
    board.start_stream(450_000)
    while board.get_board_data_count() == 0:
        time.sleep(0.01)
    board.get_board_data()
    got, begin, spent, steps = 0, time.perf_counter(), time.process_time(), []
    while got < frames:
        data = board.get_board_data()
        if data.shape[1] == 0:
            time.sleep(0.002)
            continue
        got += data.shape[1]
        steps.append(data[0])
    result = _rate(got, begin, spent, int(np.count_nonzero(np.diff(np.concatenate(steps)) % 256 != 1)))
    board.stop_stream()
    board.release_session()
    return result


def _rate(frames: int, begin: float, spent: float, faults: int) -> dict[str, float]:
    seconds, cpu = time.perf_counter() - begin, time.process_time() - spent
    return {"frames_per_second": frames / seconds, "cpu_us_per_frame": 1e6 * cpu / frames, "faults": faults}


READERS = {"libuniecg": read_ours, "BrainFlow": read_brainflow}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=3000, help="at once, in memory")
    parser.add_argument("--rounds", type=int, default=301)
    parser.add_argument("--line-frames", type=int, default=100_000, help="over the pty; 0 leaves that part out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", nargs=2, metavar=("READER", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.read:
        print(json.dumps(READERS[options.read[0]](options.read[1], options.line_frames)))
        return
    # One core, of which NumPy's own threads would otherwise take more.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    memory = []
    for profile in (CYTON, E8):
        memory.append(in_memory(profile, options.frames, options.rounds))
        tell(memory[-1])
    line = over_a_line(options.line_frames) if options.line_frames else {}
    tell_line(line)
    if options.json:
        result = {"frames": options.frames, "rounds": options.rounds, "in_memory": memory, "over_a_line": line}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def tell(found: dict[str, Any]) -> None:
    print(f"{found['profile']}, {found['frame_bytes']} bytes a frame, clean, in memory, one core")
    for name, spent in found["ns_per_frame"].items():
        print(f"  {name:14} {spent:6.1f} ns a frame, {found['million_frames_per_second'][name]:6.1f} M frames/s")
    for name, times in found["times"].items():
        asked = f"; asked {ASKED:g}" if name == "NumPy" else ""
        print(f"  {times['value']:.2f} x {name} ({times['low']:.2f}-{times['high']:.2f}){asked}")


def tell_line(found: dict[str, list[dict[str, float]]]) -> None:
    for name, runs in found.items():
        rate, cpu = (float(np.median([run[key] for run in runs])) for key in ("frames_per_second", "cpu_us_per_frame"))
        faults = sum(run["faults"] for run in runs)
        said = f"{rate:.0f} frames/s, {cpu:.2f} us of CPU a frame, {faults:.0f} faults"
        print(f"{CYTON.name} over a pty, {name}: {said} (median of {LINE_ROUNDS})")


if __name__ == "__main__":
    main()
