"""Weights in 4 bits: blocks of input channels share a scale, the arithmetic stays float.

Written as opset 21's blocked DequantizeLinear before a MatMul, which ONNX Runtime fuses to its MatMulNBits and TensorRT
takes as it is. With calibration inputs the rounding is GPTQ's (Frantar et al., 2022, arXiv 2210.17323): each input
channel's rounding error is made up for by the channels behind it, as the activations' second moments say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from uniecg_export.open_graph import Array, OpenGraph, Product, rewired, rewrite

OPSET: Final = 21
BLOCK: Final = 32
LOWEST, HIGHEST = -8, 7
DAMPING: Final = 0.01  # of the mean second moment, as published
CLIPS: Final = tuple(np.linspace(0.6, 1.0, 9))  # of a block's largest magnitude
_TINY: Final = float(np.finfo(np.float32).tiny)

Blocks = tuple[NDArray[np.int8], NDArray[np.float32]]


def products(graph: OpenGraph) -> list[Product]:
    """The products that take 4-bit weights: MatMuls whose input channels are whole blocks, as TensorRT asks."""
    return [p for p in graph.products if p.operator == "MatMul" and graph.constants[p.weight].shape[0] % BLOCK == 0]


def quantize_blocks(weight: NDArray[np.float32], moments: NDArray[np.float64] | None = None) -> Blocks:
    """Codes (in, out) from -8 to 7, and scales (in / BLOCK, out); the weight is (in, out), in a multiple of BLOCK.

    moments: (in, in), the sum of x x' over the activations that the weight multiplies; without it each weight is
    rounded to the nearest.
    """
    inputs, outputs = weight.shape
    rest = weight.astype(np.float64)
    codes, scales = np.empty(weight.shape, np.int8), np.empty((inputs // BLOCK, outputs), np.float32)
    factor = None if moments is None else _factor(moments)
    for number in range(inputs // BLOCK):
        rows = slice(number * BLOCK, (number + 1) * BLOCK)
        importance = np.ones(BLOCK) if factor is None else 1 / np.diag(factor)[rows] ** 2
        scale = _best_scale(rest[rows], importance)
        scales[number] = scale
        errors = np.zeros((BLOCK, outputs))
        for i in range(rows.start, rows.stop):
            codes[i] = np.clip(np.rint(rest[i] / scale), LOWEST, HIGHEST)
            if factor is not None:
                error = (rest[i] - codes[i] * scale) / factor[i, i]
                rest[i + 1 : rows.stop] -= np.outer(factor[i, i + 1 : rows.stop], error)
                errors[i - rows.start] = error
        if factor is not None:
            rest[rows.stop :] -= factor[rows, rows.stop :].T @ errors
    return codes, scales


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


def _factor(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upper Cholesky factor of the damped moments' inverse; row i says how later channels make up for i."""
    damped = moments.astype(np.float64)
    mean = float(np.mean(np.diag(damped))) or 1.0
    damped[np.diag_indices_from(damped)] += DAMPING * mean
    inverse = np.linalg.inv(damped)
    return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T, np.float64)


def _best_scale(block: NDArray[np.float64], importance: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each column of a block the step whose rounding and cutting lose least, weighed by row: (out,)."""
    largest = np.abs(block).max(0) / HIGHEST
    tried = [np.maximum(largest * clip, _TINY) for clip in CLIPS]
    losses = [importance @ (block - np.clip(np.rint(block / scale), LOWEST, HIGHEST) * scale) ** 2 for scale in tried]
    best: NDArray[np.float64] = np.choose(np.argmin(losses, 0), tried)
    # As stored: the codes are for the scale that is read back.
    return best.astype(np.float32).astype(np.float64)
