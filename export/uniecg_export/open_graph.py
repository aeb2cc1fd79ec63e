"""An exported ONNX graph taken apart, so that it can be written again in another precision.

Nodes and weights are apart: rewriting a graph makes new nodes and a few new arrays, and copies no other weight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, ValueInfoProto, helper, numpy_helper

from uniecg_device.errors import BackendError, InputError

Array = NDArray[Any]
Inputs = Mapping[str, Array]

# What exporters leave between a stored weight and its use: fp16 behind a Cast, weight * scale of a folded batch norm.
FOLDED: Final = frozenset({"Cast", "Identity", "Mul", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
SMALLEST: Final = 1024  # elements; a smaller weight saves nothing
IR_VERSION: Final = 10  # the first that has opset 21 and int4; ONNX Runtime reads it since 1.18


@dataclass(frozen=True, eq=False)
class OpenGraph:
    """A graph's nodes in order and its constants by name; inputs and outputs as declared.

    Every node has a name of its own. folded: constant -> the node that makes it of other constants; it is written again
    where the constant is still used as it was, for what it takes is smaller (fp16, see `onnx_graphs`).
    """

    nodes: tuple[NodeProto, ...]
    constants: Mapping[str, Array]
    inputs: tuple[ValueInfoProto, ...]
    outputs: tuple[ValueInfoProto, ...]
    opset: int
    folded: Mapping[str, NodeProto] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)

    def model(self, observed: Iterable[str] = ()) -> onnx.ModelProto:
        """The graph as ONNX, without constants that no node takes. observed: tensors to give out beside its outputs."""
        used = {name for node in self.nodes for name in node.input} | {value.name for value in self.outputs}
        unfolded: list[NodeProto] = []
        for name, node in reversed(list(self.folded.items())):  # each before what it takes
            if name in used:
                used |= set(node.input)
                unfolded.append(node)
        made = {node.output[0] for node in unfolded}
        weights = [
            numpy_helper.from_array(self.constants[name], name) for name in self.constants if name in used - made
        ]
        extra = [onnx.ValueInfoProto(name=name) for name in observed]
        nodes = [*reversed(unfolded), *self.nodes]
        graph = helper.make_graph(nodes, "graph", list(self.inputs), [*self.outputs, *extra], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=IR_VERSION)
        model.producer_name = "uniecg-edge"
        helper.set_model_props(model, dict(self.properties))
        return model

    def session(self, observed: Iterable[str] = ()) -> onnxruntime.InferenceSession:
        """The graph in ONNX Runtime on the CPU. Raises BackendError where that refuses it."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            model = self.model(observed).SerializeToString()
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            said = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise BackendError(
                f"expected a graph that ONNX Runtime runs, it says: {said}; export the graph again, or report this."
            ) from None

    @cached_property
    def signature(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Input -> its dtype and shape, as numpy writes them."""
        found = {}
        for value in self.inputs:
            kind = value.type.tensor_type
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
            found[value.name] = (dtype, tuple(dim.dim_value for dim in kind.shape.dim))
        return found

    @cached_property
    def consumers(self) -> Mapping[str, tuple[NodeProto, ...]]:
        """Tensor -> the nodes that take it."""
        found: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def producers(self) -> Mapping[str, NodeProto]:
        """Tensor -> the node that gives it."""
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def types(self) -> Mapping[str, int]:
        """Tensor -> ONNX's number of its element type, constants among them."""
        constants = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in self.constants.items()
        ]
        # Weights stand as inputs: types do not depend on their values, and megabytes need not be copied.
        bare = replace(self, constants={}, folded={}, inputs=(*self.inputs, *constants)).model()
        graph = onnx.shape_inference.infer_shapes(bare).graph
        known = (*graph.input, *graph.output, *graph.value_info)
        return {value.name: value.type.tensor_type.elem_type for value in known}

    def node(self, name: str) -> NodeProto:
        """The node of that name."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> Mapping[str, NodeProto]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def products(self) -> tuple[Product, ...]:
        """Every product with a weight that is worth storing in fewer bits, in order."""
        found = []
        for node in self.nodes:
            weight = self.constants.get(node.input[1]) if node.op_type in ("MatMul", "Conv") else None
            if weight is None or weight.dtype != np.float32 or weight.size < SMALLEST or weight.ndim < 2:
                continue
            if node.op_type == "Conv" or weight.ndim == 2:
                found.append(Product(node.name, node.op_type, node.input[0], node.input[1], weight.size))
        return tuple(found)


@dataclass(frozen=True)
class Product:
    """A node that multiplies the activation `data` with the constant `weight` of `size` elements: MatMul or Conv."""

    name: str
    operator: str
    data: str
    weight: str
    size: int

    @property
    def output_axis(self) -> int:
        """The weight's axis of output channels: MatMul's is (in, out), Conv's (out, in, ...)."""
        return 1 if self.operator == "MatMul" else 0


