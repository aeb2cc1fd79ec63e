"""Products in int8: dynamic, whose activations are measured at every call, and Q/DQ, whose scales are in the graph.

Weights are symmetric with one scale for each output channel. Symmetric means a zero point of 0, which is the only one
TensorRT takes, and codes from -127 to 127.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from uniecg_export.open_graph import Array, OpenGraph, Product, rewired, rewrite
from uniecg_export.rounding import Moments, round_weight

Codes = tuple[NDArray[np.int8], NDArray[np.float32]]

LARGEST: Final = 127
ROWS: Final = 128  # input channels that are rounded before the rest hears of their errors; any number gives the same
_TINY: Final = float(np.finfo(np.float32).tiny)


def scale_of(threshold: Array | float) -> NDArray[np.float32]:
    """The step of symmetric int8 whose largest code stands for `threshold`; a normal number, never 0."""
    return np.maximum(np.asarray(threshold, np.float64) / LARGEST, _TINY).astype(np.float32)


def quantize_weight(weight: NDArray[np.float32], axis: int, moments: Moments | None = None) -> Codes:
    """int8 codes of the weight's shape, and scales (channels,) along `axis`; without `moments` (see `round_weight`, for
    weights (in, out) alone) code * scale is within scale / 2 of the weight."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = scale_of(np.abs(weight).max(axis=others))
    if moments is not None:
        return round_weight(weight, lambda *_: scale, ROWS, (-LARGEST, LARGEST), moments)[0], scale
    spread = np.expand_dims(scale, others)
    return np.clip(np.rint(weight / spread), -LARGEST, LARGEST).astype(np.int8), scale


def quantize_dynamic(graph: OpenGraph, names: Collection[str], weights: Mapping[str, Codes]) -> OpenGraph:
    """The MatMuls called `names` as MatMulInteger between a DynamicQuantizeLinear and the two scales' product.

    Activations get uint8 codes from their own smallest and largest value at every call. ONNX Runtime runs what is
    written here as one kernel. weights: weight -> what `quantize_weight` made of it. Convs are not taken: in
    ONNX Runtime ConvInteger is slower than float32.
    """
    constants: dict[str, Array] = {}
    changed: dict[str, list[NodeProto]] = {}
    seen: set[str] = set()
    for product in _chosen(graph, names, ("MatMul",)):
        data, weight = product.data, product.weight
        result = graph.node(product.name).output[0]
        constants[f"{weight}.int8"], constants[f"{weight}.int8_scale"] = weights[weight]
        codes, scale, zero = f"{data}.codes", f"{data}.step", f"{data}.zero"
        first = [helper.make_node("DynamicQuantizeLinear", [data], [codes, scale, zero], f"{data}.quantize")]
        changed[product.name] = [
            *(first if data not in seen else []),
            helper.make_node("MatMulInteger", [codes, f"{weight}.int8", zero], [f"{result}.int32"], product.name),
            helper.make_node(
                "Cast", [f"{result}.int32"], [f"{result}.float"], f"{product.name}.cast", to=TensorProto.FLOAT
            ),
            helper.make_node("Mul", [scale, f"{weight}.int8_scale"], [f"{result}.step"], f"{product.name}.step"),
            helper.make_node("Mul", [f"{result}.float", f"{result}.step"], [result], f"{product.name}.scale"),
        ]
        seen.add(data)
    return rewrite(graph, changed, constants)


def quantize_static(
    graph: OpenGraph, names: Collection[str], weights: Mapping[str, Codes], thresholds: Mapping[str, float]
) -> OpenGraph:
    """The products called `names` with Q/DQ before their activation and DQ behind their int8 weight.

    weights: weight -> what `quantize_weight` made of it. thresholds: activation -> the value that the largest code
    stands for; beyond it is cut off. Biases stay float32, for TensorRT refuses a DequantizeLinear over int32, and so do
    the products' outputs, where nothing would be gained. A MatMul's bias is subtracted with its sign changed: ONNX
    Runtime would make one float32 Gemm of MatMul and Add before it looks for Q/DQ, several times slower.
    """
    zero = "int8.zero"
    constants: dict[str, Array] = {zero: np.zeros((), np.int8)}
    changed: dict[str, list[NodeProto]] = {}
    seen: set[str] = set()
    for product in _chosen(graph, names, ("MatMul", "Conv")):
        data, weight, axis = product.data, product.weight, product.output_axis
        constants[f"{weight}.int8"], scale = weights[weight]
        constants[f"{weight}.int8_scale"], constants[f"{weight}.int8_zero"] = scale, np.zeros(scale.shape, np.int8)
        constants[f"{data}.int8_scale"] = scale_of(thresholds[data])
        step = (f"{data}.int8_scale", zero)
        first = [
            helper.make_node("QuantizeLinear", [data, *step], [f"{data}.codes"], f"{data}.quantize"),
            helper.make_node("DequantizeLinear", [f"{data}.codes", *step], [f"{data}.int8"], f"{data}.dequantize"),
        ]
        back = [f"{weight}.int8", f"{weight}.int8_scale", f"{weight}.int8_zero"]
        held = helper.make_node("DequantizeLinear", back, [f"{weight}.float"], f"{product.name}.weight", axis=axis)
        changed[product.name] = [
            *(first if data not in seen else []),
            *([held] if weight not in seen else []),
            rewired(graph.node(product.name), {0: f"{data}.int8", 1: f"{weight}.float"}),
        ]
        seen |= {data, weight}
        for bias in _biases(graph, product):
            result = graph.node(product.name).output[0]
            [held_bias] = (name for name in bias.input if name != result)
            constants[f"{held_bias}.negative"] = -graph.constants[held_bias]
            inputs = [result, f"{held_bias}.negative"]
            changed[bias.name] = [helper.make_node("Sub", inputs, list(bias.output), bias.name)]
    return rewrite(graph, changed, constants)


def _biases(graph: OpenGraph, product: Product) -> list[NodeProto]:
    """The Add of a constant behind a MatMul, where there is nothing else behind it."""
    result = graph.node(product.name).output[0]
    behind = graph.consumers.get(result, ())
    held = [graph.constants.get(name) for node in behind for name in node.input if name != result]
    constant = len(behind) == 1 and behind[0].op_type == "Add" and len(held) == 1 and held[0] is not None
    inside = result not in {value.name for value in graph.outputs}
    return list(behind) if product.operator == "MatMul" and constant and inside else []


def _chosen(graph: OpenGraph, names: Collection[str], operators: tuple[str, ...]) -> list[Product]:
    return [product for product in graph.products if product.name in names and product.operator in operators]
