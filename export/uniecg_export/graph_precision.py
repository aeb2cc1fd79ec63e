"""From an exported float32 graph to the same graph in another precision: same inputs, same outputs, still float32.

float32: as it was exported. float16_weights: the same arithmetic, from weights that are stored in half. float16: fp16
arithmetic, for GPUs. int8_dynamic: int8 products whose activations are measured at every call, the quickest on a CPU.
int8_qdq: int8 products with scales from calibration inputs, for TensorRT. int4_weights: 4-bit weights, float
arithmetic, the smallest.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import onnx

from uniecg_export import float16, int4, int8
from uniecg_export.calibration import (
    Calibrator,
    check_calibration,
    largest_seen,
    observe,
    run_graph,
    second_moments,
    threshold,
)
from uniecg_export.onnx_graphs import halve_weights
from uniecg_export.open_graph import Inputs, OpenGraph, Product, read_graph
from uniecg_export.rounding import Moments
from uniecg_export.sensitivity import Found, search, worst_sqnr

GraphPrecision = Literal["float32", "float16_weights", "float16", "int8_dynamic", "int8_qdq", "int4_weights"]
GRAPH_PRECISIONS: Final[tuple[GraphPrecision, ...]] = get_args(GraphPrecision)
# dB on the calibration inputs. 2 dB above what is promised for int8_qdq, for other recordings lie a little lower.
TARGETS: Final[Mapping[GraphPrecision, float]] = {"int8_dynamic": 27.0, "int8_qdq": 30.0, "int4_weights": 20.0}
FEW: Final = 2  # calls that tell which of two products does more damage; all of them tell how much is allowed

Write = Callable[[Collection[str]], OpenGraph]


@dataclass(frozen=True)
class Reduced:
    """What was done to a graph.

    size: bytes of the file. share: of the weights in products, how many hold fewer bits. left: the products that stay
    in float32, the worst first. sqnr: dB of the worst output on the calibration inputs, None where there were none.
    damage: product -> dB with that one alone reduced; empty where no search was needed.
    """

    precision: GraphPrecision
    path: Path
    size: int
    share: float
    left: tuple[str, ...]
    sqnr: float | None
    calibrator: Calibrator | None = None
    damage: Mapping[str, float] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the weights stays in float32, one sentence each."""
        if self.precision == "float32" or not self.left:
            return ()
        return (f"{1 - self.share:.0%} of the weights in products stay in float32, in {len(self.left)} products.",)


def reduce_graph(
    source: Path,
    path: Path,
    precision: GraphPrecision,
    calibration: Sequence[Inputs] = (),
    *,
    calibrator: Calibrator = "mse",
    target: float | None = None,
) -> Reduced:
    """Write the graph at `source` to `path` in `precision`; the same inputs give the same file.

    calibration: inputs of the graph, name -> array, from real recordings; int8_qdq needs them, the others are measured
    with them. target: dB that the worst output keeps on them (`TARGETS` unless given; not for float16); the products
    that do most damage stay in float32 until it is reached.
    Raises InputError where the source is no such graph, or the calibration inputs do not fit it.
    """
    graph = read_graph(source)
    if calibration or precision == "int8_qdq":
        check_calibration(graph, calibration)
    if precision == "float32":
        shutil.copyfile(source, path)
        return Reduced(precision, path, path.stat().st_size, 0.0, tuple(p.name for p in graph.products), math.inf)
    if precision == "float16_weights":
        return _store_half(graph, source, path, calibration)
    if precision == "float16":
        found, written = _to_half(graph, calibration)
    else:
        items, write = _PREPARE[precision](graph, calibration, calibrator)
        found = _search(graph, items, write, calibration, TARGETS[precision] if target is None else target)
        written = write(found.quantized)
    model = written.model()
    onnx.checker.check_model(model)
    onnx.save(model, path)
    sizes = {product.name: product.size for product in graph.products}
    left = sorted(sizes.keys() - found.quantized, key=lambda name: (found.damage.get(name, math.inf), name))
    return Reduced(
        precision=precision,
        path=path,
        size=path.stat().st_size,
        share=sum(sizes[name] for name in found.quantized) / max(sum(sizes.values()), 1),
        left=tuple(left),
        sqnr=found.sqnr if calibration else None,
        calibrator=calibrator if precision == "int8_qdq" else None,
        damage=found.damage,
    )


