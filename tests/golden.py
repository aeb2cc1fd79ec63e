"""Published models without their weights: tensor names and shapes, weights drawn by a rule, outputs to reproduce.

tests/data/golden holds, per model, what the published code (repository and commit in the JSON) gave for weights
drawn by the rule below; no trained weight. A stored array may be thinned: every K-th element of the flattened one.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "data" / "golden"
FLOAT32 = 5e-5  # largest absolute difference from the published code in torch, one call


@dataclass(frozen=True)
class Golden:
    """One model's facts and arrays."""

    name: str

    @cached_property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((FOLDER / f"{self.name}.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        with np.load(FOLDER / f"{self.name}.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the published checkpoint under its published name, prefix included."""
        return {name: tuple(shape) for name, (shape, _) in self.facts["tensors"].items()}

    def weights(self, *, prefix: bool = True) -> dict[str, NDArray[Any]]:
        """The drawn weights; without `prefix` the published prefix is taken off the names."""
        start = 0 if prefix else len(self.facts["checkpoint_prefix"])
        return {name[start:]: self._draw(name, shape) for name, shape in self.shapes.items()}

    def difference(self, found: NDArray[Any], name: str) -> float:
        """Largest absolute difference of `found` from the stored array `name`, thinned as that is."""
        assert list(found.shape) == self.facts["arrays"][name]["shape"], (name, found.shape)
        if name in self.arrays:
            return float(np.abs(found - self.arrays[name]).max())
        stored = next(key for key in self.arrays if key.startswith(f"{name}.flat_stride"))
        step = int(stored.rpartition("stride")[2])
        return float(np.abs(found.reshape(-1)[::step] - self.arrays[stored]).max())

    def _draw(self, name: str, shape: Sequence[int]) -> NDArray[Any]:
        n = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(tuple(shape))
        if name.endswith("num_batches_tracked"):
            return np.zeros(shape, np.int64)
        special = {item["entry_ends_with"]: item["value"] for item in self.facts["weight_exceptions"]}
        value = next((rule for ending, rule in special.items() if name.endswith(ending)), None)
        if value is not None and value.startswith("not drawn"):
            return self.arrays["const.time_table"].astype(np.float32)
        if value is not None:
            drawn = {"0.5*n": 0.5 * n, "1+0.1*n": 1 + 0.1 * n}[value]
        elif name.endswith("running_var"):
            drawn = 1 + 0.1 * abs(n)
        elif name.endswith("running_mean"):
            drawn = 0.1 * n
        elif len(shape) == 1 and name.endswith("weight"):
            drawn = 1 + 0.1 * n
        elif len(shape) >= 2:
            drawn = self.facts["weight_gain_ndim2"] * n / math.sqrt(math.prod(shape[1:]))
        else:
            drawn = 0.02 * n
        return np.asarray(drawn, np.float32)
