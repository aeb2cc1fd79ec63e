"""UniECG: GEM that also draws ECGs, by hidden states at `[ECG]` tokens that stand for a generator's text embedding.

Facts: arXiv 2509.18588 (abstract and introduction); neither code nor weights are published. Known: special tokens whose
hidden states are aligned with a pretrained generator that text conditions. Said second-hand: a GEM that understands, a
DiffuSETS that draws, with sex, age and heart rate. NOT known: how many tokens, how their states become one vector, the
aligning layers and their names. All of it is therefore read from config.json, under `ecg_generation`; these fields, and
the names `model.ecg_gen_projector.<i>.{weight,bias}`, are this project's own choice:

    "ecg_generation": {"token_count": 1, "pooling": "mean", "layers": [4096, "gelu", 1536],
                       "token": "[ECG]", "prefix": "model.ecg_gen_projector."}

`layers`: a number is a linear layer of that many outputs, a word one of ACTIVATIONS; <i> is the place in the list.
In: states (1,token_count,hidden) of the language model; scalars (1,3): sex (male 1, female 0), age in years, rate in
beats per minute.
Out: whatever the generator's own condition module gives for a text (1,1,width) and those scalars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec
import numpy as np
from torch import Tensor, nn

from uniecg_device.errors import InputError
from uniecg_export.exportable import RESEARCH, Exportable, count_parameters
from uniecg_export.families import diffusets, gem, parts
from uniecg_export.families.ecg_coca import preprocessing
from uniecg_export.families.folder import build, open_folder, shapes
from uniecg_export.families.folder import sources as encoder_sources
from uniecg_export.families.gem import GemConfig
from uniecg_export.families.parts import Fields, Parts, Table, count, text
from uniecg_export.gguf_vocabulary import made_special
from uniecg_export.onnx_graphs import Arrays, Source
from uniecg_export.weights import Shape, Shapes, refuse, skeleton
from uniecg_runtime.manifest import need

T = TypeVar("T")
Pooling = Literal["mean", "last", "concat"]
ACTIVATIONS = {"gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU}
MOST_TOKENS = 256


@dataclass(frozen=True)
class UniEcgConfig:
    """A GEM's geometry, and the way from `[ECG]` states to the generator's text.

    layers: of the aligning projector; the last is as wide as the generator's text.
    """

    gem: GemConfig = field(default_factory=GemConfig)
    token_count: int = 1
    pooling: Pooling = "mean"
    layers: tuple[int | str, ...] = (1536,)
    token: str = "[ECG]"
    prefix: str = "model.ecg_gen_projector."

    @property
    def pooled(self) -> int:
        """Width of the one vector that the states become."""
        return self.gem.hidden_size * (self.token_count if self.pooling == "concat" else 1)


class AlignedCondition(nn.Module):
    """The generator's condition from `[ECG]` states: (1,token_count,hidden) and (1,3) -> what `condition` gives.

    align: see `alignment`. condition: a module with forward(text (1,1,width), scalars (1,3)).
    """

    def __init__(self, config: UniEcgConfig, align: nn.Sequential, condition: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.align = align
        self.condition = condition

    def pool(self, states: Tensor) -> Tensor:
        """(1,token_count,hidden) -> (1,pooled)."""
        if self.config.pooling == "mean":
            return states.mean(1)
        return states[:, -1] if self.config.pooling == "last" else states.flatten(1)

    def forward(self, states: Tensor, scalars: Tensor) -> Any:
        return self.condition(self.align(self.pool(states))[:, None], scalars)


def alignment(config: UniEcgConfig) -> nn.Sequential:
    """The aligning projector: (1,pooled) -> (1,width of the generator's text)."""
    width, layers = config.pooled, []
    for layer in config.layers:
        if isinstance(layer, str):
            layers.append(ACTIVATIONS[layer]())
        else:
            layers.append(nn.Linear(width, layer))
            width = layer
    return nn.Sequential(*layers)


def config_from(fields: Fields, tower: Shapes) -> UniEcgConfig:
    """Read config.json's fields and the tower's shapes (names without prefix).

    Raises InputError for a field or tensor that is absent or cannot be.
    """
    held = _stated(fields)
    pooling: Any = held.get("pooling")
    if pooling not in get_args(Pooling):
        raise InputError(
            f"expected 'pooling' in config.json's ecg_generation as one of {', '.join(get_args(Pooling))}, "
            f"found {pooling!r}; state the one that the model was trained with."
        )
    return UniEcgConfig(
        gem=gem.config_from(fields, tower),
        token_count=count(held, "token_count", MOST_TOKENS),
        pooling=pooling,
        layers=_layers(held.get("layers")),
        token=text(held, "token", UniEcgConfig.token),
        prefix=text(held, "prefix", UniEcgConfig.prefix),
    )


def _stated(fields: Fields) -> Fields:
    held = fields.get("ecg_generation")
    if not isinstance(held, Mapping):
        raise InputError(
            f"expected how `[ECG]` tokens reach the generator under 'ecg_generation' in config.json, found {held!r}; "
            f"state token_count, pooling and layers there, or export the checkpoint as gem."
        )
    return held


def _layers(held: Any) -> tuple[int | str, ...]:
    layers = tuple(held) if isinstance(held, list | tuple) else ()
    known = [layer in ACTIVATIONS if isinstance(layer, str) else _is_width(layer) for layer in layers]
    if not layers or not all(known) or isinstance(layers[-1], str) or len(layers) > parts.MOST_LAYERS:
        raise InputError(
            f"expected 'layers' in config.json's ecg_generation as widths and {', '.join(ACTIVATIONS)}, a width last, "
            f"found {held!r}; state the layers that the model was trained with."
        )
    return layers


def _is_width(layer: Any) -> bool:
    return type(layer) is int and 0 < layer <= parts.MOST


def table(prefix: str) -> Table:
    """GEM's names, and the aligning projector's behind `prefix`."""
    return {**gem.TABLE, prefix: ("alignment", "")}


def differences(found: Parts[T], config: UniEcgConfig) -> dict[str, list[str]]:
    """As parts.differences; the aligning projector's names carry their prefix."""
    wrong, expected = gem.differences(found, config.gem), skeleton(lambda: alignment(config), Path("config.json"))
    wrong["missing"] += [config.prefix + name for name in expected if name not in found.alignment]
    wrong["unexpected"] += [config.prefix + name for name in found.alignment if name not in expected]
    return wrong


def token_id(config: UniEcgConfig, vocabulary: Mapping[str, int], rows: Shape) -> int:
    """The id of `[ECG]`. rows: the shape of the token embeddings, or of lm_head where that has fewer rows.

    Raises InputError where the tokenizer has no such token or the model no row for it.
    """
    found = vocabulary.get(config.token)
    if found is None or found >= rows[0]:
        what = "no such token" if found is None else f"token {found} and {rows[0]} rows"
        raise InputError(
            f"expected {config.token} in the tokenizer and a row for it in the model, found {what}; "
            f"take the tokenizer that the model was trained with."
        )
    return found


def sources(encoder: gem.Encoder, aligned: AlignedCondition, outputs: tuple[str, ...]) -> tuple[Source, ...]:
    """GEM's encoder and the condition; the generator's other graphs are its family's. outputs: of the condition."""
    config = aligned.config

    def draw(rng: np.random.Generator) -> Arrays:
        states = rng.standard_normal((1, config.token_count, config.gem.hidden_size), np.float32)
        scalars = [[rng.integers(0, 2), rng.uniform(18, 90), rng.uniform(40, 160)]]
        return {"states": states, "scalars": np.array(scalars, np.float32)}

    return (*encoder_sources(encoder), Source("condition", aligned, draw, outputs))


def read(path: Path, tower: Path | None = None, generator: Path | None = None, with_image: bool = False) -> Exportable:
    """Open a checkpoint folder and the generator that it draws with.

    tower: the ECG tower's own file, where the shards have none. generator: the folder of a published DiffuSETS, whose
    text embedding the `[ECG]` states take the place of. with_image: the images' tower too. Raises InputError for
    anything else, listing the tensors that are missing or unexpected, and for a generator whose text is of another
    width.
    """
    folder = open_folder(path, tower)
    found = folder.parts(table(text(_stated(folder.fields), "prefix", UniEcgConfig.prefix)))
    config = config_from(folder.fields, shapes(found.tower))
    refuse(path, differences(found, config))
    if generator is None:
        raise InputError(
            "expected the generator that this UniECG draws with, found none; give DiffuSETS' folder with --generator."
        )
    drawing = diffusets.read(generator)
    condition, *others = drawing.sources
    width = condition.draw(np.random.default_rng(0))["text"].shape[-1]
    if config.layers[-1] != width:
        raise InputError(
            f"expected a generator whose text embedding is {config.layers[-1]} wide, as 'layers' in config.json's "
            f"ecg_generation ends, found {width} in {generator}; give the one that the model was aligned with."
        )
    language = folder.language(found, gem.language_model_fields(folder.fields), gem.prompt)
    ids = {token: i for i, token in enumerate(language.vocabulary.tokens)}
    token = token_id(config, ids, tuple(found.language_model["model.embed_tokens.weight"].shape))
    language = replace(language, vocabulary=made_special(language.vocabulary, token))
    encoder = build(lambda: gem.Encoder(config.gem), found.encoder, path)
    align = build(lambda: alignment(config), found.alignment, path)
    aligned = AlignedCondition(config, align, condition.module).eval()
    graphs, picture = (*sources(encoder, aligned, condition.outputs), *others), None
    if with_image:
        seeing, picture = gem.image_source(found, config.gem, folder.fields, path)
        graphs = (*graphs, seeing)
    generation = need(drawing.generation, "a generation part")
    return Exportable(
        family="uniecg",
        name="uniecg",
        version=path.absolute().name,
        licence="not stated by its authors",
        intended_use=RESEARCH,
        paper="https://arxiv.org/abs/2509.18588",
        files=(*folder.files, *drawing.files),
        sources=graphs,
        parameters=count_parameters(graphs) | {"language_model": language.parameters},
        language=language,
        preprocessing=preprocessing(config.gem.tower),
        picture=picture,
        generation=msgspec.structs.replace(generation, token=config.token, token_count=config.token_count),
    )
