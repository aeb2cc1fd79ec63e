"""Small checkpoints of random weights in the published layout of GEM, ECG-R1, UniECG and DiffuSETS."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import processors
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from made_tokenizers import SIZE, byte_level, ecg_lines, pieces, sentencepiece_model
from uniecg_export.families import ecg_r1, gem, uniecg
from uniecg_export.families.diffusets_unet import UNet, UNetConfig
from uniecg_export.families.diffusets_vae import Decoder, VaeConfig
from uniecg_export.families.ecg_coca import PREFIX, EcgCocaConfig

TOWER = EcgCocaConfig(width=64, layers=1, feed_forward=64, embedding=16)
WIDTH, CONTEXT, TEXT = 64, 1024, 24
SIZES: dict[str, Any] = {
    "vocab_size": SIZE,
    "hidden_size": WIDTH,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
GEM = gem.GemConfig(TOWER, "linear", "mlp2x_gelu", 40, WIDTH, 2)
MM = {"ecg_projector_type": "linear", "mm_projector_type": "mlp2x_gelu", "mm_hidden_size": 40}
CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def drawn(module: nn.Module) -> dict[str, Tensor]:
    """Its tensors in fp16, of weights that fp16 holds and that are large enough to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        state = module.state_dict()
        return {
            name: (
                torch.rand(t.shape) * 0.5 + 0.75 if "norm" in name or ".ln_" in name else torch.randn(t.shape) * 0.08
            ).half()
            for name, t in state.items()
        }


def save_shards(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], shards: int = 2) -> Path:
    """As transformers saves a checkpoint: shards, their index and config.json."""
    names = sorted(tensors)
    held = {f"model-{n + 1:05}-of-{shards:05}.safetensors": names[n::shards] for n in range(shards)}
    for file, mine in held.items():
        save_file({name: tensors[name].contiguous() for name in mine}, folder / file)
    index = {"weight_map": {name: file for file, mine in held.items() for name in mine}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def save_tower(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """The tower's own file as published, beside a text side."""
    own = {PREFIX + name: value for name, value in tensors.items()} | {"module.text.x": torch.zeros(2)}
    torch.save({"state_dict": own, "epoch": 20}, path)
    return path


def vicuna_tokenizer(folder: Path, added: tuple[str, ...] = ()) -> None:
    """Vicuna's files: a SentencePiece model, and settings that ask for the space in front of a text only."""
    scores = pieces(ecg_lines(600, seed=5))
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(scores))
    special = {str(len(scores) + i): {"content": token, "special": True} for i, token in enumerate(added)}
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        "add_bos_token": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "added_tokens_decoder": special,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def gem_tensors() -> dict[str, Tensor]:
    """A whole GEM: tower, projectors, language model, and what only images need."""
    encoder = {
        f"model.{n.replace('ecg_tower.', 'ecg_tower.ecg_tower.', 1)}": t for n, t in drawn(gem.Encoder(GEM)).items()
    }
    images = {
        "model.vision_tower.vision_tower.vision_model.x": torch.zeros(2),
        "model.image_newline": torch.zeros(WIDTH),
    }
    return encoder | images | drawn(LlamaForCausalLM(LlamaConfig(**SIZES)))


def gem_folder(folder: Path) -> Path:
    """GEM as published, its tower in the shards."""
    folder.mkdir()
    vicuna_tokenizer(folder)
    return save_shards(folder, gem_tensors(), {**LlamaConfig(**SIZES).to_dict(), "model_type": "llava_llama", **MM})


def uniecg_folder(folder: Path, pooling: uniecg.Pooling, tokens: int) -> Path:
    """A GEM that draws, by `tokens` hidden states that become a text of `TEXT` numbers."""
    folder.mkdir()
    vicuna_tokenizer(folder, ("[ECG]",))
    config = uniecg.UniEcgConfig(GEM, tokens, pooling, (32, "gelu", TEXT))
    aligned = {config.prefix + name: tensor for name, tensor in drawn(uniecg.alignment(config)).items()}
    stated = {"token_count": tokens, "pooling": pooling, "layers": list(config.layers)}
    fields = {**LlamaConfig(**SIZES).to_dict(), "model_type": "llava_llama", **MM, "ecg_generation": stated}
    return save_shards(folder, gem_tensors() | aligned, fields)


def diffusets_folder(folder: Path, width: int = TEXT) -> Path:
    """DiffuSETS as published, of fewer levels."""
    folder.mkdir()
    torch.save(drawn(UNet(UNetConfig(text_width=width, levels=3))), folder / "unet_all.pth")
    decoder = drawn(Decoder(VaeConfig(widths=(32, 32, 32))))
    torch.save({"encoder": {}, "decoder": decoder}, folder / "vae_model.pth")
    return folder


def ecg_r1_folder(folder: Path) -> tuple[Path, Path]:
    """ECG-R1 as published, and its tower in a file of its own."""
    folder.mkdir()
    text = {**SIZES, "head_dim": 32, "rope_theta": 5e6, "rms_norm_eps": 1e-6}
    encoder = drawn(ecg_r1.Encoder(ecg_r1.EcgR1Config(TOWER, hidden_size=WIDTH, num_hidden_layers=2)))
    tower = {n.removeprefix("ecg_tower."): t for n, t in encoder.items() if n.startswith("ecg_tower.")}
    tensors = {f"model.{n}": t for n, t in encoder.items() if n.startswith("ecg_projector.")}
    for name, tensor in drawn(Qwen3ForCausalLM(Qwen3Config(**text))).items():
        tensors[name.replace("model.", "model.language_model.", 1)] = tensor
    tensors["model.visual.patch_embed.proj.weight"] = torch.zeros(2)
    tokenizer = byte_level("qwen2", ecg_lines(600, seed=5))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens([*CHATML, ecg_r1.PAD, ecg_r1.START, ecg_r1.END])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    mrope = {"mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_type": "default"}
    text |= {"model_type": "qwen3_vl_text", "rope_scaling": mrope}
    pad = tokenizer.token_to_id(ecg_r1.PAD)
    fields = {"model_type": "qwen3_vl", "text_config": text, "ecg_token_id": pad, "tie_word_embeddings": False}
    return save_shards(folder, tensors, fields), save_tower(folder.parent / "cpt_wfep_epoch_20.pt", tower)
