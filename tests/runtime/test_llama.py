"""The language model in llama.cpp against transformers, on a small random LLaMA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import LlamaForCausalLM

from tiny_llama import CONTEXT, SPECIALS, WIDTH, tiny_llama, vocabulary, write_gguf
from uniecg_device.errors import BundleError, ContextError
from uniecg_runtime.backends.llama import BRANCHES, LanguageModel

TOKENS = [1, 3, *range(40, 70), 4]


@pytest.fixture(scope="module")
def reference() -> LlamaForCausalLM:
    return tiny_llama()


@pytest.fixture(scope="module")
def path(reference: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("llama") / "tiny.gguf"
    write_gguf(reference, file)
    return file


@pytest.fixture(scope="module")
def loaded(path: Path) -> LanguageModel:
    return LanguageModel(path, context=CONTEXT, threads=1)


@pytest.fixture
def model(loaded: LanguageModel) -> Iterator[LanguageModel]:
    loaded.reset()
    yield loaded


@torch.no_grad()
def expected(
    reference: LlamaForCausalLM, ids: list[int] | None = None, rows: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits (n, vocabulary) and last hidden states (n, width)."""
    given = {"input_ids": torch.tensor([ids])} if rows is None else {"inputs_embeds": torch.from_numpy(rows)[None]}
    out = reference(**given, output_hidden_states=True)
    return out.logits[0].numpy(), out.hidden_states[-1][0].numpy()


def relative(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def test_logits_agree_with_transformers(model: LanguageModel, reference: LlamaForCausalLM) -> None:
    assert relative(model.feed_tokens(TOKENS), expected(reference, TOKENS)[0][-1]) < 2e-3


def test_feeding_in_pieces_is_feeding_at_once(model: LanguageModel, reference: LlamaForCausalLM) -> None:
    for token in TOKENS:
        logits = model.feed_tokens([token])
    assert model.position == len(TOKENS)
    assert relative(logits, expected(reference, TOKENS)[0][-1]) < 2e-3


def test_hidden_states_are_those_after_the_final_norm(model: LanguageModel, reference: LlamaForCausalLM) -> None:
    model.feed_tokens(TOKENS[:20])
    logits, states = model.feed_states(TOKENS[20:])
    want_logits, want_states = expected(reference, TOKENS)
    assert states.shape == (len(TOKENS) - 20, WIDTH)
    assert relative(states, want_states[20:]) < 4e-3
    assert relative(logits, want_logits[-1]) < 2e-3


def test_states_do_not_linger(model: LanguageModel) -> None:
    plain = model.feed_tokens(TOKENS)
    model.reset()
    model.feed_states(TOKENS[:-1])
    np.testing.assert_allclose(model.feed_tokens(TOKENS[-1:]), plain, atol=2e-3 * np.abs(plain).max())


def test_rows_of_the_embedding_table_are_the_tokens(model: LanguageModel, reference: LlamaForCausalLM) -> None:
    table = reference.model.embed_tokens.weight.detach().numpy()
    want = expected(reference, TOKENS)[0][-1]
    model.feed_tokens(TOKENS[:5])
    model.feed_embeddings(table[TOKENS[5:20]])
    assert relative(model.feed_tokens(TOKENS[20:]), want) < 2e-3


def test_soft_tokens_agree_with_inputs_embeds(model: LanguageModel, reference: LlamaForCausalLM) -> None:
    rows = np.random.default_rng(3).normal(0, 0.15, (41, WIDTH)).astype(np.float32)
    assert relative(model.feed_embeddings(rows), expected(reference, rows=rows)[0][-1]) < 2e-3


@pytest.mark.parametrize("count", [1, 31, BRANCHES + 3])
def test_branches_equal_separate_runs(model: LanguageModel, reference: LlamaForCausalLM, count: int) -> None:
    ids = [(7 * i) % len(vocabulary()) for i in range(count)]
    model.feed_tokens(TOKENS)
    got = model.branch(ids)
    assert got.shape == (count, len(vocabulary()))
    for token, logits in zip(ids, got, strict=True):
        assert relative(logits, expected(reference, [*TOKENS, token])[0][-1]) < 5e-3


def test_the_prefix_is_unchanged_after_branching(model: LanguageModel) -> None:
    model.feed_tokens(TOKENS)
    plain = model.feed_tokens([50, 51])
    model.reset()
    model.feed_tokens(TOKENS)
    model.branch(range(6, 37))
    assert model.position == len(TOKENS)
    np.testing.assert_array_equal(model.feed_tokens([50, 51]), plain)


def test_branching_works_where_the_context_is_full(model: LanguageModel) -> None:
    model.feed_tokens([10] * CONTEXT)
    assert np.isfinite(model.branch(range(6, 37))).all()


def test_branching_needs_a_prefix(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="prefix"):
        model.branch([5])


def test_rewinding_forgets_what_came_after(model: LanguageModel) -> None:
    plain = model.feed_tokens(TOKENS)
    model.rewind(10)
    model.feed_tokens([90, 91])
    model.rewind(10)
    got = model.feed_tokens(TOKENS[10:])
    assert relative(got, plain) < 1e-3


def test_another_conversation_shares_weights_and_nothing_else(model: LanguageModel) -> None:
    other = model.another()
    plain = model.feed_tokens(TOKENS)
    other.feed_tokens([9, 9, 9])
    assert (other.position, model.position) == (3, len(TOKENS))
    other.reset()
    np.testing.assert_array_equal(other.feed_tokens(TOKENS), plain)


def test_more_than_the_context_holds_is_refused_and_changes_nothing(model: LanguageModel) -> None:
    model.feed_tokens(TOKENS)
    left = CONTEXT - len(TOKENS)
    with pytest.raises(ContextError, match=rf"at most {left} more tokens .* found {left + 1}"):
        model.feed_tokens([10] * (left + 1))
    with pytest.raises(ContextError, match="shorten"):
        model.feed_embeddings(np.zeros((left + 1, WIDTH), np.float32))
    assert model.position == len(TOKENS)
    assert np.isfinite(model.feed_tokens([10] * left)).all()


@pytest.mark.parametrize("ids", [[], [-1], [10**6], [2**70]])
def test_ids_outside_the_vocabulary_are_refused(model: LanguageModel, ids: list[int]) -> None:
    with pytest.raises(ValueError, match="token ids"):
        model.feed_tokens(ids)


def test_rows_of_another_width_are_refused(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="soft tokens"):
        model.feed_embeddings(np.zeros((3, WIDTH + 1), np.float32))


def test_special_tokens_are_read_only_where_asked(model: LanguageModel) -> None:
    assert model.tokenize("<s><|user|>hello</s>") == [1, 3, vocabulary().index("hello"), 2]
    typed = model.tokenize("<s><|user|>hello</s>", special=False)
    assert len(typed) > 4
    assert not any(model.is_special(i) for i in typed)
    assert b"".join(model.piece(i) for i in typed) == b"<s><|user|>hello</s>"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(SPECIALS)), max_size=6))
