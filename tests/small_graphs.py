"""Small float32 graphs with the operators of a transformer, as ONNX files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

TOKENS, WIDTH = 8, 64
Arrays = dict[str, NDArray[Any]]


def write_graph(path: Path, nodes: Iterable[NodeProto], weights: Mapping[str, NDArray[Any]], opset: int = 20) -> Path:
    """x (1, TOKENS, WIDTH) to y of the same shape, float32."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, TOKENS, WIDTH)) for name in "xy")
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(list(nodes), "g", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def draw_inputs(count: int, seed: int = 0) -> list[Arrays]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(1, TOKENS, WIDTH)).astype(np.float32)} for _ in range(count)]


def transformer(path: Path, layers: int = 2, outlier: int | None = None, seed: int = 0) -> Path:
    """Blocks of LayerNorm, MatMul, Gelu, MatMul and a residual sum; products are called up0, down0, up1, ...

    outlier: the layer of whose second product one input channel in 64 is 3000 times the others, its weights as much
    smaller. In exact arithmetic that changes nothing.
    """
    rng = np.random.default_rng(seed)
    weights: Arrays = {}
    nodes = []
    stream = "x"
    for i in range(layers):
        weights |= {
            f"gamma{i}": (1 + 0.1 * rng.normal(size=WIDTH)).astype(np.float32),
            f"beta{i}": (0.1 * rng.normal(size=WIDTH)).astype(np.float32),
            f"wu{i}": (rng.normal(size=(WIDTH, 2 * WIDTH)) / 8).astype(np.float32),
            f"wd{i}": (rng.normal(size=(2 * WIDTH, WIDTH)) / 11).astype(np.float32),
            f"bu{i}": (0.1 * rng.normal(size=2 * WIDTH)).astype(np.float32),
        }
        last = f"s{i}" if i < layers - 1 else "y"
        nodes += [
            helper.make_node("LayerNormalization", [stream, f"gamma{i}", f"beta{i}"], [f"n{i}"], axis=-1),
            helper.make_node("MatMul", [f"n{i}", f"wu{i}"], [f"u{i}"], f"up{i}"),
            helper.make_node("Add", [f"u{i}", f"bu{i}"], [f"b{i}"]),
            helper.make_node("Gelu", [f"b{i}"], [f"g{i}"]),
        ]
        hidden = f"g{i}"
        if i == outlier:
            stretch = np.ones(2 * WIDTH, np.float32)
            stretch[::64] = 3000
            weights |= {f"k{i}": stretch, f"wd{i}": weights[f"wd{i}"] / stretch[:, None]}
            nodes.append(helper.make_node("Mul", [hidden, f"k{i}"], [f"h{i}"]))
            hidden = f"h{i}"
        nodes += [
            helper.make_node("MatMul", [hidden, f"wd{i}"], [f"d{i}"], f"down{i}"),
            helper.make_node("Add", [f"d{i}", stream], [last]),
        ]
        stream = last
    return write_graph(path, nodes, weights)