def _store_half(graph: OpenGraph, source: Path, path: Path, calibration: Sequence[Inputs]) -> Reduced:
    model = onnx.load(source)
    halves = halve_weights(model) | {name for name, value in graph.constants.items() if value.dtype == np.float16}
    onnx.save(model, path)
    left = [product for product in graph.products if not _is_made_of(graph, product.weight, halves)]
    weights = sum(product.size for product in graph.products)
    return Reduced(
        precision="float16_weights",
        path=path,
        size=path.stat().st_size,
        share=1 - sum(product.size for product in left) / weights if weights else 0.0,
        left=tuple(product.name for product in left),
        sqnr=worst_sqnr(run_graph(graph, calibration), run_graph(read_graph(path), calibration))
        if calibration
        else None,
    )


def _is_made_of(graph: OpenGraph, name: str, stored: Collection[str]) -> bool:
    """Whether a constant is one of those stored, or is made of one."""
    sources = graph.folded[name].input if name in graph.folded else ()
    return name in stored or any(_is_made_of(graph, source, stored) for source in sources)


def _search(
    graph: OpenGraph, items: Sequence[Product], write: Write, calibration: Sequence[Inputs], target: float
) -> Found:
    """As many of `items` as the target allows; all where there is nothing to measure with."""
    sizes = {product.name: product.size for product in items}
    if not calibration:
        return Found(frozenset(sizes), math.nan, {})

    def measuring(calls: Sequence[Inputs]) -> Callable[[frozenset[str]], float]:
        reference = run_graph(graph, calls)
        return lambda names: worst_sqnr(reference, run_graph(write(names), calls))

    few = calibration[:: -(-len(calibration) // FEW)]
    return search(sizes, measuring(calibration), target, measuring(few))


def _to_half(graph: OpenGraph, calibration: Sequence[Inputs]) -> tuple[Found, OpenGraph]:
    floats = [name for node in graph.nodes for name in (*node.input, *node.output) if name not in graph.constants]
    largest = largest_seen(graph, floats, calibration) if calibration else {}
    half = float16.half_nodes(graph, largest)
    written = float16.convert(graph, half)
    loss = worst_sqnr(run_graph(graph, calibration), run_graph(written, calibration)) if calibration else math.nan
    return Found(half & {product.name for product in graph.products}, loss, {}), written


def _prepare_dynamic(graph: OpenGraph, calibration: Sequence[Inputs], _: Calibrator) -> tuple[Sequence[Product], Write]:
    items = [product for product in graph.products if product.operator == "MatMul"]
    weights = _int8_weights(graph, items, calibration)
    return items, lambda names: int8.quantize_dynamic(graph, names, weights)


def _prepare_qdq(
    graph: OpenGraph, calibration: Sequence[Inputs], calibrator: Calibrator
) -> tuple[Sequence[Product], Write]:
    seen = observe(graph, (product.data for product in graph.products), calibration)
    thresholds = {name: threshold(what, calibrator) for name, what in seen.items()}
    weights = _int8_weights(graph, graph.products, calibration)
    return graph.products, lambda names: int8.quantize_static(graph, names, weights, thresholds)


def _prepare_int4(graph: OpenGraph, calibration: Sequence[Inputs], _: Calibrator) -> tuple[Sequence[Product], Write]:
    items = int4.products(graph)
    moments = _moments(graph, items, calibration)
    blocks = {p.weight: int4.quantize_blocks(graph.constants[p.weight], moments.get(p.data)) for p in items}
    return items, lambda names: int4.quantize_weights(graph, names, blocks)


def _int8_weights(
    graph: OpenGraph, items: Sequence[Product], calibration: Sequence[Inputs]
) -> Mapping[str, int8.Codes]:
    moments = _moments(graph, items, calibration)
    return {
        p.weight: int8.quantize_weight(graph.constants[p.weight], p.output_axis, moments.get(p.data)) for p in items
    }


def _moments(graph: OpenGraph, items: Sequence[Product], calibration: Sequence[Inputs]) -> Mapping[str, Moments]:
    """Second moments of what the MatMuls among `items` take; none without calibration inputs."""
    tensors = {product.data for product in items if product.operator == "MatMul"}
    return second_moments(graph, tensors, calibration) if calibration else {}


_PREPARE: Final[
    Mapping[GraphPrecision, Callable[[OpenGraph, Sequence[Inputs], Calibrator], tuple[Sequence[Product], Write]]]
] = {"int8_dynamic": _prepare_dynamic, "int8_qdq": _prepare_qdq, "int4_weights": _prepare_int4}
