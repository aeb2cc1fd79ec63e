"""A Hugging Face folder of a LLaMA, Mistral, Qwen2 or Qwen3: its geometry, and its tensors one by one.

Nothing in the folder is trusted: files are bounded, shards lie in the folder itself, and every tensor is held
against the shape that config.json calls for before any is read. What config.json leaves out has transformers'
defaults, as it has for transformers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from uniecg_device.errors import InputError
from uniecg_export.weights import PICKLES, differences, refuse, some

Architecture = Literal["llama", "qwen2", "qwen3"]
Keep = Callable[[str], "str | None"]

# Mistral is a LLaMA to llama.cpp; its sliding window is seen to by `_context`.
KINDS: Final[dict[str, tuple[Architecture, Any]]] = {
    "llama": ("llama", LlamaConfig),
    "mistral": ("llama", MistralConfig),
    "qwen2": ("qwen2", Qwen2Config),
    "qwen3": ("qwen3", Qwen3Config),
}
_COUNTS = """
vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
max_position_embeddings sliding_window max_window_layers
"""
COUNTS: Final = tuple(_COUNTS.split())
FLAGS: Final = ("tie_word_embeddings", "attention_bias", "mlp_bias", "use_sliding_window")
REALS: Final = ("rms_norm_eps", "rope_theta", "partial_rotary_factor")
OTHERS: Final = ("hidden_act", "rope_scaling", "rope_parameters")
IDS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")
MOST: Final = 1 << 24  # no dimension, context or vocabulary is larger
MOST_LAYERS: Final = 512  # llama.cpp holds no more
CONFIG_BYTES: Final = 4 << 20
INDEX_BYTES: Final = 32 << 20
PART_BYTES: Final = 64 << 20  # of a tensor that is converted at a time
FLOATS: Final = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Llama3Rope:
    """LLaMA 3.1's scaling of the rotary frequencies; `original` is the context in tokens that it was trained on."""

    factor: float
    low: float
    high: float
    original: float


@dataclass(frozen=True)
class Geometry:
    """All that a GGUF file says of a language model beside its tensors and its tokenizer.

    vocabulary: rows of the embedding. context: tokens. head_dim: width of a head. biases: modules of a layer that
    add one. notes: what was made otherwise than config.json says, one sentence each.
    """

    architecture: Architecture
    vocabulary: int
    context: int
    width: int
    layers: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    rms_eps: float
    rope_theta: float
    rope_linear: float | None = None
    rope_llama3: Llama3Rope | None = None
    tied: bool = False
    biases: tuple[str, ...] = ()
    bos: int | None = None
    eos: int | None = None
    pad: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies: shard, its name there, shape and safetensors' type."""

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True)
class HfLanguageModel:
    """A language model in a folder. tensors: by transformers' plain names. aside: stored names that are none of its."""

    folder: Path
    geometry: Geometry
    tensors: Mapping[str, Stored]
    aside: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """How many numbers its tensors hold."""
        return sum(math.prod(place.shape) for place in self.tensors.values())


def read_json(path: Path, most: int) -> dict[str, Any]:
    """Read a JSON object of at most `most` bytes, out of a file and no device or pipe. Raises InputError."""
    try:
        if not path.is_file():
            raise InputError(f"expected a file at {path}, found none; fetch it again.")
        with path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise InputError(f"expected at most {most} bytes in {path}, found more; take the model's own file.")
        held = json.loads(data.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"expected JSON in {path}, could not read it ({error}); fetch the file again.") from None
    if not isinstance(held, dict):
        raise InputError(f"expected a JSON object in {path}, found {type(held).__name__}; fetch the file again.")
    return held


