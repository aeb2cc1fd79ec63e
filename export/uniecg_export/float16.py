"""Arithmetic in fp16, inputs and outputs in float32, and what fp16 does badly in float32.

fp16 holds 11 bits and nothing above 65504. Sums of many terms and what follows from them (norms, softmax, means),
powers and periodic functions stay in float32; so does the path to a sine's argument, which at a diffusion's step 999
would be wrong by half a radian; and so does each node that was seen with a value near the largest or below the
smallest normal number.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from onnx import NodeProto, TensorProto, helper

from uniecg_export.open_graph import Array, OpenGraph, rewired

PRODUCTS: Final = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
# Each computes in the type of its inputs, loses a rounding at most, and is taken in fp16 by TensorRT.
ARITHMETIC: Final = frozenset({"Add", "Sub", "Mul", "Neg", "Abs", "Min", "Max", "Relu", "LeakyRelu", "Clip", "MaxPool",
                               "Gelu", "Mish", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"})  # fmt: skip
MOVES: Final = frozenset({"Concat", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Pad", "Reshape", "Slice",
                          "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"})  # fmt: skip
PERIODIC: Final = frozenset({"Sin", "Cos"})
LARGEST: Final = 65504 / 8  # what recordings that were not seen may go beyond what was
SMALLEST: Final = 2.0**-14  # below it fp16 loses bits


def convert(graph: OpenGraph, half: Collection[str]) -> OpenGraph:
    """The graph with the nodes called `half` in fp16, and a Cast wherever the precision changes."""
    constants: dict[str, Array] = {}
    nodes: list[NodeProto] = []
    made = {*graph.constants, *(value.name for value in graph.inputs)}

    def held(name: str, in_half: bool) -> str:
        """The name under which a tensor is there in fp16 or in float32, cast where it was not yet."""
        here, other = (f"{name}.half", name) if in_half else (name, f"{name}.half")
        if not _is_float(graph, name) or here in made:
            return here if _is_float(graph, name) else name
        made.add(here)
        if name in graph.constants:
            constants[here] = graph.constants[name].astype(np.float16)
        else:
            kind = TensorProto.FLOAT16 if in_half else TensorProto.FLOAT
            nodes.append(helper.make_node("Cast", [other], [here], f"{here}.cast", to=kind))
        return here

    for node in graph.nodes:
        in_half = node.name in half
        given = [f"{name}.half" if in_half and _is_float(graph, name) else name for name in node.output]
        copy = rewired(node, {place: held(name, in_half) for place, name in enumerate(node.input)})
        del copy.output[:]
        copy.output.extend(given)
        made.update(given)
        nodes.append(copy)
    for value in graph.outputs:
        held(value.name, False)
    return replace(graph, nodes=tuple(nodes), constants={**graph.constants, **constants})


def half_nodes(graph: OpenGraph, largest: Mapping[str, float]) -> frozenset[str]:
    """Names of the nodes that may compute in fp16.

    largest: tensor -> the largest magnitude that calibration inputs gave it; of others only constants' range is known.
    """
    exact = _arguments_of_periodic(graph)
    found = set()
    for node in graph.nodes:
        names = [name for name in (*node.input, *node.output) if _is_float(graph, name)]
        known = node.op_type in PRODUCTS | ARITHMETIC | MOVES
        if known and names and node.name not in exact and all(_fits(graph, name, largest) for name in names):
            found.add(node.name)
    return frozenset(found)


def _fits(graph: OpenGraph, name: str, largest: Mapping[str, float]) -> bool:
    """Whether fp16 holds a tensor with most of its bits."""
    value = graph.constants.get(name)
    most = largest.get(name) if value is None else float(np.abs(value).max(initial=0))
    return most is None or most == 0 or SMALLEST <= most <= LARGEST


def _arguments_of_periodic(graph: OpenGraph) -> Collection[str]:
    """Names of the nodes between the last product, or an input, and a sine's or cosine's argument."""
    found: set[str] = set()
    waiting = [node.input[0] for node in graph.nodes if node.op_type in PERIODIC]
    while waiting:
        node = graph.producers.get(waiting.pop())
        if node is not None and node.name not in found and node.op_type not in PRODUCTS:
            found.add(node.name)
            waiting += node.input
    return found


def _is_float(graph: OpenGraph, name: str) -> bool:
    return graph.types.get(name) == TensorProto.FLOAT
