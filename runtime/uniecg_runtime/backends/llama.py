"""A language model in llama.cpp, over the low-level ctypes API of llama-cpp-python.

Only that level takes rows of floats in place of tokens (an ECG's soft tokens), gives hidden states
back, and lets many continuations share one prefix.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import llama_cpp.llama_cpp as api
import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import BackendError, BundleError, ContextError

BATCH: Final = 256  # tokens per llama_decode; longer input is fed in pieces
BRANCHES: Final = 64  # lone continuations per llama_decode; more are asked in rounds
WEIGHTS_PER_THREAD: Final = 32 << 20  # bytes; see LanguageModel
PREFIX: Final = 0  # the sequence that holds the conversation; branches borrow 1..BRANCHES

_log: deque[str] = deque(maxlen=8)


def _keep_log(level: int, text: bytes, _: ctypes.c_void_p) -> None:
    if level in (3, 4):  # warnings and errors; shown only as the reason of a failure
        _log.append(text.decode("utf-8", "replace").strip())


_log_callback: Any = api.llama_log_callback(_keep_log)  # llama.cpp keeps only its address
api.llama_log_set(_log_callback, ctypes.c_void_p(0))
api.llama_backend_init()


def sees_gpu() -> bool:
    """Whether this build of llama.cpp can compute on a GPU, and finds one."""
    return bool(api.llama_supports_gpu_offload())


class _Weights:
    """A GGUF file, mapped into memory once for all conversations."""

    def __init__(self, path: Path, gpu_layers: int) -> None:
        if not path.is_file():
            raise BundleError(f"expected a GGUF file at {path}, found none; export the bundle again.")
        self.gpu_layers = gpu_layers
        params = api.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        _log.clear()
        self.pointer: Any = api.llama_model_load_from_file(str(path).encode(), params)
        if not self.pointer:
            raise BundleError(
                f"expected a GGUF language model at {path}, llama.cpp could not load it "
                f"({_log[-1] if _log else 'no reason given'}); export the bundle again."
            )
        weakref.finalize(self, api.llama_model_free, self.pointer)


class LanguageModel:
    """One conversation with a language model: a prefix that grows, and what follows it.

    path: GGUF file. context: how many tokens the prefix may hold. threads: CPU threads it may use; it takes
    one for every 32 MB of weights, because llama.cpp's threads spin while they wait for each other: with
    less work than that between two waits a second thread saves little, and costs tenfold on a busy machine.
    gpu_layers: how many layers a GPU holds and computes, all of them where negative. provider: what runs it, for a
    person to read; remarks: what is less than was asked for.
    Not for use by two Python threads at once. Raises BundleError where the file does not load or was
    trained for a shorter context.
    """

    def __init__(self, path: Path, *, context: int, threads: int, gpu_layers: int = 0) -> None:
        self.remarks = list[str]()
        self._open(_Weights(path, gpu_layers), context, threads)
        trained = int(api.llama_model_n_ctx_train(self._weights.pointer))
        if context > trained:
            raise BundleError(
                f"expected a language model with a context of {context} tokens, {path.name} was trained for "
                f"{trained}; export the bundle again."
            )

    def _open(self, weights: _Weights, context: int, threads: int) -> None:
        self._weights, self.context = weights, context
        self.threads = min(threads, 1 + int(api.llama_model_size(weights.pointer)) // WEIGHTS_PER_THREAD)
        self.position = 0
        params = api.llama_context_default_params()
        params.n_ctx = context + BRANCHES
        params.n_batch = params.n_ubatch = BATCH
        params.n_seq_max = 1 + BRANCHES
        params.kv_unified = True  # sequences share cells, so that copying a prefix only marks them
        params.n_threads = params.n_threads_batch = self.threads
        params.embeddings = False
        params.pooling_type = api.LLAMA_POOLING_TYPE_NONE
        params.offload_kqv = params.op_offload = weights.gpu_layers != 0
        self.provider = "llama.cpp, GPU" if weights.gpu_layers else "llama.cpp, CPU"
        _log.clear()
        self._llama: Any = api.llama_init_from_model(weights.pointer, params)
        if not self._llama:
            raise BackendError(
                f"expected memory for a context of {context} tokens, llama.cpp gave none "
                f"({_log[-1] if _log else 'no reason given'}); free memory or lower the bundle's context."
            )
        weakref.finalize(self, api.llama_free, self._llama)
        self._memory: Any = api.llama_get_memory(self._llama)
        self._vocabulary: Any = api.llama_model_get_vocab(weights.pointer)
        self.vocabulary = int(api.llama_vocab_n_tokens(self._vocabulary))
        self.width = int(api.llama_model_n_embd(weights.pointer))

    def another(self) -> LanguageModel:
        """A second, empty conversation over the same weights."""
        other = LanguageModel.__new__(LanguageModel)
        other.remarks = self.remarks
        other._open(self._weights, self.context, self.threads)
        return other

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of `text`; nothing is added in front or behind.

        special: read the names of special tokens as those tokens. False for what a person typed,
        where "</s>" is four characters.
        """
        data = text.encode("utf-8", "replace")
        room = len(data) + 1
        ids = np.empty(room, np.int32)
        n = api.llama_tokenize(self._vocabulary, data, len(data), _as(ids, ctypes.c_int32), room, False, special)
        if n < 0:
            raise BackendError(f"expected at most {room} tokens for {room - 1} bytes of text, llama.cpp counted {-n}.")
        return [int(i) for i in ids[:n]]

    def piece(self, token: int) -> bytes:
        """The bytes a token writes; part of a character where the tokenizer split one, b"" for a special token."""
        buffer = ctypes.create_string_buffer(256)
        n = api.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, False)
        if n < 0:
            buffer = ctypes.create_string_buffer(-n)
            n = api.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(n, 0)]

    def special_tokens(self) -> dict[str, int]:
        """Names of all control tokens, and their ids."""
        ids = filter(self.is_special, range(self.vocabulary))
        return {api.llama_vocab_get_text(self._vocabulary, i).decode("utf-8", "replace"): i for i in ids}

    def is_special(self, token: int) -> bool:
        """Whether a token is a control token, which no text that a person types becomes."""
        return bool(api.llama_vocab_is_control(self._vocabulary, token))

    def is_text(self, token: int) -> bool:
        """Whether a token stands for bytes of text, which control, unknown and unused tokens do not."""
        attributes = api.llama_vocab_get_attr(self._vocabulary, token)
        other = api.LLAMA_TOKEN_ATTR_UNKNOWN | api.LLAMA_TOKEN_ATTR_UNUSED | api.LLAMA_TOKEN_ATTR_CONTROL
        return not attributes & other

    def reset(self) -> None:
        """Forget the prefix."""
        api.llama_memory_clear(self._memory, False)
        self.position = 0

    def rewind(self, position: int) -> None:
        """Forget what came after the first `position` tokens."""
        api.llama_memory_seq_rm(self._memory, PREFIX, position, -1)
        self.position = position

    def feed_tokens(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Append tokens to the prefix; logits of what follows, shape (vocabulary,). Raises ContextError."""
        self._need(len(ids))
        if len(ids) == 0 or min(ids) < 0 or max(ids) >= self.vocabulary:
            raise ValueError(f"expected one or more token ids below {self.vocabulary}")
        tokens = np.asarray(ids, np.int32)
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            self._decode(api.llama_batch(n_tokens=len(part), token=_as(part, ctypes.c_int32)))
            self.position += len(part)
        return self._logits(-1)

    def feed_states(self, ids: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Append tokens; logits of what follows (vocabulary,) and the tokens' hidden states (n, width).

        Hidden states are taken after the final norm (transformers' `last_hidden_state`).
        """
        logits, states = self.feed_each(ids)
        return logits[-1], states

    def feed_each(self, ids: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `feed_states`, with the logits after each of the tokens, (n, vocabulary)."""
        found = []
        api.llama_set_embeddings(self._llama, True)  # of every token, and then logits of every token too
        try:
            for start in range(0, max(len(ids), 1), BATCH):
                part = ids[start : start + BATCH]
                self.feed_tokens(part)
                each = (
                    (api.llama_get_logits(self._llama), self.vocabulary),
                    (api.llama_get_embeddings(self._llama), self.width),
                )
                found.append([np.ctypeslib.as_array(rows, (len(part), n)).copy() for rows, n in each])
        finally:
            api.llama_set_embeddings(self._llama, False)
        logits, states = (np.concatenate(rows) for rows in zip(*found, strict=True))
        return logits, states

    def feed_embeddings(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Append soft tokens, float32 (n, width), to the prefix; logits of what follows. Raises ContextError."""
        if rows.ndim != 2 or len(rows) == 0 or rows.shape[1] != self.width:
            raise ValueError(f"expected soft tokens of shape (n, {self.width}), found {rows.shape}")
        self._need(len(rows))
        rows = np.ascontiguousarray(rows, np.float32)
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            self._decode(api.llama_batch(n_tokens=len(part), embd=_as(part, ctypes.c_float)))
            self.position += len(part)
        return self._logits(-1)

    def branch(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits after each token taken as the prefix's only continuation: (n, vocabulary).

        The prefix is as before afterwards. Each round of `BRANCHES` tokens is one llama_decode: every token
        sits at the same position in a sequence of its own that shares the prefix's cells.
        """
        if self.position == 0:
            raise ValueError("expected a prefix to branch from, found none")
        rows = [self._branch(ids[start : start + BRANCHES]) for start in range(0, len(ids), BRANCHES)]
        return np.concatenate([np.empty((0, self.vocabulary), np.float32), *rows])

    def _branch(self, ids: Sequence[int]) -> NDArray[np.float32]:
        n = len(ids)
        tokens = np.asarray(ids, np.int32)
        sequences = np.arange(1, n + 1, dtype=np.int32)
        addresses = sequences.ctypes.data + sequences.itemsize * np.arange(n, dtype=np.uintp)
        positions = np.full(n, self.position, np.int32)
        ones = np.ones(n, np.int32)
        wanted = np.ones(n, np.int8)
        for sequence in range(1, n + 1):
            api.llama_memory_seq_cp(self._memory, PREFIX, sequence, -1, -1)
        try:
            self._decode(
                api.llama_batch(
                    n_tokens=n,
                    token=_as(tokens, ctypes.c_int32),
                    pos=_as(positions, ctypes.c_int32),
                    n_seq_id=_as(ones, ctypes.c_int32),
                    seq_id=_as(addresses, ctypes.POINTER(ctypes.c_int32)),
                    logits=_as(wanted, ctypes.c_int8),
                )
            )
            return np.ctypeslib.as_array(api.llama_get_logits(self._llama), (n, self.vocabulary)).copy()
        finally:
            for sequence in range(1, n + 1):
                api.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def _need(self, n: int) -> None:
        if self.position + n > self.context:
            raise ContextError(
                f"expected at most {self.context - self.position} more tokens (the context holds {self.context}), "
                f"found {n}; shorten the text or start a new conversation."
            )

    def _decode(self, batch: api.llama_batch) -> None:
        _log.clear()
        status = api.llama_decode(self._llama, batch)
        if status != 0:
            self.rewind(self.position)
            raise BackendError(
                f"expected llama.cpp to take {batch.n_tokens} tokens at position {self.position}, it returned "
                f"{status} ({_log[-1] if _log else 'no reason given'}); report this with the bundle's name."
            )

    def _logits(self, row: int) -> NDArray[np.float32]:
        return np.ctypeslib.as_array(api.llama_get_logits_ith(self._llama, row), (self.vocabulary,)).copy()


def _as(array: NDArray[Any], kind: Any) -> Any:
    """A ctypes pointer to an array's data; the caller keeps the array alive."""
    return array.ctypes.data_as(ctypes.POINTER(kind))