def open_language_model(
    folder: Path, keep: Keep | None = None, config: Mapping[str, Any] | None = None
) -> HfLanguageModel:
    """Open a folder with config.json and model.safetensors or its shards; no tensor is read yet.

    keep: maps a stored name to that of a plain *ForCausalLM ("model.layers.0.mlp.up_proj.weight"), or to None for
    tensors of towers and projectors. config: in place of config.json's, for families that have their own name for a
    LLaMA. Raises InputError for a folder, configuration or tensor that llama.cpp could not follow.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder with config.json and safetensors at {folder}, found none; give one.")
    geometry = read_geometry(read_json(folder / "config.json", CONFIG_BYTES) if config is None else config)
    kept: dict[str, Stored] = {}
    aside = []
    for place in stored_tensors(folder):
        name = place.name if keep is None else keep(place.name)
        if name is None or name.endswith(".rotary_emb.inv_freq"):  # a buffer that old checkpoints hold
            aside.append(place.name)
        elif name in kept:
            raise InputError(f"expected one tensor for {name}, found {kept[name].name} and {place.name}; keep one.")
        else:
            kept[name] = place
    geometry, kept = _settle_tie(geometry, kept)
    _compare(folder, geometry, kept)
    return HfLanguageModel(folder, geometry, kept, tuple(aside))


def read_geometry(config: Mapping[str, Any], model_type: str | None = None) -> Geometry:
    """Read the geometry that config.json, or its `text_config`, states. Raises InputError.

    A model whose attention has a sliding window gets that window as its context, because llama.cpp has no window
    for these architectures; up to there the two compute the same. `notes` says so.
    """
    nested = config.get("text_config")
    text = nested if isinstance(nested, Mapping) else config
    name = model_type or text.get("model_type")
    if not isinstance(name, str) or name not in KINDS:
        raise InputError(
            f"expected a model_type of {', '.join(KINDS)} in config.json, found {name!r}; say which it is."
        )
    if config.get("quantization_config") or text.get("quantization_config"):
        raise InputError("expected weights as floats, found a quantization_config; export the model it was made from.")
    architecture, built = KINDS[name][0], _built(name, config, text)
    head_dim = getattr(built, "head_dim", None) or built.hidden_size // built.num_attention_heads
    context, notes = _context(built)
    theta, linear, llama3 = _rope(built.rope_parameters, architecture)
    if "mrope_section" in built.rope_parameters:
        notes = (*notes, "Positions are those of text: all three axes of M-RoPE run together.")
    geometry = Geometry(
        architecture=architecture,
        vocabulary=built.vocab_size,
        context=context,
        width=built.hidden_size,
        layers=built.num_hidden_layers,
        feed_forward=built.intermediate_size,
        heads=built.num_attention_heads,
        kv_heads=built.num_key_value_heads,
        head_dim=head_dim,
        rms_eps=built.rms_norm_eps,
        rope_theta=theta,
        rope_linear=linear,
        rope_llama3=llama3,
        tied=built.tie_word_embeddings,
        biases=_biases(architecture, built),
        bos=_id(built.bos_token_id),
        eos=_id(built.eos_token_id),
        pad=_id(built.pad_token_id),
        notes=notes,
    )
    _check(built, geometry)
    return geometry


def _built(name: str, config: Mapping[str, Any], text: Mapping[str, Any]) -> Any:
    """transformers' configuration of the fields that matter here, each of them checked."""
    fields = {key: text[key] for key in (*COUNTS, *FLAGS, *REALS, *OTHERS, *IDS) if key in text}
    fields |= {key: dict(value) for key, value in fields.items() if isinstance(value, dict)}  # transformers adds to it
    for key in ("tie_word_embeddings", *IDS):  # composite models say these outside
        if key in config:
            fields.setdefault(key, config[key])
    wrong = [f"{key} {fields[key]!r}" for key in fields if not _plausible(key, fields[key])]
    if wrong:
        raise InputError(f"expected plausible numbers in config.json, found {', '.join(wrong)}; mend config.json.")
    try:
        return KINDS[name][1](**fields)
    except Exception as error:  # transformers and huggingface_hub each raise their own
        reason = " ".join(str(error).split())[-200:]
        raise InputError(f"expected a geometry that {name} can have in config.json: {reason}; mend it.") from None


def _plausible(key: str, value: Any) -> bool:
    if value is None or key in OTHERS:
        return isinstance(value, dict | str | None)
    if key in FLAGS:
        return isinstance(value, bool)
    if key in IDS:
        return all(type(i) is int and 0 <= i < MOST for i in (value if isinstance(value, list) else [value]))
    if key in COUNTS:
        least = 0 if key == "max_window_layers" else 1
        return type(value) is int and least <= value <= (MOST_LAYERS if key == "num_hidden_layers" else MOST)
    return _positive(value)


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _check(built: Any, g: Geometry) -> None:
    rope = built.rope_parameters
    wrong = {
        f"the activation {built.hidden_act!r} instead of silu": built.hidden_act not in ("silu", "swish"),
        "rotation of a part of each head": rope.get("partial_rotary_factor", 1.0) != 1.0,
        "biases in a qwen3's attention": g.architecture == "qwen3" and built.attention_bias,
        f"{g.kv_heads} key-value heads for {g.heads} heads": g.heads % g.kv_heads != 0,
        f"an odd head of {g.head_dim}": g.head_dim % 2 != 0,
        f"heads of {g.head_dim} that do not add up to {g.width}": g.architecture == "qwen2"
        and g.head_dim * g.heads != g.width,
    }
    if any(wrong.values()):
        found = ", ".join(what for what, bad in wrong.items() if bad)
        raise InputError(f"expected a {g.architecture} that llama.cpp computes, found {found}; it cannot be exported.")


