"""Open a uniecg-nano checkpoint folder that nobody vouches for: config.json, model.safetensors, tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError, safe_open

from uniecg_device.errors import InputError
from uniecg_export.exportable import Exportable
from uniecg_export.families.uniecg_nano import CHECKPOINT_FILES, NanoConfig, UniEcgNano, load_checkpoint, load_config
from uniecg_export.families.uniecg_nano_prompt import preprocessing, prompt_and_statements
from uniecg_export.families.uniecg_nano_roles import sources
from uniecg_export.gguf_writer import Vocabulary, read_tokenizer
from uniecg_export.hf_language_model import CONFIG_BYTES, read_json
from uniecg_export.language import Language, open_tokenizer
from uniecg_export.weights import PICKLES, compare, skeleton, some
from uniecg_runtime import manifest

MOST = 1 << 20  # no dimension of a model that fits a small machine is larger
MOST_LAYERS = 128
TIED = "language_model.lm_head.weight"
INTENDED_USE = (
    "Research use, unconfirmed; not a medical device. Interprets 12-lead ECGs of about 10 s in English and "
    "draws synthetic ones from a description. Not for diagnosis, monitoring or any decision about a patient."
)


def read(folder: Path) -> Exportable:
    """Open a checkpoint folder.

    Raises InputError for a folder or file that is missing, a pickle, a configuration that is not
    known, tensors that are missing, unexpected or of another shape, each of them named, and a tokenizer that
    llama.cpp cannot follow or that lacks one of the prompt's special tokens.
    """
    _check_files(folder)
    config = _read_config(folder)
    try:
        prompt, statements, generation = prompt_and_statements(config)
        figures = msgspec.convert(list(config.figures), tuple[manifest.Figure, ...])
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise InputError(f"expected known labels and figures in {folder / 'config.json'}: {error!r}.") from None
    _check_tensors(folder, config)
    vocabulary = read_tokenizer(folder / "tokenizer.json", config.vocabulary)
    special = {prompt.end_token, generation.token or "", statements.yes_token, statements.no_token}
    _check_special(folder, vocabulary, special | {item.token for item in statements.items})
    model = load_checkpoint(folder)
    tokenizer = open_tokenizer(folder / "tokenizer.json", vocabulary)
    roles = ("encoder", "language_model", "condition", "denoiser", "decoder")
    return Exportable(
        family="uniecg_nano",
        name="uniecg-nano",
        version="0.1.0",
        licence="Apache-2.0",
        intended_use=INTENDED_USE,
        paper="https://arxiv.org/abs/2509.18588",
        files=(folder / "model.safetensors",),
        sources=sources(model),
        parameters={role: sum(p.numel() for p in getattr(model, role).parameters()) for role in roles},
        language=Language(model.language_model, tokenizer, vocabulary, prompt, statements),
        preprocessing=preprocessing(config),
        generation=generation,
        trained_on=config.trained_on,
        figures=figures,
    )


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "nothing"
        advice = "; safetensors only, pickles are never opened" if folder.suffix in PICKLES else ""
        raise InputError(f"expected a checkpoint folder at {folder}, found {found}{advice}.")
    missing = [name for name in CHECKPOINT_FILES if not (folder / name).is_file()]
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    if "model.safetensors" in missing and pickles:
        raise InputError(
            f"expected model.safetensors in {folder}, found {some(pickles)}: safetensors only, pickles are never "
            f"opened because they can run code. Save the weights with safetensors."
        )
    if missing:
        raise InputError(f"expected {', '.join(CHECKPOINT_FILES)} in {folder}, missing: {', '.join(missing)}.")


def _read_config(folder: Path) -> NanoConfig:
    path = folder / "config.json"
    try:
        family = read_json(path, CONFIG_BYTES)["family"]
        if family != "uniecg_nano":
            raise InputError(f"expected the model family uniecg_nano in {path}, found {family!r}; give its own.")
        config = load_config(folder)
        _check_geometry(config)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"expected the configuration of a known model in {path}: {error!r}.") from None
    return config


def _check_geometry(config: NanoConfig) -> None:
    for name, default in vars(NanoConfig()).items():
        value: Any = getattr(config, name)
        if type(value) is not type(default) and not (isinstance(default, float) and isinstance(value, int)):
            raise ValueError(f"{name} should be {type(default).__name__}, found {value!r}")
        numbers = value if isinstance(value, tuple) and default and isinstance(default[0], int) else (value,)
        most = MOST_LAYERS if name in ("layers", "denoiser_depth") else MOST
        for number in numbers:
            if isinstance(number, int | float) and not 0 < number <= most:
                raise ValueError(f"{name} should be above 0 and at most {most}, found {number!r}")


def _check_tensors(folder: Path, config: NanoConfig) -> None:
    expected = skeleton(lambda: UniEcgNano(config), folder / "config.json")
    del expected[TIED]
    try:
        with safe_open(folder / "model.safetensors", "pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"expected tensors in {folder / 'model.safetensors'}, could not read it ({error}).") from None
    compare(folder / "model.safetensors", expected, found)


def _check_special(folder: Path, vocabulary: Vocabulary, tokens: set[str]) -> None:
    missing = sorted(tokens - {vocabulary.tokens[i] for i in vocabulary.special})
    if missing:
        raise InputError(
            f"expected the prompt's special tokens in {folder / 'tokenizer.json'}, missing: {some(missing)}; "
            f"take the tokenizer that the model was trained with."
        )
