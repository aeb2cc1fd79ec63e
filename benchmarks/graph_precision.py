"""A graph in every precision: size, time, and how far its outputs are from float32.

usage: python benchmarks/graph_precision.py ecg_coca
       python benchmarks/graph_precision.py GRAPH.onnx --inputs INPUTS.npz

A family's encoder gets its published shape, weights drawn by the tests' golden rule (random, not trained), calibration
on PTB-XL's folds 1-8 and measurement on fold 9, from $UNIECG_DATA. INPUTS.npz holds each input of a graph as one array
(calls, ...): the first half of the calls calibrates, the second measures. Times are medians of runs that take turns in
one process, with the runtime's session options. "plain" is onnxruntime.quantization's quantize_static as it comes
(min-max, symmetric, per channel, float32 biases): what int8_qdq has to beat.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from timing import ratio, take_turns
from uniecg_export.calibration import CALIBRATORS
from uniecg_export.graph_precision import GRAPH_PRECISIONS, reduce_graph
from uniecg_export.open_graph import Array, Inputs
from uniecg_export.sensitivity import worst_sqnr
from uniecg_runtime.machine import machine

Outputs = list[tuple[Array, ...]]


@dataclass
class Row:
    """One precision. ms: median of all runs; ratio: float32's by this one's, with its 95 % interval. share: of
    the products' weights that hold fewer bits. sqnr: dB, the worst output. cosine: the worst token's, and their mean,
    over the first output's last axis; both against float32 on inputs that calibrated nothing."""

    precision: str
    megabytes: float
    ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    share: float | None
    left: list[str]
    calibration_sqnr: float | None
    sqnr: float
    worst_cosine: float
    mean_cosine: float
    export_s: float


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """As `uniecg_runtime.backends.onnx` opens it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def family_graph(family: str, folder: Path, count: int) -> tuple[Path, list[Inputs], list[Inputs]]:
    """The encoder of a family as an ONNX file, and windows that calibrate and measure it."""
    import torch

    from golden import Golden
    from ptbxl_windows import read_windows
    from uniecg_export.checkpoint import read_checkpoint
    from uniecg_export.onnx_graphs import export_graph

    drawn = {name: torch.from_numpy(value) for name, value in Golden(family).weights().items()}
    torch.save({"state_dict": drawn}, folder / "checkpoint.pth")
    read = read_checkpoint(folder / "checkpoint.pth", family.partition("_1")[0])
    path = folder / "source.onnx"
    export_graph(next(source for source in read.sources if source.role == "encoder"), path, read.name)
    if read.preprocessing is None:
        sys.exit(f"error: {family} states no preprocessing; give its graph and inputs instead.")
    data = Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")).expanduser()
    calibration = read_windows(data, read.preprocessing, range(1, 9), count)
    return path, list(calibration), list(read_windows(data, read.preprocessing, (9,), count))


def stored_inputs(path: Path) -> tuple[list[Inputs], list[Inputs]]:
    """Both halves of the calls in an .npz file."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    calls: list[Inputs] = [dict(zip(arrays, values, strict=True)) for values in zip(*arrays.values(), strict=True)]
    if len(calls) < 2:
        sys.exit(f"error: expected two calls or more in {path}.")
    return calls[: len(calls) // 2], calls[len(calls) // 2 :]


def plain(source: Path, path: Path, calibration: Sequence[Inputs]) -> None:
    """ONNX Runtime's own static quantization of every operator that it can."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(calibration)

        def get_next(self) -> Any:
            return next(self.rest, None)

    options = {"QuantizeBias": False, "ActivationSymmetric": True, "WeightSymmetric": True}
    quantize_static(source, path, Reader(), per_channel=True, activation_type=QuantType.QInt8, extra_options=options)


def cosines(exact: Outputs, found: Outputs) -> np.ndarray:
    """The cosine of every vector along the last axis of the first output."""
    a, b = (np.concatenate([call[0].reshape(-1, call[0].shape[-1]) for call in calls]) for calls in (exact, found))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.sum(a * b, 1) / np.maximum(lengths, np.finfo(np.float32).tiny))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every precision of the graph, written to `folder`."""
    if options.graph.endswith(".onnx"):
        if options.inputs is None:
            sys.exit("error: give --inputs FILE.npz with a graph.")
        source, (calibration, fresh) = Path(options.graph), stored_inputs(options.inputs)
    else:
        source, calibration, fresh = family_graph(options.graph, folder, options.calls)
    made: dict[str, tuple[Path, Any, float]] = {}
    for precision in ("float32", *options.precisions):
        begin, path = time.perf_counter(), folder / f"{precision}.onnx"
        found = reduce_graph(source, path, precision, calibration, calibrator=options.calibrator, target=options.target)
        made[precision] = (path, found, time.perf_counter() - begin)
    if not options.no_plain:
        begin, path = time.perf_counter(), folder / "plain.onnx"
        plain(source, path, calibration)
        made["plain"] = (path, None, time.perf_counter() - begin)
    sessions = {name: open_session(path, options.threads) for name, (path, _, _) in made.items()}
    outputs = {name: [tuple(session.run(None, dict(call))) for call in fresh] for name, session in sessions.items()}
    calls = {name: partial(session.run, None, dict(fresh[0])) for name, session in sessions.items()}
    times = take_turns(calls, options.rounds, clock=time.thread_time if options.cpu_time else time.perf_counter)
    rows = []
    for name, (path, found, taken) in made.items():
        alike = cosines(outputs["float32"], outputs[name])
        faster = ratio(times["float32"], times[name])
        rows.append(
            Row(
                precision=name,
                megabytes=path.stat().st_size / 1e6,
                ms=median(times[name]),
                ratio=faster.value,
                ratio_low=faster.low,
                ratio_high=faster.high,
                share=found and found.share,
                left=list(found.left) if found and name != "float32" else [],
                calibration_sqnr=found and found.sqnr,
                sqnr=worst_sqnr(outputs["float32"], outputs[name]),
                worst_cosine=float(alike.min()),
                mean_cosine=float(alike.mean()),
                export_s=taken,
            )
        )
    return {
        "machine": machine().cpu,
        "threads": options.threads,
        "clock": "cpu" if options.cpu_time else "wall",
        "rounds": options.rounds,
        "calibration_calls": len(calibration),
        "measured_calls": len(fresh),
        "graph": options.graph,
        "rows": [asdict(row) for row in rows],
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", nargs="?", default="ecg_coca", help="a family with golden weights, or a file")
    parser.add_argument("--inputs", type=Path, help="for a file: its inputs, each as one array (calls, ...)")
    parser.add_argument("--precisions", nargs="+", choices=GRAPH_PRECISIONS[1:], default=GRAPH_PRECISIONS[1:])
    parser.add_argument("--calls", type=int, default=16, help="windows that calibrate, and as many that measure")
    parser.add_argument("--calibrator", choices=CALIBRATORS, default="mse")
    parser.add_argument("--target", type=float, help="dB on the calibration inputs, instead of each precision's own")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="of one thread, for a machine that is busy otherwise")
    parser.add_argument("--no-plain", action="store_true", help="leave out quantize_static as it comes")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    if options.cpu_time and options.threads != 1:
        sys.exit("error: --cpu-time sees the calling thread alone; give --threads 1.")
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    print(f"{result['graph']} on {result['machine']}")
    print(f"{result['threads']} threads, {result['rounds']} rounds in turn, {result['clock']} time")
    print(
        f"{'':14}{'MB':>8}{'ms':>8}{'faster':>8}{'weights':>9}{'SQNR':>9}{'worst cos':>11}{'mean cos':>10}{'export':>9}"
    )
    for row in result["rows"]:
        share = "" if row["share"] is None else f"{100 * row['share']:.1f} %"
        print(
            f"{row['precision']:14}{row['megabytes']:8.1f}{row['ms']:8.2f}{row['ratio']:7.2f}x{share:>9}"
            f"{row['sqnr']:6.1f} dB{row['worst_cosine']:11.5f}{row['mean_cosine']:10.5f}{row['export_s']:7.1f} s"
        )
    for row in result["rows"]:
        if row["left"]:
            print(f"{row['precision']} leaves in float32: {', '.join(row['left'])}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