def _context(built: Any) -> tuple[int, tuple[str, ...]]:
    window = getattr(built, "sliding_window", None)
    if window is None or window >= built.max_position_embeddings:
        return built.max_position_embeddings, ()
    note = (
        f"The context is the sliding window of {window} tokens, not {built.max_position_embeddings}, "
        "because llama.cpp would attend to all of a longer one."
    )
    return window, (note,)


def _rope(rope: Mapping[str, Any], architecture: Architecture) -> tuple[float, float | None, Llama3Rope | None]:
    """theta, the factor of linear scaling, LLaMA 3.1's scaling."""
    kind = rope.get("rope_type", "default")
    numbers = [rope.get("rope_theta")]
    if kind == "linear":
        numbers += [rope.get("factor")]
    elif kind == "llama3" and architecture == "llama":
        keys = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        numbers += [rope.get(key) for key in keys]
    elif kind not in ("default", "mrope"):
        raise InputError(
            f"expected rope scaling of default or linear, or of llama3 in a llama, found {kind!r} in a {architecture}; "
            f"llama.cpp or this exporter cannot follow it."
        )
    if not all(map(_positive, numbers)):
        raise InputError(f"expected positive numbers for {kind} rope scaling in config.json, found {numbers}; mend it.")
    theta, *rest = (float(number or 0) for number in numbers)
    if kind == "linear":
        return theta, rest[0], None
    if kind == "llama3":
        if rest[1] >= rest[2]:
            raise InputError(f"expected low_freq_factor below high_freq_factor, found {rest[1:3]}; mend config.json.")
        return theta, None, Llama3Rope(*rest)
    return theta, None, None


def _biases(architecture: Architecture, built: Any) -> tuple[str, ...]:
    if architecture == "qwen2":
        return ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    found: tuple[str, ...] = ()
    if architecture == "llama" and getattr(built, "attention_bias", False):
        found += ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    if architecture == "llama" and getattr(built, "mlp_bias", False):
        found += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    return found


def _id(value: int | list[int] | None) -> int | None:
    """The token id; where a model ends on several, the first."""
    return (value[0] if value else None) if isinstance(value, list) else value


