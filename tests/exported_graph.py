"""A graph as the runtime opens it right after its export, without a bundle around it."""

from __future__ import annotations

from pathlib import Path

from uniecg_export.onnx_graphs import Source, export_graph
from uniecg_runtime.backends.onnx import Graph
from uniecg_runtime.manifest import Artifact


def opened(source: Source, path: Path, name: str) -> Graph:
    """Export `source` to `path` under the model's `name`, and load it."""
    inputs, outputs = export_graph(source, path, name)
    return Graph(
        path,
        Artifact(
            role=source.role,
            file=path.name,
            sha256="0" * 64,
            size=path.stat().st_size,
            backend="onnxruntime",
            precision="float32",
            inputs=inputs,
            outputs=outputs,
        ),
    )
