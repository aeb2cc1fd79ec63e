"""Open a checkpoint of a known family."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import replace
from pathlib import Path

from uniecg_device.errors import InputError
from uniecg_export.exportable import Exportable
from uniecg_export.hf_language_model import CONFIG_BYTES, read_json
from uniecg_runtime.manifest import Classification

# Family -> the module of `families` whose `read` opens its published layout.
FAMILIES = {
    "uniecg_nano": "uniecg_nano_checkpoint",
    "ecg_coca": "ecg_coca",
    "ecgfounder": "ecgfounder",
    "merl": "merl",
    "ecg_fm": "ecg_fm",
    "diffusets": "diffusets",
    "gem": "gem",
    "ecg_r1": "ecg_r1",
    "uniecg": "uniecg",
    "language_model": "language_model",
    "delineator": "delineator",
}
WITH_IMAGE = ("gem", "uniecg")  # families that may look at a picture of the recording beside it
# What a checkpoint may have in a place of its own, and which families do.
ASIDE = {"tower": ("gem", "ecg_r1", "uniecg"), "generator": ("uniecg",)}


def read_checkpoint(
    path: Path,
    family: str | None = None,
    labels: Path | None = None,
    *,
    tower: Path | None = None,
    generator: Path | None = None,
    delineator: Path | None = None,
    with_image: bool = False,
) -> Exportable:
    """Open the checkpoint at `path`, a file or a folder as its family publishes it.

    family: of `FAMILIES`; may be left out where a config.json beside the weights names it. labels: what a classifier's
    outputs mean, see `read_labels`. tower: the file of an ECG tower that is not in the checkpoint itself. generator:
    the folder of the model that draws, where the checkpoint only conditions it. delineator: the folder of one to go
    beside a checkpoint of any other family. with_image: the images' tower too.
    Raises InputError for anything that is missing, damaged, or not of that family, listing the tensors that are missing
    or unexpected.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"expected a checkpoint at {path}, found nothing; check the path.")
    where = "--family" if family else f"{path / 'config.json'}"
    family = family or _stated_family(path)
    if family not in FAMILIES:
        raise InputError(
            f"expected a model family of {', '.join(FAMILIES)} in {where}, found {family!r}; give it there."
        )
    module = importlib.import_module(f"uniecg_export.families.{FAMILIES[family]}")
    aside = {name: Path(given) for name, given in (("tower", tower), ("generator", generator)) if given is not None}
    for name in aside:
        if family not in ASIDE[name]:
            raise InputError(f"expected no --{name}, for a {family} checkpoint has none of its own; drop it.")
    if with_image and family not in WITH_IMAGE:
        raise InputError(f"expected no --with-image, for a {family} checkpoint looks at no images here; drop it.")
    read: Exportable = module.read(path, **aside, **({"with_image": True} if with_image else {}))
    if delineator is not None:
        read = _beside(read, read_checkpoint(delineator, "delineator"))
    return read if labels is None else replace(read, classification=read_labels(labels, read))


def _beside(read: Exportable, delineator: Exportable) -> Exportable:
    """Both as one. Raises InputError where the first has a delineator of its own."""
    if "delineator" in read.roles:
        raise InputError(f"expected no --delineator, for a {read.family} checkpoint is one itself; drop it.")
    return replace(
        read,
        files=(*read.files, *delineator.files),
        sources=(*read.sources, *delineator.sources),
        parameters=read.parameters | delineator.parameters,
        trained_on=(*read.trained_on, *(f"{name} (delineator)" for name in delineator.trained_on)),
        figures=(*read.figures, *delineator.figures),
    )


def read_labels(path: Path, read: Exportable) -> Classification:
    """A text file with one label a line, in the order of the logits, with a threshold behind a tab where there is one.

    Raises InputError where it does not have exactly the labels that the checkpoint's classifier gives.
    """
    if read.classification is None:
        raise InputError(f"expected no labels, for this {read.family} checkpoint has no classifier; drop --labels.")
    try:
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        thresholds = tuple(float(line[1]) if len(line) > 1 else 0.5 for line in lines)
    except (OSError, ValueError) as error:
        raise InputError(f"expected a label a line in {path}, could not read it ({error}); give a text file.") from None
    names, expected = tuple(line[0].strip() for line in lines), len(read.classification.labels)
    if len(names) != expected or len(set(names)) != expected or not all(0 <= p <= 1 for p in thresholds):
        raise InputError(
            f"expected {expected} different labels with thresholds from 0 to 1 in {path}, found {len(set(names))} in "
            f"{len(names)} lines; give the list that belongs to this checkpoint."
        )
    return Classification(names, thresholds)


def _stated_family(path: Path) -> str:
    """What config.json says. Raises InputError where it says nothing."""
    with contextlib.suppress(InputError, KeyError):
        return str(read_json(path / "config.json", CONFIG_BYTES)["family"])
    raise InputError(
        f"expected a config.json that names the model family in {path}, found none; "
        f"give the family with --family: {', '.join(FAMILIES)}."
    )