def tensor_shapes(g: Geometry) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that transformers' class of this geometry has, in the model's order."""
    queries, keys = g.heads * g.head_dim, g.kv_heads * g.head_dim
    matrices = {
        "self_attn.q_proj": (queries, g.width),
        "self_attn.k_proj": (keys, g.width),
        "self_attn.v_proj": (keys, g.width),
        "self_attn.o_proj": (g.width, queries),
        "mlp.gate_proj": (g.feed_forward, g.width),
        "mlp.up_proj": (g.feed_forward, g.width),
        "mlp.down_proj": (g.width, g.feed_forward),
    }
    norms = {"input_layernorm": g.width, "post_attention_layernorm": g.width}
    if g.architecture == "qwen3":
        norms |= {"self_attn.q_norm": g.head_dim, "self_attn.k_norm": g.head_dim}
    layer: dict[str, tuple[int, ...]] = {f"{part}.weight": (size,) for part, size in norms.items()}
    layer |= {f"{part}.weight": shape for part, shape in matrices.items()}
    layer |= {f"{part}.bias": matrices[part][:1] for part in g.biases}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (g.vocabulary, g.width)}
    shapes |= {f"model.layers.{i}.{part}": shape for i in range(g.layers) for part, shape in layer.items()}
    shapes["model.norm.weight"] = (g.width,)
    if not g.tied:
        shapes["lm_head.weight"] = (g.vocabulary, g.width)
    return shapes


def stored_tensors(folder: Path) -> Iterator[Stored]:
    """Every tensor that the folder holds. Raises InputError for shards that are not there, or elsewhere."""
    for path, wanted in _shards(folder).items():
        try:
            with safe_open(path, "pt") as file:
                names = set(file.keys())
                if wanted is not None and wanted - names:
                    raise InputError(
                        f"expected {some(sorted(wanted - names))} in {path}, as the index says; fetch the shard again."
                    )
                for name in sorted(names if wanted is None else wanted):
                    piece = file.get_slice(name)
                    yield Stored(path, name, tuple(piece.get_shape()), str(piece.get_dtype()))
        except (SafetensorError, OSError) as error:
            raise InputError(f"expected tensors in {path}, could not read it ({error}); fetch it again.") from None


def _shards(folder: Path) -> dict[Path, set[str] | None]:
    """Files and the tensors to take from each; None: all."""
    if (folder / "model.safetensors").is_file():
        return {folder / "model.safetensors": None}
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        found = f"{some(pickles)}: pickles can run code and are never opened" if pickles else "neither"
        raise InputError(f"expected model.safetensors or its index in {folder}, found {found}; save it as safetensors.")
    weights = read_json(index, INDEX_BYTES).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise InputError(f"expected a weight_map in {index}, found none; fetch the file again.")
    shards: dict[Path, set[str] | None] = {}
    for name, shard in weights.items():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise InputError(f"expected shards in {folder} itself, the index names {shard!r}; do not use this folder.")
        taken = shards.setdefault(folder / shard, set())
        if taken is not None:
            taken.add(name)
    missing = [path.name for path in shards if not path.is_file()]
    if missing:
        raise InputError(f"expected the shards of the index in {folder}, missing: {some(missing)}; fetch them.")
    return shards


def _settle_tie(geometry: Geometry, kept: dict[str, Stored]) -> tuple[Geometry, dict[str, Stored]]:
    """Whether an output matrix beside tied embeddings is a copy, to be left out, or a matrix of its own.

    transformers takes an output matrix that differs for what it is, whatever config.json says.
    """
    embedding, output = kept.get("model.embed_tokens.weight"), kept.get("lm_head.weight")
    if not geometry.tied or embedding is None or output is None:
        return geometry, kept
    shape = geometry.vocabulary, geometry.width
    fit = all(
        place.shape == shape and place.kind in FLOATS for place in (embedding, output)
    )  # or `_compare` names them
    if fit and _same(embedding, output):
        return geometry, {name: place for name, place in kept.items() if name != "lm_head.weight"}
    note = "The embeddings are not tied, because the checkpoint holds an output matrix that differs from them."
    return replace(geometry, tied=False, notes=(*geometry.notes, note)), kept


def _same(a: Stored, b: Stored) -> bool:
    return all(torch.equal(x, y) for (_, x), (_, y) in zip(_parts(a), _parts(b), strict=True))


def _compare(folder: Path, geometry: Geometry, kept: Mapping[str, Stored]) -> None:
    expected = tensor_shapes(geometry)
    found = {name: place.shape for name, place in kept.items()}
    kinds = [f"{n} {kept[n].kind}" for n in expected if n in kept and kept[n].kind not in FLOATS]
    refuse(
        folder,
        differences(expected, found) | {"other type": kinds},
        f"the {len(expected)} tensors of a {geometry.architecture} as floats",
        "Export the checkpoint that belongs to this config.json, and give other parts' tensors aside.",
    )


def read_tensor(place: Stored) -> NDArray[Any]:
    """A tensor in float32 where it has one dimension, in fp16 where it has two.

    It is converted in parts, so that hardly more than the result is in memory. Raises InputError for a value that is
    no number or too large for fp16.
    """
    kind = torch.float32 if len(place.shape) == 1 else torch.float16
    result = np.empty(place.shape, np.float32 if kind is torch.float32 else np.float16)
    for rows, part in _parts(place):
        converted = part.to(kind)
        if not bool(torch.isfinite(converted).all()):
            raise InputError(
                f"expected finite numbers within fp16's range in {place.name} ({place.path.name}), found others; "
                "this checkpoint cannot be exported."
            )
        result[rows] = converted.numpy()
    return result


def read_float(place: Stored) -> torch.Tensor:
    """A tensor in float32. Raises InputError for one that does not hold floats."""
    if place.kind not in FLOATS:
        raise InputError(f"expected floats in {place.name} ({place.path.name}), found {place.kind}; export others.")
    try:
        with safe_open(place.path, "pt") as file:
            return file.get_tensor(place.name).float()
    except (SafetensorError, OSError) as error:
        raise InputError(f"expected {place.name} in {place.path}, could not read it ({error}); fetch it.") from None


def _parts(place: Stored) -> Iterator[tuple[slice, torch.Tensor]]:
    """Slabs of rows. The shard is opened anew each time: its mapped pages would otherwise pile up in memory."""
    rows = place.shape[0]
    step = max(1, PART_BYTES // (4 * math.prod(place.shape[1:])))
    try:
        for start in range(0, rows, step):
            taken = slice(start, min(start + step, rows))
            with safe_open(place.path, "pt") as file:
                yield taken, file.get_slice(place.name)[taken]
    except (SafetensorError, OSError) as error:
        raise InputError(f"expected {place.name} in {place.path}, could not read it ({error}); fetch it.") from None
