"""A learned reading of the waves: a bundle's delineator in the place of the rules of `edges`.

It is given the shape of a kind of beat and says where P, QRS and T begin, peak and end on each lead. Whether there is a
P or a T wave at all the rules decide: recordings without one are too few to learn that from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import LEADS
from uniecg_runtime.signal.bounds import AFTER, BEFORE
from uniecg_runtime.signal.edges import Edges, edges_of
from uniecg_runtime.signal.kinds import Kind, Rhythm

EDGES: Final = 9  # onset, peak and end of P, of the QRS, and of T
HZ: Final = 500.0
# Samples between the network's edges of a P and the rules': 99 in 100 of LUDB's are nearer, and a P within the T before
# it, as in fast rhythms that LUDB has few of, leaves the network at a loss.
P_FARTHEST: Final = 25


class Graph(Protocol):
    """What runs the delineator: `shape` (1, 12, 550), `present` (1, 12) and `rr` (1, 1) to `edges` (1, 12, 9), float32.

    shape: the usual beat of each lead at 500 Hz, 0.5-40 Hz, in any unit, its QRS at sample 200; zeros, and 0 in
    `present`, where there are fewer than twelve leads. Their order is of no matter. rr: the median interval between
    beats in seconds. edges: samples of the shape, with fractions.
    """

    def run(self, **inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """The outputs."""
        ...


@dataclass(frozen=True)
class Delineator:
    """Reads edges as `edges_of` does. Raises BackendError where the graph fails."""

    graph: Graph

    def __call__(self, kind: Kind, rhythm: Rhythm) -> Edges | None:
        ruled = edges_of(kind, rhythm)
        if ruled is None:
            return None
        leads = len(kind.shape)
        shape = np.zeros((1, len(LEADS), BEFORE + AFTER), np.float32)
        present = np.zeros((1, len(LEADS)), np.float32)
        shape[0, :leads], present[0, :leads] = kind.shape, 1
        (found,) = self.graph.run(shape=shape, present=present, rr=np.array([[rhythm.rr / HZ]], np.float32))
        marks = np.rint(found[0, :leads]).astype(np.int64)
        qrs = np.sort(marks[:, 3:6], axis=1)
        p = None
        if ruled.p is not None:
            near = np.clip(np.sort(marks[:, :3], axis=1), ruled.p - P_FARTHEST, ruled.p + P_FARTHEST)
            p = np.minimum(near, qrs[:, :1])
        t = None if ruled.t is None else np.maximum(np.sort(marks[:, 6:], axis=1), qrs[:, 2:])
        return Edges(p, qrs, t)
