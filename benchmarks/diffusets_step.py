"""What folding DiffuSETS saves: one denoising step, and a whole drawing.

usage: python benchmarks/diffusets_step.py [--width 1536] [--runs 400] [--drawings 20] [--threads 2] [--clock wall]
       [--json FILE]

Prints the time of one denoising step by the folded graph that `uniecg export` writes and by the published network
exported as it is (self-attention projected twice, cross-attention computed, text and scalars combined in every step),
both in ONNX Runtime with the same options, in turn; their ratio with a 95 % interval over rounds; how far apart their
outputs are; and the time of a drawing through the runtime: condition, 50 steps of DDIM, decoder.

The shape is the published one and weights are drawn by the rule of tests/data/golden, because nobody at hand has the
trained ones: a CPU takes as long for either. `mish` is written in both by its sigmoid, which is faster than the
softplus and tanh of the published code. On a machine that is busy with other things the least time says more than the
median, and --clock cpu counts processor time of all threads.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from timing import ratio, take_turns
from uniecg_export.bundle import export_checkpoint
from uniecg_export.families import diffusets_unet
from uniecg_export.families.diffusets_unet import UNet
from uniecg_export.onnx_graphs import Arrays, Source, export_graph
from uniecg_export.weights import fill
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.backends.onnx import Graph
from uniecg_runtime.bench import latency
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.machine import machine
from uniecg_runtime.manifest import Artifact

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from golden import Golden

Inputs = dict[str, NDArray[Any]]
WIDTHS = (1536, 8192)  # of the text embedding: the paper's and the web demo's
STEP_RATIO = 1.5  # asked of the folded step
COLUMNS = (("least", 11), ("median", 9), ("p90", 9), ("p99", 9))
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
DRAWING_MS = 155.0  # asked of a drawing: half of what the published one takes


def tensors(name: str) -> dict[str, torch.Tensor]:
    """Golden weights under their published names."""
    return {key: torch.from_numpy(value) for key, value in Golden(name).weights().items()}


def published_bundle(width: int, folder: Path) -> Bundle:
    """Both published files as their authors write them, exported as anyone would."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    torch.save(tensors(f"diffusets_unet_{width}"), checkpoint / "unet_all.pth")
    torch.save({"decoder": tensors("diffusets_vae_decoder")}, checkpoint / "vae_model.pth")
    return Bundle.open(
        export_checkpoint(checkpoint, folder / "bundle", family="diffusets", precisions=("float32",)).folder
    )


def unfolded_graph(width: int, folder: Path, threads: int) -> Graph:
    """The published U-Net as one graph, nothing of it folded."""
    name = f"diffusets_unet_{width}"
    unet = UNet(diffusets_unet.config_from(Golden(name).shapes))
    fill(unet, tensors(name), Path(name))

    def draw(rng: np.random.Generator) -> Arrays:
        return inputs(width, rng)

    # The optimizer says that it leaves the splits of packed projections alone; ONNX Runtime folds them at load.
    logging.getLogger("onnxscript.optimizer._constant_folding").setLevel(logging.ERROR)
    path = folder / "unfolded.onnx"
    given, made = export_graph(Source("denoiser", unet, draw, ("noise",)), path, "unfolded")
    whole = Artifact("denoiser", path.name, "0" * 64, path.stat().st_size, "onnxruntime", "float32", given, made)
    return Graph(path, whole, threads=threads)


def inputs(width: int, rng: np.random.Generator) -> Inputs:
    """What the published U-Net takes, at the size that it meets."""
    return {
        "latent": rng.standard_normal((1, 4, 128), np.float32),
        "time": np.array([613]),
        "text": rng.standard_normal((1, 1, width), np.float32) / np.float32(np.sqrt(width)),
        "scalars": np.array([[1, 72, 64]], np.float32),
    }


def measure(options: argparse.Namespace, width: int, folder: Path) -> dict[str, Any]:
    """All figures of one width; `folder` is empty before."""
    threads, clock = options.threads, CLOCKS[options.clock]
    bundle = published_bundle(width, folder)
    unfolded = unfolded_graph(width, folder, threads)
    graphs = {
        role: Graph(bundle.path(role), bundle.manifest.artifact(role), threads=threads)
        for role in ("condition", "denoiser", "decoder")
    }
    given = inputs(width, np.random.default_rng(0))
    asked = {"text": given["text"], "scalars": given["scalars"]}
    (bias,) = graphs["condition"].run(**asked)
    step = {"latent": given["latent"], "time": given["time"], "condition": bias}
    (found,), (expected,) = graphs["denoiser"].run(**step), unfolded.run(**given)
    one = {"folded": partial(graphs["denoiser"].run, **step), "unfolded": partial(unfolded.run, **given)}
    steps = take_turns(one, options.runs, clock=clock)
    draw = partial(Assistant(bundle, threads=threads).generate, "", sex="male", age=72, heart_rate=64)
    whole: dict[str, Callable[[], object]] = {
        "condition": partial(graphs["condition"].run, **asked),
        "decoder": partial(graphs["decoder"].run, latent=given["latent"]),
        "drawing": partial(draw, embedding=given["text"].reshape(-1)),
    }
    drawn = take_turns(whole, options.drawings, warm_up=2, clock=clock)
    return {
        "width": width,
        "ms": {name: {"least": min(times), **asdict(latency(times))} for name, times in (steps | drawn).items()},
        "unfolded_by_folded": asdict(ratio(steps["unfolded"], steps["folded"])),
        "largest_difference": float(np.abs(found - expected).max()),
    }


def report(result: dict[str, Any]) -> None:
    """The figures of one width as lines."""
    ms, times = result["ms"], result["unfolded_by_folded"]
    print(f"text embedding of {result['width']}")
    print(f"  {'':28}{'least ms':>11}{'median':>9}{'p90':>9}{'p99':>9}{'runs':>7}")
    named = {"folded": "one step, folded", "unfolded": "one step, unfolded", "drawing": "drawing: 50 steps, decode"}
    for name, each in ms.items():
        row = "".join(f"{each[key]:{size}.2f}" for key, size in COLUMNS)
        print(f"  {named.get(name, name):28}{row}{each['runs']:7}")
    print(
        f"  unfolded / folded {times['value']:.2f} [{times['low']:.2f}, {times['high']:.2f}], asked {STEP_RATIO}; "
        f"drawing {ms['drawing']['median']:.0f} ms, asked below {DRAWING_MS:.0f}; "
        f"outputs differ by at most {result['largest_difference']:.1e}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, choices=WIDTHS, help="of the text embedding; both by default")
    parser.add_argument("--runs", type=int, default=400, help="steps of each kind")
    parser.add_argument("--drawings", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args(arguments)
    print(f"{machine().cpu}, {options.threads} threads, {options.clock} time")
    results = []
    for width in (options.width,) if options.width else WIDTHS:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(options, width, Path(folder)))
        report(results[-1])
    if options.json is not None:
        whole = {"machine": asdict(machine()), "threads": options.threads, "clock": options.clock, "widths": results}
        options.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
