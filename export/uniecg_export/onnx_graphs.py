"""From a torch module to one ONNX file: fixed shapes, standard operators, float32.

Opset 20 has LayerNormalization and Gelu as operators of their own.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxscript import ir
from onnxscript.optimizer import optimize_ir
from torch import Tensor, nn
from torch.nn import functional

from uniecg_device.errors import BundleError
from uniecg_runtime import manifest

OPSET = 20
HALF_FROM = 1024  # elements; a bias is not worth a Cast

Arrays = dict[str, NDArray[np.float32]]
Tensors = tuple[manifest.Tensor, ...]


@dataclass(frozen=True, eq=False)
class Source:
    """A graph to be: a module whose positional inputs are, in order, the keys of what `draw` returns.

    role: the part it plays in the bundle. draw: makes one set of plausible float32 inputs.
    outputs: names of what the module returns, in order.
    """

    role: manifest.Role
    module: nn.Module
    draw: Callable[[np.random.Generator], Arrays]
    outputs: tuple[str, ...]

    def run(self, inputs: Arrays) -> tuple[NDArray[np.float32], ...]:
        """What torch says, in float32."""
        with torch.inference_mode():
            results = self.module(*map(torch.from_numpy, inputs.values()))
        return tuple(r.numpy() for r in ((results,) if isinstance(results, Tensor) else results))


class FoldedConv(nn.Module):
    """A convolution with the batch norm behind it folded in, the norm's scale kept apart.

    weight * scale would not fit fp16; kept apart, the weight does, and a runtime folds the product at load.
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv1d, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.conv = conv
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("expected a batch norm with running statistics")
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = torch.zeros_like(scale) if conv.bias is None else conv.bias
        self.register_buffer("scale", scale.detach()[:, None, None].clone())
        self.register_buffer("bias", (norm.bias + (bias - norm.running_mean) * scale).detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        weight = conv.weight * self.scale
        return functional.conv1d(x, weight, self.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """A copy in eval mode where each Conv1d declared right before a BatchNorm1d has taken it in.

    Declared right before must mean applied right before; parity would show where it does not.
    """
    folded = copy.deepcopy(module).eval()
    for parent in list(folded.modules()):
        children = list(parent.named_children())
        for (name, conv), (norm_name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv1d) and isinstance(norm, nn.BatchNorm1d):
                setattr(parent, name, FoldedConv(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return folded


def export_graph(source: Source, path: Path, name: str) -> tuple[Tensors, Tensors]:
    """Write `source` to one ONNX file; the graph's inputs and outputs as the manifest names them.

    name: the model's, for the file's metadata. Raises BundleError where onnx's checker objects.
    """
    inputs = source.draw(np.random.default_rng(0))
    with quiet_exporter(), torch.inference_mode():
        program = torch.onnx.export(
            fold_batch_norms(source.module),
            tuple(torch.from_numpy(value) for value in inputs.values()),
            input_names=list(inputs),
            output_names=list(source.outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=False,
        )
    if program is None:
        raise BundleError(f"expected an ONNX graph for {source.role!r}, the exporter gave none; report this.")
    optimize_ir(program.model, should_fold=leave_products)
    model: onnx.ModelProto = program.model_proto
    strip(model)
    model.producer_name, model.producer_version = "uniecg-edge", ""
    helper.set_model_props(model, {"role": source.role, "name": name})
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise BundleError(f"expected a valid ONNX graph for {source.role!r}, the checker says: {error}.") from None
    onnx.save(model, path)
    return tensors(model.graph.input), tensors(model.graph.output)


def leave_products(node: ir.Node) -> bool | None:
    """For the optimizer: False where folding would store weight * scale, which fp16 does not hold."""
    weights = [value.const_value for value in node.inputs if value is not None and value.is_initializer()]
    big = any(weight is not None and weight.size >= HALF_FROM for weight in weights)
    return False if node.op_type == "Mul" and big else None


def strip(model: onnx.ModelProto) -> None:
    """Drop what only the exporter's authors need: source lines and paths of the machine that exported."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for item in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""


def halve_weights(model: onnx.ModelProto) -> frozenset[str]:
    """Store each big float32 weight as fp16 behind a Cast to float32, which a runtime folds at load; their names.

    The file is half as big and the arithmetic stays float32; weights of an fp16 checkpoint lose nothing. A weight that
    fp16 cannot hold at all stays as it is.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        value = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if value.size < HALF_FROM or not np.isfinite(half).all():
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return frozenset(cast.output[0] for cast in casts)


def tensors(values: Iterable[onnx.ValueInfoProto]) -> Tensors:
    """A graph's inputs or outputs as the manifest writes them. Raises BundleError for a shape that is not fixed."""
    found = []
    for value in values:
        kind = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in kind.shape.dim)
        if not all(shape):
            raise BundleError(f"expected a fixed shape for {value.name!r}, the graph has {shape}; report this.")
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
        found.append(manifest.Tensor(name=value.name, shape=shape, dtype=dtype))
    return tuple(found)


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without the exporter's remarks on packages that no graph here needs and on torch's own deprecations."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*treespec, LeafSpec", category=FutureWarning)
            yield
    finally:
        logger.setLevel(before)
