"""From a language model and its tokenizer to a GGUF file, and through llama.cpp's own quantizer.

Names, the order of Q and K rows, and metadata are those of llama.cpp's `convert_hf_to_gguf.py`. Where there is no
`output.weight` llama.cpp takes the token embeddings for it, which is what tied embeddings mean. Tensors are written one
by one, so that no more than one is in memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import gguf
import llama_cpp.llama_cpp as api
import numpy as np
from numpy.typing import NDArray
from transformers import LlamaConfig

from uniecg_device.errors import BackendError, InputError
from uniecg_export.gguf_vocabulary import MADE_SPECIAL, SPLIT_PATTERN, Vocabulary, read_tokenizer
from uniecg_export.hf_language_model import Geometry, HfLanguageModel, read_geometry, read_tensor, tensor_shapes
from uniecg_runtime.backends import llama as _llama  # noqa: F401  silences llama.cpp before anything of it runs

__all__ = [
    "SPLIT_PATTERN",
    "Precision",
    "Quantized",
    "Vocabulary",
    "permute",
    "quantize",
    "read_tokenizer",
    "write_gguf",
    "write_language_model",
]

Precision = Literal["q8_0", "f16", "q6_k", "q5_k_m", "q4_k_m"]
Weights = Mapping[str, NDArray[Any]]

FILE_TYPES: Final[dict[Precision, int]] = {
    "f16": api.LLAMA_FTYPE_MOSTLY_F16,
    "q8_0": api.LLAMA_FTYPE_MOSTLY_Q8_0,
    "q6_k": api.LLAMA_FTYPE_MOSTLY_Q6_K,
    "q5_k_m": api.LLAMA_FTYPE_MOSTLY_Q5_K_M,
    "q4_k_m": api.LLAMA_FTYPE_MOSTLY_Q4_K_M,
}
# What llama.cpp makes of matrices of each precision, sensitive ones in the second type. Any other is a fallback.
TYPES: Final[dict[Precision, tuple[str, ...]]] = {
    "f16": ("F16",),
    "q8_0": ("Q8_0",),
    "q6_k": ("Q6_K",),
    "q5_k_m": ("Q5_K", "Q6_K"),
    "q4_k_m": ("Q4_K", "Q6_K"),
}
QUANTIZER_BYTES: Final = 512 << 20  # of a tensor that llama.cpp holds at a time; 8 GiB where nothing is said
IMPORTANCE_BYTES: Final = 256 << 20
OUTER_NAMES: Final = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
LAYER_NAMES: Final = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
# Special tokens of these names llama.cpp makes ordinary ones.
MADE_ORDINARY: Final = frozenset(("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"))
MISREAD_NAMES: Final = ("phi-3", "phi3", "modern-bert")  # names of models whose special tokens take spaces with them


@dataclass(frozen=True)
class Quantized:
    """What llama.cpp's quantizer did. types: of each tensor. fallbacks: matrices that got another type than was asked
    for, because their rows do not divide into its blocks (32 for q8_0, 256 for the others)."""

    precision: Precision
    types: Mapping[str, str]
    fallbacks: Mapping[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """What is otherwise than asked for, one sentence each."""
        if not self.fallbacks:
            return ()
        kinds = ", ".join(sorted(set(self.fallbacks.values())))
        rows = f"their rows do not divide into blocks of {self.precision}"
        return (f"{len(self.fallbacks)} matrices are {kinds}: {rows}.",)


def permute(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of Q or K from transformers' order (halves of a head rotate together) to llama.cpp's (pairs do)."""
    rows, *rest = weight.shape
    paired = weight.reshape(heads, 2, rows // heads // 2, *rest).swapaxes(1, 2)
    return np.ascontiguousarray(paired.reshape(weight.shape))


def write_gguf(path: Path, weights: Weights, config: LlamaConfig, vocabulary: Vocabulary, name: str) -> None:
    """Write an f16 GGUF of a LLaMA with tied embeddings.

    weights: transformers' names without `lm_head.weight`. vocabulary: as many tokens as the embedding has rows.
    """
    geometry = _tied(config)
    _check_names(weights, geometry)
    shapes = {key: value.shape for key, value in weights.items()}
    _write(path, geometry, shapes, lambda key: weights[key], vocabulary, name)


def write_language_model(path: Path, model: HfLanguageModel, vocabulary: Vocabulary, name: str) -> None:
    """Write an f16 GGUF of a Hugging Face folder's language model, one tensor at a time.

    vocabulary: as many tokens as the embedding has rows. name: shown by llama.cpp. Raises InputError for a tokenizer
    that llama.cpp could not hold, and for a value that fp16 cannot; there is then no file.
    """
    shapes = tensor_shapes(model.geometry)
    _write(path, model.geometry, shapes, lambda key: read_tensor(model.tensors[key]), vocabulary, name)


def _tied(config: LlamaConfig) -> Geometry:
    return read_geometry({**config.to_dict(), "tie_word_embeddings": True}, "llama")


def _check_names(names: Iterable[str], geometry: Geometry) -> None:
    strange = sorted(set(names) - tensor_shapes(geometry).keys())
    if strange:
        raise InputError(
            f"expected the tensors of a {geometry.architecture} so configured, found {strange[:5]}; give them aside."
        )


def _name(name: str) -> str:
    """llama.cpp's name of one of `tensor_shapes`."""
    module, _, part = name.rpartition(".")
    if module in OUTER_NAMES:
        return f"{OUTER_NAMES[module]}.{part}"
    layer, _, inner = module.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{LAYER_NAMES[inner]}.{part}"


def _as_written(name: str, value: NDArray[Any], g: Geometry) -> NDArray[Any]:
    heads = {"q_proj": g.heads, "k_proj": g.kv_heads}.get(name.split(".")[-2])
    if heads is not None and g.architecture == "llama":  # the others' halves rotate together in llama.cpp too
        value = permute(value, heads)
    return value.astype(np.float32 if value.ndim == 1 else np.float16, copy=False)


def _write(
    path: Path,
    geometry: Geometry,
    shapes: Mapping[str, tuple[int, ...]],
    load: Callable[[str], NDArray[Any]],
    vocabulary: Vocabulary,
    name: str,
) -> None:
    _check_vocabulary(vocabulary, geometry, name)
    with _written(path, geometry.architecture) as writer:
        _add_geometry(writer, geometry, name)
        _add_vocabulary(writer, vocabulary, geometry)
        for key, shape in shapes.items():
            kind = np.dtype(np.float32 if len(shape) == 1 else np.float16)
            writer.add_tensor_info(_name(key), shape, kind, math.prod(shape) * kind.itemsize)
        factors = _rope_factors(geometry)
        if factors is not None:
            writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for key in shapes:
            writer.write_tensor_data(_as_written(key, load(key), geometry))
        if factors is not None:
            writer.write_tensor_data(factors)


@contextlib.contextmanager
def _written(path: Path, architecture: str) -> Iterator[Any]:
    """A writer whose file vanishes where it does not come to its end."""
    writer = gguf.GGUFWriter(path, architecture)
    try:
        yield writer
        writer.close()
    except BaseException:
        writer.close()
        path.unlink(missing_ok=True)
        raise


def _add_geometry(writer: Any, g: Geometry, name: str) -> None:
    writer.add_name(name)
    writer.add_vocab_size(g.vocabulary)
    writer.add_context_length(g.context)
    writer.add_embedding_length(g.width)
    writer.add_block_count(g.layers)
    writer.add_feed_forward_length(g.feed_forward)
    writer.add_head_count(g.heads)
    writer.add_head_count_kv(g.kv_heads)
    if g.head_dim * g.heads != g.width:
        writer.add_key_length(g.head_dim)
        writer.add_value_length(g.head_dim)
    writer.add_rope_dimension_count(g.head_dim)
    writer.add_rope_freq_base(g.rope_theta)
    if g.rope_linear is not None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(g.rope_linear)
    writer.add_layer_norm_rms_eps(g.rms_eps)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_vocabulary(writer: Any, vocabulary: Vocabulary, g: Geometry) -> None:
    writer.add_tokenizer_model("llama" if vocabulary.scores else "gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.spaces == "each")
    writer.add_token_types(vocabulary.types)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    for name, token in _named_ids(vocabulary, g).items():
        if token is not None:
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)


def _named_ids(vocabulary: Vocabulary, g: Geometry) -> dict[str, int | None]:
    """The tokenizer's word on its special tokens, else config.json's."""
    return {
        "bos": g.bos if vocabulary.bos is None else vocabulary.bos,
        "eos": g.eos if vocabulary.eos is None else vocabulary.eos,
        "padding": g.pad if vocabulary.pad is None else vocabulary.pad,
        "unknown": vocabulary.unknown,
    }


def _check_vocabulary(vocabulary: Vocabulary, g: Geometry, name: str) -> None:
    """Refuse what llama.cpp stops the whole process for, or reads in its own way."""
    tokens, types = vocabulary.tokens, vocabulary.types
    twice = {token for token, n in Counter(tokens).items() if n > 1 or not _is_writable(token)}
    ordinary = {t for t, kind in zip(tokens, types, strict=True) if kind == gguf.TokenType.NORMAL} & MADE_SPECIAL
    special = {tokens[i] for i in vocabulary.special} & MADE_ORDINARY
    ids = _named_ids(vocabulary, g)
    beyond = [f"{key} {i}" for key, i in ids.items() if i is not None and i >= len(tokens)]
    ends = ((vocabulary.add_bos, ids["bos"]), (vocabulary.add_eos, ids["eos"]))
    wrong = {
        f"{len(tokens)} tokens for {g.vocabulary} rows of the embedding": len(tokens) != g.vocabulary,
        f"tokens that are empty, no text or there twice ({sorted(twice)[:3]!a})": bool(twice),
        f"ordinary tokens that llama.cpp makes special ({sorted(ordinary)[:3]})": bool(ordinary),
        f"special tokens that llama.cpp makes ordinary ({sorted(special)[:3]})": bool(special),
        "neither merges nor scores": not (vocabulary.merges or vocabulary.scores),
        "no BOS or EOS to add": any(adds and token is None for adds, token in ends),
        f"special tokens that are none of them ({', '.join(beyond)})": bool(beyond),
        f"a name by which llama.cpp knows other special tokens ({name})": any(n in name.lower() for n in MISREAD_NAMES),
    }
    if any(wrong.values()):
        found = ", ".join(what for what, bad in wrong.items() if bad)
        raise InputError(f"expected a vocabulary that llama.cpp can hold, found {found}; it cannot be exported.")


def _is_writable(token: str) -> bool:
    return token != "" and "\0" not in token and token.encode("utf-8", "ignore").decode("utf-8") == token


def _rope_factors(g: Geometry) -> NDArray[np.float32] | None:
    """What llama.cpp divides each rotary frequency by, float32 (head_dim / 2,): LLaMA 3.1's scaling.

    Wavelengths (tokens per turn) up to original / high stay, those from original / low are stretched by the factor,
    those between by a mixture, as transformers' `_compute_llama3_parameters` has it.
    """
    rope = g.rope_llama3
    if rope is None:
        return None
    wavelengths = 2 * np.pi * g.rope_theta ** (np.arange(0, g.head_dim, 2, dtype=np.float64) / g.head_dim)
    share = np.clip((rope.original / wavelengths - rope.low) / (rope.high - rope.low), 0.0, 1.0)
    return (1.0 / ((1.0 - share) / rope.factor + share)).astype(np.float32)


def quantize(source: Path, path: Path, precision: Precision, imatrix: Path | None = None) -> Quantized:
    """Write `source` (f16) at `precision` with llama.cpp's quantizer.

    imatrix: an importance matrix (`uniecg_export.importance`, or llama-imatrix in its GGUF format); columns that
    matter get the smaller errors. Raises InputError for one that cannot be read, BackendError where llama.cpp fails.
    """
    params = api.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[precision]
    params.nthread = 1
    params.max_buf_size = QUANTIZER_BYTES
    if imatrix is not None:
        importance = _read_importance(imatrix)
        params.imatrix = _importance_entries(importance)
    status = api.llama_model_quantize(str(source).encode(), str(path).encode(), ctypes.byref(params))
    if status != 0 or not path.is_file():
        raise BackendError(f"expected llama.cpp to quantize {source.name} to {precision}, it returned {status}.")
    tensors = gguf.GGUFReader(path).tensors
    types = {tensor.name: str(tensor.tensor_type.name) for tensor in tensors}
    matrices = [tensor.name for tensor in tensors if len(tensor.shape) > 1]
    return Quantized(precision, types, {name: types[name] for name in matrices if types[name] not in TYPES[precision]})


def _importance_entries(importance: Mapping[str, NDArray[np.float32]]) -> Any:
    """llama.cpp's array, ended by an entry without a name; the caller keeps `importance` alive."""
    entries = (api.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(entries, importance.items(), strict=False):
        entry.name, entry.size = name.encode(), values.size
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return entries


def _read_importance(path: Path) -> dict[str, NDArray[np.float32]]:
    """Mean squares of the inputs of each matrix, by tensor name."""
    try:
        if path.stat().st_size > IMPORTANCE_BYTES:
            raise ValueError(f"more than {IMPORTANCE_BYTES} bytes")
        held = {tensor.name: np.array(tensor.data, np.float32) for tensor in gguf.GGUFReader(path).tensors}
        names = [name.removesuffix(".in_sum2") for name in held if name.endswith(".in_sum2")]
        found = {name: (held[f"{name}.in_sum2"] / held[f"{name}.counts"]).ravel() for name in names}
        if not found or not all(bool(np.isfinite(values).all() and (values >= 0).all()) for values in found.values()):
            raise ValueError("no sums of squares")
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"expected an importance matrix in {path}, could not read it ({error}); compute it.") from None
    return found
