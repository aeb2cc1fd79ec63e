"""Parity: what is compared with the checkpoint, and that other weights are noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from opened import Opened
from uniecg_export.bundle import Exported
from uniecg_export.families.uniecg_nano_roles import sources
from uniecg_export.gguf_vocabulary import read_tokenizer
from uniecg_export.language import InLlama, in_torch
from uniecg_export.parity import (
    GRAPH_LIMIT,
    graph_parity,
    language_model_parity,
    passages,
    tokenizer_parity,
)
from uniecg_runtime.backends.llama import LanguageModel


def test_graphs_agree_with_torch_far_below_their_gate(bundle_f16: Exported) -> None:
    errors = {gate.name: gate.measured for gate in bundle_f16.parity if gate.limit == GRAPH_LIMIT}
    assert errors.keys() == {f"{role}.parity" for role in ("encoder", "condition", "denoiser", "decoder")}
    assert max(errors.values()) < 1e-5


def test_the_f16_language_model_picks_the_same_tokens_as_transformers(bundle_f16: Exported) -> None:
    found = {gate.name: gate.measured for gate in bundle_f16.parity}
    assert found["language_model.parity_top1"] <= 0.01
    assert found["language_model.tokenizer"] == 0


def test_a_graph_of_other_weights_is_noticed(bundle_f16: Exported, opened: Opened) -> None:
    source = sources(opened.model)[0]
    artifact = bundle_f16.manifest.artifact("encoder")
    weight = opened.model.encoder.stem.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[0, 0] += 0.5
        assert not graph_parity(source, bundle_f16.folder / artifact.file, artifact).ok
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_a_language_model_of_other_weights_is_noticed(bundle_f16: Exported, opened: Opened) -> None:
    llama = InLlama(bundle_f16.folder / "language_model.gguf", 512)
    torch_model = opened.model.language_model
    texts = passages(opened.tokenizer, 512, 400)
    layer = torch_model.model.layers[0].self_attn
    soft_tokens = np.random.default_rng(0).standard_normal((5, 64), np.float32)
    tops, states = language_model_parity(in_torch(torch_model), llama, texts, soft_tokens)
    assert tops.ok and states.ok
    q, k = layer.q_proj.weight.detach().clone(), layer.k_proj.weight.detach().clone()
    try:
        with torch.no_grad():
            layer.q_proj.weight.copy_(k * 40)
            layer.k_proj.weight.copy_(q)
        _, states = language_model_parity(in_torch(torch_model), llama, texts, soft_tokens)
        assert not states.ok
    finally:
        with torch.no_grad():
            layer.q_proj.weight.copy_(q)
            layer.k_proj.weight.copy_(k)


def test_soft_tokens_change_what_comes_next_on_both_sides(bundle_f16: Exported, opened: Opened) -> None:
    llama = LanguageModel(bundle_f16.folder / "language_model.gguf", context=64, threads=1)
    soft_tokens = np.random.default_rng(0).standard_normal((5, 64), np.float32)
    llama.feed_embeddings(soft_tokens)
    found = llama.feed_tokens([4, 5])
    expected = in_torch(opened.model.language_model)([], soft_tokens, [4, 5])[0][-1]
    bare = in_torch(opened.model.language_model)([], None, [4, 5])[0][-1]
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()
    assert np.abs(found - bare).max() > 0.05 * np.abs(expected).max()


def test_a_tokenizer_with_another_merge_is_noticed(bundle_f16: Exported, checkpoint: Path, opened: Opened) -> None:
    llama = LanguageModel(bundle_f16.folder / "language_model.gguf", context=64, threads=1)
    text = (checkpoint / "tokenizer.json").read_text(encoding="utf-8")
    other = type(opened.tokenizer).from_str(text)
    other.add_tokens(["ST elevation"])
    vocabulary = read_tokenizer(checkpoint / "tokenizer.json", 512)
    assert tokenizer_parity(opened.tokenizer, vocabulary, llama).ok
    assert not tokenizer_parity(other, vocabulary, llama).ok
