"""Tensors out of files that nobody vouches for, and into a module that names every one of them.

safetensors hold nothing but tensors. Published .pt, .pth and .bin files are pickles: they are read by torch's
restricted unpickler (weights_only), which builds tensors and plain containers and runs nothing that a file names.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from uniecg_device.errors import InputError

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
M = TypeVar("M", bound=nn.Module)
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint file holds: names to tensors, or the nested containers that a training script saved.

    Raises InputError for a missing file, one of another kind, one that is damaged, and a pickle that needs more than
    tensors and plain containers.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"expected a checkpoint file at {path}, found {found}; give the file itself.")
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise InputError(f"expected tensors in {path}, could not read it ({error}); copy it again.") from None
    if path.suffix not in PICKLES:
        raise InputError(f"expected a .safetensors, .pt, .pth or .bin file, found {path.name}; give the checkpoint.")
    try:
        _check_size(path)
        with warnings.catch_warnings():  # an old or odd pickle shows in what it holds
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"expected tensors and plain containers in {path}, found Python objects, which are not loaded because they "
            f"could run code ({reason}); if you trust it, save its state_dict with safetensors and export that."
        ) from None
    except Exception as error:  # damaged bytes make the unpickler raise a dozen kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"expected a torch checkpoint in {path}, it does not read ({reason}); copy it again."
        ) from None
    if not isinstance(state, dict):
        raise InputError(f"expected a state_dict in {path}, found {type(state).__name__}; give the published file.")
    return state


def _check_size(path: Path) -> None:
    """Raises ValueError for an archive that holds more than its own size; torch compresses nothing that it saves."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("it is compressed")


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Names and shapes, from which a family reads its geometry."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def needed_shape(shapes: Shapes, name: str, dimensions: int) -> Shape:
    """The shape of a tensor that states geometry.

    Raises InputError where it is absent, empty, or of another number of dimensions.
    """
    shape = shapes.get(name)
    if shape is None or len(shape) != dimensions or min(shape) < 1:
        found = f"none among {len(shapes)} tensors" if shape is None else f"one of shape {shape}"
        raise InputError(
            f"expected the tensor {name} with {dimensions} dimensions of 1 or more, found {found}; "
            f"give the published file, whole and unchanged, of the family that was asked for."
        )
    return shape


def build(make: Callable[[], M], tensors: Mapping[str, Tensor], where: Path) -> M:
    """What `make` makes, with `tensors` in float32, in eval mode.

    Raises InputError as `skeleton` and `fill` do, and for tensors that claim more than their file holds; no memory is
    taken for a geometry before that.
    """
    compare(where, skeleton(make, where), shapes_of(tensors))
    _check_storage(tensors, where)
    return fill(make(), tensors, where)


def skeleton(make: Callable[[], nn.Module], where: Path) -> dict[str, Shape]:
    """Names and shapes of the tensors of what `make` makes; no memory is taken for them.

    Raises InputError for a geometry that it cannot have.
    """
    try:
        with torch.device("meta"):
            return shapes_of(make().state_dict())
    except InputError:
        raise
    except Exception as error:  # torch, transformers and huggingface_hub each raise their own
        reason = " ".join(str(error).split())[-200:]
        raise InputError(
            f"expected a geometry that this family can have in {where}, found another ({reason}); "
            f"give the published file, whole and unchanged."
        ) from None


def _check_storage(tensors: Mapping[str, Tensor], where: Path) -> None:
    """Raises InputError where a few bytes stand for many; that tensors share some of theirs is nothing odd."""
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    plain = [t.untyped_storage() for t in tensors.values() if t.layout == torch.strided and not t.is_meta]
    held = sum({storage.data_ptr(): storage.nbytes() for storage in plain}.values())
    if claimed > 2 * held:
        raise InputError(
            f"expected {claimed} bytes of tensors in {where}, as their shapes say, found {held}; give the published "
            f"file."
        )


def fill(module: M, tensors: Mapping[str, Tensor], where: Path) -> M:
    """Load `tensors` into `module`, strictly and in float32, and set it to eval mode.

    Raises InputError that lists every tensor that is missing, unexpected or of another shape, or that holds whole
    numbers where others do not.
    """
    expected = module.state_dict()
    compare(where, shapes_of(expected), shapes_of(tensors))
    kinds = [n for n, t in tensors.items() if t.is_floating_point() != expected[n].is_floating_point()]
    refuse(where, {"other type": [f"{name} {tensors[name].dtype}" for name in kinds]})
    module.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}, strict=True)
    return module.eval()


def compare(where: Path, expected: Shapes, found: Shapes) -> None:
    """Raises InputError where `found` is not exactly `expected`."""
    refuse(where, differences(expected, found), f"the {len(expected)} tensors of its configuration")


def differences(expected: Shapes, found: Shapes) -> dict[str, list[str]]:
    """Names that are missing, unexpected, and of another shape."""
    both = sorted(expected.keys() & found.keys())
    return {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "other shape": [f"{n} {found[n]} instead of {expected[n]}" for n in both if found[n] != expected[n]],
    }


def refuse(
    where: Path,
    wrong: Mapping[str, Sequence[str]],
    expected: str = "the tensors of its configuration",
    advice: str = "Export a whole checkpoint, with the configuration that belongs to it.",
) -> None:
    """Raises InputError that lists the names under each heading, where there are any."""
    if any(wrong.values()):
        listed = "\n".join(f"  {what} ({len(names)}): {some(names)}" for what, names in wrong.items() if names)
        raise InputError(f"expected in {where} {expected}, found:\n{listed}\n{advice}")


def some(names: Iterable[str], most: int = 20) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
