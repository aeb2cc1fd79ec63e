"""ECGFounder: a one-dimensional residual network that names 150 diagnoses, for 12 leads or for lead I alone.

Facts are of PKUDigitalHealth/ECGFounder at commit 04edac702b61c91face519774ddcc0cd712fef23 (Net1D; MIT licence,
weights and code); this code is our own. Input is 10 s at 500 Hz, (1,12,5000) or (1,1,5000), z-scored over the
whole array, so without a unit; outputs are 150 logits before the sigmoid and the 1024 features under them.

A published file is `{"state_dict": ..., ...}`; `unpack` takes the tensors out of it. Its batch norms were built
and never applied: they load, and stay out of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS
from uniecg_export.exportable import RESEARCH, Exportable, count_parameters, numbered_labels
from uniecg_export.onnx_graphs import Arrays, Source
from uniecg_export.weights import Shapes, build, needed_shape, read_state, shapes_of
from uniecg_runtime.manifest import Preprocessing

BLOCK = "stage_list.{}.block_list.{}."


@dataclass(frozen=True)
class StageConfig:
    """Blocks of one width. inner: channels between a block's 1x1 convolutions, in `groups`; squeezed: of its gate."""

    blocks: int
    width: int
    inner: int
    groups: int
    squeezed: int


@dataclass(frozen=True)
class EcgFounderConfig:
    """The published geometry. stride: of every stage's first block and of the first convolution."""

    leads: int = 12
    base: int = 64
    kernel: int = 16
    stages: tuple[StageConfig, ...] = tuple(
        StageConfig(blocks, width, width, width // 16, width // 2)
        for blocks, width in zip((2, 2, 2, 3, 3, 4, 4), (64, 160, 160, 400, 400, 1024, 1024), strict=True)
    )
    labels: int = 150
    stride: int = 2
    samples: int = 5000


def config_from(shapes: Shapes) -> EcgFounderConfig:
    """The geometry that a checkpoint's tensors state. Raises InputError where one that states it is missing."""
    base, leads, kernel = needed_shape(shapes, "first_conv.conv.weight", 3)
    labels, _ = needed_shape(shapes, "dense.weight", 2)
    stages = [_stage_from(shapes, 0)]
    while BLOCK.format(len(stages), 0) + "conv3.conv.weight" in shapes:
        stages.append(_stage_from(shapes, len(stages)))
    return EcgFounderConfig(leads=leads, base=base, kernel=kernel, stages=tuple(stages), labels=labels)


def _stage_from(shapes: Shapes, stage: int) -> StageConfig:
    first = BLOCK.format(stage, 0)
    width, inner, _ = needed_shape(shapes, first + "conv3.conv.weight", 3)
    _, per_group, _ = needed_shape(shapes, first + "conv2.conv.weight", 3)
    squeezed, _ = needed_shape(shapes, first + "se_fc1.weight", 2)
    if inner % per_group:
        raise InputError(
            f"expected {first}conv2.conv.weight to split {inner} channels into equal groups, found groups of "
            f"{per_group}; give the published file, unchanged."
        )
    blocks = 1
    while BLOCK.format(stage, blocks) + "conv3.conv.weight" in shapes:
        blocks += 1
    return StageConfig(blocks, width, inner, inner // per_group, squeezed)


def unpack(state: Mapping[str, object]) -> dict[str, Tensor]:
    """What torch.load gives of a published file -> its tensors by published name; a flat dict passes through.

    Raises InputError where it holds something else.
    """
    held = state.get("state_dict", state)
    if not isinstance(held, Mapping):
        found = type(held).__name__
        raise InputError(f"expected tensors by name under 'state_dict', found {found}; give another file.")
    tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
    others = held.keys() - tensors.keys()
    if others or not tensors:
        raise InputError(
            f"expected an ECGFounder checkpoint, tensors by name or those under 'state_dict', found "
            f"{', '.join(sorted(map(str, others))[:5]) or 'nothing'}; give the published file."
        )
    return tensors


class SameConv(nn.Module):
    """Convolution that gives ceil(length / stride) samples, an odd pad's extra zero on the right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        left, right = same_pads(x.shape[2], self.conv.kernel_size[0], self.conv.stride[0])
        return self.conv(functional.pad(x, (left, right)) if right else x)


def same_pads(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after `length` samples so that a convolution gives ceil(length / stride)."""
    total = max(0, (-(-length // stride) - 1) * stride + kernel - length)
    return total // 2, total - total // 2


class Block(nn.Module):
    """Bottleneck of pre-activated convolutions with a squeeze-and-excitation gate (arXiv 1709.01507)."""

    def __init__(self, inputs: int, stage: StageConfig, kernel: int, stride: int, *, activate: bool) -> None:
        super().__init__()
        width, inner = stage.width, stage.inner
        self.stride, self.activate = stride, activate
        self.widen = (width - inputs) // 2, width - inputs - (width - inputs) // 2
        self.bn1 = nn.BatchNorm1d(inputs)  # bn1..3 are stored, never applied
        self.conv1 = SameConv(inputs, inner, 1)
        self.bn2 = nn.BatchNorm1d(inner)
        self.conv2 = SameConv(inner, inner, kernel, stride, stage.groups)
        self.bn3 = nn.BatchNorm1d(inner)
        self.conv3 = SameConv(inner, width, 1)
        self.se_fc1 = nn.Linear(width, stage.squeezed)
        self.se_fc2 = nn.Linear(stage.squeezed, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(x) if self.activate else x)
        y = self.conv3(functional.silu(self.conv2(functional.silu(y))))
        gate = torch.sigmoid(self.se_fc2(functional.silu(self.se_fc1(y.mean(2)))))
        return y * gate[:, :, None] + self.skip(x)

    def skip(self, x: Tensor) -> Tensor:
        """Max-pooled in time, with real zeros for what the last window lacks; new channels of zeros around the old.

        Published code pads stride - 1 samples always; those that no window reaches are left out here.
        """
        left = (self.stride - 1) // 2
        right = -(-x.shape[2] // self.stride) * self.stride - x.shape[2] - left
        x = functional.max_pool1d(with_zeros(x, left, right), self.stride) if self.stride > 1 else x
        return functional.pad(x, (0, 0, *self.widen)) if any(self.widen) else x


def with_zeros(x: Tensor, left: int, right: int) -> Tensor:
    """Zeros before and after in time, by concatenation.

    Not by a pad: ONNX Runtime moves a Pad into a MaxPool behind it (its PadFusion, microsoft/onnxruntime#18136),
    which then pads with -inf; logits were wrong in the second digit.
    """
    before, after = (x.new_full((*x.shape[:2], length), 0.0) for length in (left, max(0, right)))
    parts = [part for part in (before, x, after) if part.shape[2]]
    return torch.cat(parts, 2) if len(parts) > 1 else x


class Stage(nn.Module):
    """Blocks of one width, the first of them striding."""

    def __init__(self, inputs: int, stage: StageConfig, config: EcgFounderConfig, *, first: bool) -> None:
        super().__init__()
        self.block_list = nn.ModuleList(
            Block(
                stage.width if i else inputs,
                stage,
                config.kernel,
                1 if i else config.stride,
                activate=not (first and i == 0),  # the first convolution's activation is right before it
            )
            for i in range(stage.blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block_list:
            x = block(x)
        return x


class EcgFounder(nn.Module):
    """Signal (B,leads,5000) -> logits (B,150), features (B,1024): the mean over time of the last stage."""

    def __init__(self, config: EcgFounderConfig) -> None:
        super().__init__()
        self.config = config
        self.first_conv = SameConv(config.leads, config.base, config.kernel, config.stride)
        self.first_bn = nn.BatchNorm1d(config.base)
        inputs = (config.base, *(stage.width for stage in config.stages))
        self.stage_list = nn.ModuleList(
            Stage(inputs[i], stage, config, first=i == 0) for i, stage in enumerate(config.stages)
        )
        self.dense = nn.Linear(inputs[-1], config.labels)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.silu(self.first_conv(signal))
        for stage in self.stage_list:
            x = stage(x)
        features = x.mean(2)
        return self.dense(features), features


def sources(model: EcgFounder) -> tuple[Source, ...]:
    """The one graph; batch 1, float32."""
    config = model.config

    def encoder(rng: np.random.Generator) -> Arrays:
        return {"signal": rng.standard_normal((1, config.leads, config.samples), np.float32)}

    return (Source("encoder", model, encoder, ("logits", "features")),)


def read(path: Path) -> Exportable:
    """Open a published ECGFounder file, of 12 leads or of lead I. Raises InputError for anything else.

    Preprocessing is that of the repository's dataset.py, which its README tells users to follow.
    """
    tensors = unpack(read_state(path))
    config = config_from(shapes_of(tensors))
    graphs, leads = sources(build(lambda: EcgFounder(config), tensors, path)), config.leads
    if leads not in (1, len(LEADS)):
        raise InputError(f"expected an ECGFounder of 1 or 12 leads in {path}, found {leads}; give the published file.")
    return Exportable(
        family="ecgfounder",
        name=f"ecgfounder-{leads}-lead{'s' if leads > 1 else ''}",
        version=path.stem,
        licence="MIT",
        intended_use=RESEARCH,
        paper="https://arxiv.org/abs/2410.04133",
        files=(path,),
        sources=graphs,
        parameters=count_parameters(graphs),
        preprocessing=Preprocessing(
            fs=500.0,
            samples=config.samples,
            leads=LEADS[:leads],
            min_seconds=5.0,
            highpass_hz=0.67,
            lowpass_hz=40.0,
            notch_hz=50.0,
            median_seconds=0.4,
            scaling="record",
        ),
        classification=numbered_labels(config.labels),
    )
