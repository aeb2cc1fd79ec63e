"""Weights in 4 bits: blocks of input channels share a scale, the arithmetic stays float.

Written as opset 21's blocked DequantizeLinear before a MatMul, which ONNX Runtime fuses to its MatMulNBits and TensorRT
takes as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from uniecg_export.open_graph import Array, OpenGraph, Product, rewired, rewrite
from uniecg_export.rounding import Doubles, Moments, round_weight

OPSET: Final = 21
BLOCK: Final = 32
LOWEST, HIGHEST = -8, 7
CLIPS: Final = tuple(np.linspace(0.6, 1.0, 9))  # of a block's largest magnitude
_TINY: Final = float(np.finfo(np.float32).tiny)

Blocks = tuple[NDArray[np.int8], NDArray[np.float32]]


def products(graph: OpenGraph) -> list[Product]:
    """The products that take 4-bit weights: MatMuls whose input channels are whole blocks, as TensorRT asks."""
    return [p for p in graph.products if p.operator == "MatMul" and graph.constants[p.weight].shape[0] % BLOCK == 0]


def quantize_blocks(weight: NDArray[np.float32], moments: Moments | None = None) -> Blocks:
    """Codes (in, out) from -8 to 7, and scales (in / BLOCK, out); the weight is (in, out), in a multiple of BLOCK.

    moments: see `round_weight`.
    """
    return round_weight(weight, _best_step, BLOCK, (LOWEST, HIGHEST), moments)


def quantize_weights(graph: OpenGraph, names: Collection[str], blocks: Mapping[str, Blocks]) -> OpenGraph:
    """The MatMuls called `names` with their weights in 4 bits. blocks: weight -> codes and scales.

    Of opset 20's operators that are not deprecated in it, none means something else in opset 21.
    """
    constants: dict[str, Array] = {}
    changed: dict[str, list[NodeProto]] = {}
    for product in graph.products:
        if product.name not in names:
            continue
        weight = product.weight
        codes, scales = blocks[weight]
        constants[f"{weight}.int4"], constants[f"{weight}.int4_scale"] = codes.astype(ml_dtypes.int4), scales
        held = helper.make_node(
            "DequantizeLinear",
            [f"{weight}.int4", f"{weight}.int4_scale"],
            [f"{product.name}.float"],
            f"{product.name}.weight",
            axis=0,
            block_size=BLOCK,
        )
        changed[product.name] = [held, rewired(graph.node(product.name), {1: f"{product.name}.float"})]
    return rewrite(graph, changed, constants, opset=max(graph.opset, OPSET))


def _best_step(block: Doubles, importance: Doubles) -> NDArray[np.float32]:
    """For each column of a block the step whose rounding and cutting lose least, weighed by row."""
    largest = np.abs(block).max(0) / HIGHEST
    tried = [np.maximum(largest * clip, _TINY).astype(np.float32) for clip in CLIPS]
    losses = [importance @ (block - np.clip(np.rint(block / step), LOWEST, HIGHEST) * step) ** 2 for step in tried]
    return np.asarray(np.choose(np.argmin(losses, 0), tried), np.float32)
