"""The delineator: where P, QRS and T of a usual beat begin, peak and end, read by a small network on all leads at once.

One-dimensional convolutions down to 23 Hz and up again (a U-Net, Ronneberger et al., arXiv 1505.04597) run on each lead
alone, with the same weights for all; at every level each lead is told the mean and the largest of what the present
leads hold, so that neither their number nor their order matters. Of each edge the network gives a
probability over cells of 8 ms, and its mean is the edge.

Trained by `uniecg_export.training.signal_delineator`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS
from uniecg_export.exportable import RESEARCH, Exportable, count_parameters
from uniecg_export.hf_language_model import CONFIG_BYTES, read_json
from uniecg_export.onnx_graphs import Arrays, Source
from uniecg_export.weights import build, needed_shape, read_state, shapes_of
from uniecg_runtime.manifest import Figure
from uniecg_runtime.signal.bounds import AFTER, BEFORE
from uniecg_runtime.signal.delineator import EDGES

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MARGIN = 3  # samples left out on each side, so that four levels halve evenly
CELL = 4  # samples of a cell at the finest level
QRS = slice(BEFORE - 50, BEFORE + 60)  # samples in which a lead's size is taken
SMALL = 12.0  # asinh of so many times a lead's shape shows P and T beside the QRS


class Level(nn.Module):
    """Two convolutions on each lead, the second beside what all present leads hold.

    (B x leads, inputs, cells) and which leads are present (B, leads), 1 or 0, -> (B x leads, width, cells).
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv1d(inputs, width, 5, padding=2), nn.GroupNorm(1, width)
        self.second, self.second_norm = nn.Conv1d(width, width, 5, padding=2), nn.GroupNorm(1, width)
        self.shared = nn.Conv1d(2 * width, width, 1)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        batch, leads = present.shape
        x = functional.silu(self.first_norm(self.first(x)))
        apart = x.reshape(batch, leads, x.shape[1], x.shape[2])
        weight = present[:, :, None, None]
        mean = (apart * weight).sum(1) / weight.sum(1).clamp_min(1.0)  # of no lead 0, for a first run on zeros
        largest = (apart - 1e4 * (1 - weight)).amax(1)
        told = self.shared(torch.cat([mean, largest], 1))[:, None].expand(-1, leads, -1, -1)
        return functional.silu(x + self.second_norm(self.second(x)) + told.reshape(x.shape))


