"""Which columns of a language model's matrices matter in a domain: an importance matrix, measured by llama.cpp.

It holds the sum of squares of what each matrix is multiplied with, column by column, over all tokens of a text, in the
GGUF format of llama.cpp's `llama-imatrix`; the quantizer then keeps errors small where these are large.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import gguf
import llama_cpp.llama_cpp as api
import numpy as np
from llama_cpp import _ggml
from numpy.typing import NDArray

from uniecg_device.errors import BackendError, InputError
from uniecg_runtime.backends import llama as _llama  # noqa: F401  silences llama.cpp before anything of it runs

CHUNK: Final = 512  # tokens that are read together, as llama-imatrix does
MOST_TEXT: Final = 16 << 20  # characters; a matrix needs some ten thousand tokens
F32: Final = 0  # ggml's number of the type

_library: Any = _ggml.libggml
_library.ggml_op_desc.argtypes = _library.ggml_get_name.argtypes = [ctypes.c_void_p]
_library.ggml_op_desc.restype = _library.ggml_get_name.restype = ctypes.c_char_p


class _Tensor(ctypes.Structure):
    """The head of ggml.h's `struct ggml_tensor`; names are held against the library's as they are read."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
    )


class _Sums:
    """Adds squares up while llama.cpp computes; its callback keeps what goes wrong, as ctypes would swallow it."""

    def __init__(self) -> None:
        self.squares: dict[str, NDArray[np.float64]] = {}
        self.counts: dict[str, int] = {}
        self.error: Exception | None = None
        self.callback: Any = api.ggml_backend_sched_eval_callback(self._take)

    def _take(self, address: int, ask: bool, _: Any) -> bool:
        """llama.cpp asks for each tensor whether it is wanted, and shows it once it is computed."""
        try:
            if _library.ggml_op_desc(address) != b"MUL_MAT":
                return not ask
            product = _Tensor.from_address(address)
            matrix, inputs = (_Tensor.from_address(product.src[i]) for i in range(2))
            if matrix.name != _library.ggml_get_name(product.src[0]):
                raise BackendError("expected ggml's tensors as of llama-cpp-python 0.3.36, found others; install it.")
            wanted = matrix.name.startswith(b"blk.") and matrix.name.endswith(b".weight") and inputs.type == F32
            if wanted and not ask:
                self._add(matrix.name.decode(), inputs)
            return bool(wanted) or not ask
        except Exception as error:
            self.error = error
            return False

    def _add(self, name: str, inputs: _Tensor) -> None:
        columns, rows, *more = inputs.ne
        if more != [1, 1]:
            raise BackendError(f"expected rows of inputs for {name}, llama.cpp has {list(inputs.ne)}; report this.")
        data = (ctypes.c_char * (inputs.nb[1] * rows)).from_address(inputs.data)
        values = np.ndarray((rows, columns), np.float32, data, strides=(inputs.nb[1], 4)).astype(np.float64)
        self.squares[name] = self.squares.get(name, 0.0) + np.square(values).sum(0)
        self.counts[name] = self.counts.get(name, 0) + rows


def read_texts(path: Path) -> list[str]:
    """The lines of a text file that hold anything, at most `MOST_TEXT` characters. Raises InputError."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(MOST_TEXT).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"expected UTF-8 texts at {path}, could not read them ({error}); give a text file.") from None
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise InputError(f"expected a text a line in {path}, found none; give some of the model's domain.")
    return texts


def write_importance(model: Path, texts: Iterable[str], path: Path, *, threads: int = 1) -> int:
    """Measure on `texts` what matters in the GGUF file `model`, f16 for best, and write the matrix to `path`.

    Texts are read from their start each, special tokens as such; those longer than `CHUNK` tokens in pieces. What soft
    tokens of a signal would add is not in it. Gives how many tokens were read. Raises InputError where there are none,
    BackendError where llama.cpp fails.
    """
    sums = _Sums()
    tokens = 0
    params = api.llama_model_default_params()
    params.n_gpu_layers = 0
    weights = api.llama_model_load_from_file(str(model).encode(), params)
    if not weights:
        raise InputError(f"expected a GGUF language model at {model}, llama.cpp could not load it; export it again.")
    try:
        context = _context(weights, sums, threads)
        try:
            for ids in _chunks(api.llama_model_get_vocab(weights), texts):
                status = _read(context, ids)
                if sums.error is not None:  # llama.cpp takes a callback that stops for the end, not for a failure
                    raise sums.error
                if status != 0:
                    raise BackendError(f"expected llama.cpp to read {len(ids)} tokens, it returned {status}.")
                tokens += len(ids)
        finally:
            api.llama_free(context)
    finally:
        api.llama_model_free(weights)
    if not sums.counts:
        raise InputError("expected texts to measure importance on, found none; give some of the model's domain.")
    _write(path, sums)
    return tokens


def _context(weights: Any, sums: _Sums, threads: int) -> Any:
    params = api.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = CHUNK
    params.n_threads = params.n_threads_batch = threads
    params.offload_kqv = params.op_offload = False  # the callback reads what lies in this machine's own memory
    params.cb_eval = sums.callback
    context = api.llama_init_from_model(weights, params)
    if not context:
        raise BackendError(f"expected memory for a context of {CHUNK} tokens, llama.cpp gave none; free memory.")
    return context


def _chunks(vocabulary: Any, texts: Iterable[str]) -> Iterator[NDArray[np.int32]]:
    for text in texts:
        data = text.encode("utf-8", "replace")
        ids = np.empty(2 * len(data) + 4, np.int32)  # BOS, EOS and a space behind every special token
        n = api.llama_tokenize(vocabulary, data, len(data), _as(ids, ctypes.c_int32), len(ids), True, True)
        if n < 0:
            raise BackendError(f"expected at most {len(ids)} tokens for a text, llama.cpp counted {-n}; report this.")
        for start in range(0, n, CHUNK):
            yield ids[start : min(start + CHUNK, n)]


def _read(context: Any, ids: NDArray[np.int32]) -> int:
    """Decode ids from an empty prefix. Logits are wanted of all, or the last layer would see the last token only."""
    n = len(ids)
    positions, ones, sequence = np.arange(n, dtype=np.int32), np.ones(n, np.int32), np.zeros(1, np.int32)
    sequences, wanted = np.full(n, sequence.ctypes.data, np.uintp), np.ones(n, np.int8)
    api.llama_memory_clear(api.llama_get_memory(context), False)
    batch = api.llama_batch(
        n_tokens=n,
        token=_as(np.ascontiguousarray(ids), ctypes.c_int32),
        pos=_as(positions, ctypes.c_int32),
        n_seq_id=_as(ones, ctypes.c_int32),
        seq_id=_as(sequences, ctypes.POINTER(ctypes.c_int32)),
        logits=_as(wanted, ctypes.c_int8),
    )
    return int(api.llama_decode(context, batch))


def _write(path: Path, sums: _Sums) -> None:
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_uint32("imatrix.chunk_count", -(-max(sums.counts.values()) // CHUNK))
    writer.add_uint32("imatrix.chunk_size", CHUNK)
    writer.add_array("imatrix.datasets", ["texts of the domain"])
    for name in sorted(sums.counts):
        writer.add_tensor(f"{name}.in_sum2", sums.squares[name].astype(np.float32)[None])
        writer.add_tensor(f"{name}.counts", np.array([[sums.counts[name]]], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _as(array: NDArray[Any], kind: Any) -> Any:
    """A ctypes pointer to an array's data, which holds the array."""
    return array.ctypes.data_as(ctypes.POINTER(kind))