def read_graph(path: Path) -> OpenGraph:
    """Open an ONNX file whose weights are within it; each Gemm with a constant factor becomes MatMul and Add.

    Raises InputError where the file is no such graph.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and the checker's share no base of their own
        said = (str(error).splitlines() or ["unreadable"])[0][:200]
        raise InputError(f"expected an ONNX file at {path}, could not read it ({said}); export it again.") from None
    opsets = {item.domain: item.version for item in model.opset_import}
    graph = model.graph
    if set(opsets) != {""} or not graph.input or not graph.output:
        raise InputError(
            f"expected a graph of standard operators with inputs and outputs in {path}, found domains "
            f"{sorted(opsets)}; give the float32 graph as it was exported."
        )
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    split = [part for node in _named(graph.node) for part in _split_gemm(node)]
    nodes, folded = _fold(split, constants)
    return OpenGraph(
        nodes=tuple(nodes),
        constants=constants,
        inputs=tuple(value for value in graph.input if value.name not in constants),
        outputs=tuple(graph.output),
        opset=opsets[""],
        folded=folded,
        properties={item.key: item.value for item in model.metadata_props},
    )


def rewired(node: NodeProto, inputs: Mapping[int, str]) -> NodeProto:
    """A copy of `node` that takes other tensors, by position."""
    copy = NodeProto()
    copy.CopyFrom(node)
    for place, name in inputs.items():
        copy.input[place] = name
    return copy


def rewrite(
    graph: OpenGraph,
    changed: Mapping[str, Sequence[NodeProto]],
    constants: Mapping[str, Array],
    opset: int | None = None,
) -> OpenGraph:
    """The graph with each node named in `changed` replaced by the nodes there, and with more `constants`."""
    nodes = tuple(part for node in graph.nodes for part in changed.get(node.name, (node,)))
    return replace(graph, nodes=nodes, constants={**graph.constants, **constants}, opset=opset or graph.opset)


def _named(nodes: Iterable[NodeProto]) -> list[NodeProto]:
    """The nodes, each under a name that no other has."""
    seen: Counter[str] = Counter()
    for node in nodes:
        name = node.name or f"{node.op_type}_{node.output[0]}"
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}.{seen[name]}"
    return list(nodes)


def _fold(nodes: Sequence[NodeProto], constants: dict[str, Array]) -> tuple[list[NodeProto], dict[str, NodeProto]]:
    """The nodes that remain when those of constants alone have been computed into `constants`, and those, in order."""
    from onnx.reference import ReferenceEvaluator

    kept: list[NodeProto] = []
    folded: dict[str, NodeProto] = {}
    for node in nodes:
        value = next((a for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            constants[node.output[0]] = numpy_helper.to_array(value.t)
        elif node.op_type in FOLDED and all(name in constants for name in node.input):
            feeds = {name: constants[name] for name in node.input}
            [result] = cast(list[Array], ReferenceEvaluator(node).run(None, feeds))
            constants[node.output[0]] = np.ascontiguousarray(result)
            folded[node.output[0]] = node
        else:
            kept.append(node)
    return kept, folded


def _split_gemm(node: NodeProto) -> tuple[NodeProto, ...]:
    """MatMul and Add for x @ w + b, which is what quantized kernels are made for; any other node as it is."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    plain = all(attributes.get(name, 1) == 1 for name in ("alpha", "beta")) and not attributes.get("transA")
    if node.op_type != "Gemm" or not plain:
        return (node,)
    data, weight, *bias = node.input
    result, turned, product = node.output[0], f"{node.output[0]}.weight", f"{node.output[0]}.product"
    nodes = [helper.make_node("MatMul", [data, weight], [product if bias else result], node.name)]
    if attributes.get("transB"):
        nodes[0].input[1] = turned
        nodes.insert(0, helper.make_node("Transpose", [weight], [turned], f"{node.name}.transpose", perm=[1, 0]))
    if bias:
        nodes.append(helper.make_node("Add", [product, *bias], [result], f"{node.name}.bias"))
    return tuple(nodes)
