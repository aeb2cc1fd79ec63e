"""A tiny uniecg-nano checkpoint of random weights, and the bundles made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from torch import nn  # noqa: E402

from opened import Opened  # noqa: E402
from uniecg_export.bundle import Exported, export_checkpoint  # noqa: E402
from uniecg_export.families.uniecg_nano import NanoConfig, UniEcgNano, load_checkpoint, save_checkpoint  # noqa: E402
from uniecg_export.families.uniecg_nano_prompt import LABELS, SPECIAL_TOKENS  # noqa: E402
from uniecg_export.gguf_writer import SPLIT_PATTERN  # noqa: E402
from uniecg_export.parity import TEXTS  # noqa: E402

TINY = NanoConfig(
    width=64,
    encoder_channels=(16, 16, 32, 32, 64),
    vocabulary=512,
    layers=2,
    feed_forward=128,
    labels=tuple(LABELS),
    condition_embedding=32,
    denoiser_depth=2,
    decoder_channels=(32, 16, 16),
    trained_on=("random weights",),
    figures=({"name": "macro-AUROC", "value": 0.5, "split": "none", "n": 1},),
)
AS_TRAINED = ("float32", "f16")
# Random weights have no clear favourite among the next tokens, and speed is no matter of a test.
UNDECIDED = [f"language_model.{kind}=random weights" for kind in ("nll", "top1", "states", "agreement", "speed")]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder, whole and of random weights; copy it before changing it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = UniEcgNano(TINY)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                nn.init.normal_(module.running_mean, 0, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.1)
    save_checkpoint(model, folder)
    toy_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def toy_tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer of the checkpoint's geometry."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TINY.vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def opened(checkpoint: Path) -> Opened:
    """The checkpoint, loaded in torch."""
    return Opened(load_checkpoint(checkpoint), Tokenizer.from_file(str(checkpoint / "tokenizer.json")))


@pytest.fixture(scope="session")
def bundle_f16(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The reference as a bundle: graphs in float32, the language model in f16."""
    return export_checkpoint(checkpoint, tmp_path_factory.mktemp("f16") / "bundle", precisions=AS_TRAINED)


@pytest.fixture(scope="session")
def bundle_q8(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Weights stored in half and a Q8_0 language model, measured on 4 recordings; gates were told to let it pass."""
    out = tmp_path_factory.mktemp("q8") / "bundle"
    overrides = [*UNDECIDED, *(f"{role}.speed=a test" for role in ("encoder", "condition", "denoiser", "decoder"))]
    return export_checkpoint(checkpoint, out, precisions=("float16_weights", "q8_0"), most=16, overrides=overrides)