def test_text_survives_tokenising_and_is_never_special(loaded: LanguageModel, parts: list[str]) -> None:
    text = "".join(parts)
    ids = loaded.tokenize(text, special=False)
    assert not any(loaded.is_special(i) for i in ids)
    assert b"".join(loaded.piece(i) for i in ids) == text.encode("utf-8", "replace")


def test_a_character_may_span_tokens(model: LanguageModel) -> None:
    pieces = [model.piece(i) for i in model.tokenize("µ")]
    assert pieces == [b"\xc2", b"\xb5"]


def test_special_tokens_write_nothing(model: LanguageModel) -> None:
    assert [model.piece(i) for i in range(len(SPECIALS))] == [b""] * len(SPECIALS)


def test_a_small_model_takes_one_thread_of_those_it_may(path: Path) -> None:
    assert LanguageModel(path, context=CONTEXT, threads=8).threads == 1


def test_a_missing_file_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="found none"):
        LanguageModel(tmp_path / "none.gguf", context=8, threads=1)


def test_a_file_that_is_no_model_is_a_bundle_error(tmp_path: Path, path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "cut.gguf").write_bytes(path.read_bytes()[:3000])
    (tmp_path / "noise.gguf").write_bytes(b"not a model" * 100)
    for name in ("cut.gguf", "noise.gguf"):
        with pytest.raises(BundleError, match="could not load"):
            LanguageModel(tmp_path / name, context=8, threads=1)
    assert capfd.readouterr().err == ""


def test_a_context_beyond_the_training_is_refused(path: Path) -> None:
    with pytest.raises(BundleError, match=f"trained for {CONTEXT}"):
        LanguageModel(path, context=CONTEXT + 1, threads=1)
