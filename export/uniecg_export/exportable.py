"""What a family hands over to be exported: graphs by role, a language model, and the manifest's words on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from uniecg_export.language import Language
from uniecg_export.onnx_graphs import Source
from uniecg_runtime import manifest

# Rows of MIMIC-IV-ECG's files, which several published models were trained on: aVF comes before aVL.
MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
RESEARCH = (
    "Research use, unconfirmed; not a medical device. Not for diagnosis, monitoring or any decision about a patient."
)


@dataclass(frozen=True, eq=False)
class Exportable:
    """An opened checkpoint of any family.

    files: what it was read from; their hashes go into the manifest. parameters: how many, by role.
    """

    family: str
    name: str
    version: str
    licence: str
    intended_use: str
    paper: str
    files: tuple[Path, ...]
    sources: tuple[Source, ...]
    parameters: dict[str, int]
    language: Language | None = None
    preprocessing: manifest.Preprocessing | None = None
    picture: manifest.Picture | None = None
    classification: manifest.Classification | None = None
    generation: manifest.Generation | None = None
    trained_on: tuple[str, ...] = ()
    figures: tuple[manifest.Figure, ...] = ()

    @property
    def roles(self) -> tuple[manifest.Role, ...]:
        """What the bundle will hold."""
        return (*(source.role for source in self.sources), *(("language_model",) if self.language else ()))


def numbered_labels(count: int) -> manifest.Classification | None:
    """What a classifier of `count` labels is said to give where nobody said what they are; None for no classifier."""
    width = len(str(count - 1))
    labels = tuple(f"label {number:0{width}}" for number in range(count))
    return manifest.Classification(labels, (0.5,) * count) if count else None


def count_parameters(sources: tuple[Source, ...]) -> dict[str, int]:
    """Parameters of each graph's module, by role."""
    return {source.role: sum(p.numel() for p in source.module.parameters()) for source in sources}