class Delineator(nn.Module):
    """shape (B,12,550), present (B,12), rr (B,1) -> edges (B,12,9), as `uniecg_runtime.signal.delineator` says.

    widths: channels of each level, the finest first.
    """

    places: Tensor

    def __init__(self, widths: Sequence[int] = (16, 24, 32, 48), dropout: float = 0.1) -> None:
        super().__init__()
        self.widths = tuple(widths)
        finest, *deeper = self.widths
        self.stem = nn.Conv1d(5, finest, 9, stride=2, padding=4)
        self.down = nn.ModuleList(Level(a, b) for a, b in zip((finest, *self.widths), self.widths, strict=False))
        self.up = nn.ModuleList(Level(a + b, a) for a, b in zip(self.widths, deeper, strict=False))
        self.head = nn.Conv1d(finest, EDGES, 5, padding=2)
        self.dropout = nn.Dropout1d(dropout)
        cells = (BEFORE + AFTER - 2 * MARGIN) // CELL
        self.register_buffer("places", MARGIN + CELL * torch.arange(cells).float(), persistent=False)

    def forward(self, shape: Tensor, present: Tensor, rr: Tensor) -> Tensor:
        return self.mean(self.logits(shape, present, rr))

    def mean(self, logits: Tensor) -> Tensor:
        """Where each edge is expected, in samples of the shape."""
        return (functional.softmax(logits, -1) * self.places).sum(-1)

    def logits(self, shape: Tensor, present: Tensor, rr: Tensor) -> Tensor:
        """(B,12,9,136): of each edge, over the cells at `places`."""
        batch, leads = present.shape
        x = self.stem(self._channels(shape, rr))
        held = []
        for index, level in enumerate(self.down):
            x = level(functional.avg_pool1d(x, 2) if index else x, present)
            held.append(x)
        x = self.dropout(x)
        for index in reversed(range(len(self.up))):
            x = self.up[index](torch.cat([held[index], functional.interpolate(x, scale_factor=2.0)], 1), present)
        return self.head(self.dropout(x)).reshape(batch, leads, EDGES, -1)

    def _channels(self, shape: Tensor, rr: Tensor) -> Tensor:
        """(leads, 5, 272) at 250 Hz: the beat, its small waves enlarged, and how far the last, this and the next QRS
        are."""
        batch, leads, _ = shape.shape
        size = shape[:, :, QRS].abs().amax(2, keepdim=True).clamp_min(1e-9)
        beat = functional.avg_pool1d((shape / size)[:, :, MARGIN:-MARGIN], 2)
        time = torch.arange(beat.shape[2], device=shape.device) * (2 / 500) - (BEFORE - MARGIN) / 500
        time = time.to(shape.dtype)[None, None]
        ahead, behind = (time - rr[:, None]).clamp(-0.7, 0.3), (time + rr[:, None]).clamp(-0.3, 0.7)
        ramps = 2 * torch.cat([time.expand(batch, -1, -1), ahead, behind], 1)[:, None].expand(-1, leads, -1, -1)
        small = torch.asinh(SMALL * beat) / 2
        return torch.cat([torch.stack([beat, small], 2), ramps], 2).reshape(batch * leads, 5, -1)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained delineator. figures: measured on records that networks trained in the same way did not see."""

    model: Delineator
    trained_on: tuple[str, ...]
    figures: tuple[Figure, ...]


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Write config.json and model.safetensors, in fp16: those rounded weights are the model."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().half().contiguous() for name, value in checkpoint.model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    told = {
        "family": "delineator",
        "trained_on": checkpoint.trained_on,
        "figures": msgspec.to_builtins(checkpoint.figures),
    }
    (folder / CONFIG).write_text(json.dumps(told, indent=1) + "\n")


def load(folder: Path) -> Checkpoint:
    """Open a folder of `save`. Raises InputError for a file that is missing, damaged or does not fit."""
    fields = read_json(folder / CONFIG, CONFIG_BYTES)
    tensors = read_state(folder / WEIGHTS)
    shapes = shapes_of(tensors)
    deepest = sum(name.startswith("down.") and name.endswith(".first.weight") for name in shapes)
    widths = [needed_shape(shapes, f"down.{level}.first.weight", 3)[0] for level in range(max(1, deepest))]
    try:
        figures = msgspec.convert(fields.get("figures", []), tuple[Figure, ...])
        trained_on = msgspec.convert(fields.get("trained_on", []), tuple[str, ...])
    except msgspec.ValidationError as error:
        raise InputError(f"expected known figures in {folder / CONFIG}: {error}.") from None
    return Checkpoint(build(lambda: Delineator(widths), tensors, folder / WEIGHTS), trained_on, figures)


def source(model: Delineator) -> Source:
    """The one graph; batch 1, float32."""

    def draw(rng: np.random.Generator) -> Arrays:
        shape = rng.standard_normal((1, len(LEADS), BEFORE + AFTER), np.float32)
        present = np.ones((1, len(LEADS)), np.float32)
        present[:, 9:] = 0
        return {"shape": shape * present[:, :, None], "present": present, "rr": np.array([[0.8]], np.float32)}

    return Source("delineator", model, draw, ("edges",))


def read(folder: Path) -> Exportable:
    """Open a checkpoint folder. Raises InputError for anything else."""
    if not folder.is_dir():
        raise InputError(f"expected a folder with {CONFIG} and {WEIGHTS} at {folder}, found a file; give the folder.")
    checkpoint = load(folder)
    graphs = (source(checkpoint.model),)
    return Exportable(
        family="delineator",
        name="uniecg-delineator",
        version="0.1.0",
        licence="Apache-2.0",
        intended_use=RESEARCH,
        paper="",
        files=(folder / WEIGHTS,),
        sources=graphs,
        parameters=count_parameters(graphs),
        trained_on=checkpoint.trained_on,
        figures=checkpoint.figures,
    )
