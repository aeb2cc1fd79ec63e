"""How much memory and time a language model's way to GGUF takes, at the size of TinyLlama 1.1B and of Vicuna 7B.

usage: python benchmarks/gguf_memory.py [--models tinyllama-1.1b,vicuna-7b] [--precisions f16,q4_k_m] [--folder DIR]
       [--json FILE]

Prints, for each model and precision: seconds without imports, the peak resident set of the process that did it, and
how much of that was its own. The resident set counts pages of the files it maps, which the kernel takes back when it
needs them; its own (anonymous) memory is what a small machine must have. It is sampled every 20 ms.

Shards of at most 5 GB hold bfloat16 weights in the published geometry under transformers' names: random numbers, of
which a block is repeated. f16 is the folder written as GGUF; any other precision is llama.cpp's quantizer on that file,
one thread, without an importance matrix. Each runs in a process of its own. It needs 5 bytes of disk per parameter,
which it gives back, and Linux, whose /proc it reads.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice, product
from pathlib import Path
from typing import Any, Final

import numpy as np

from uniecg_runtime.machine import machine, peak_memory_mb

Config = Mapping[str, Any]
PUBLISHED: Final = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODELS: Final[dict[str, dict[str, Any]]] = {
    "tinyllama-1.1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
    },
    "vicuna-7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
}
ASKED_GB: Final = {"tinyllama-1.1b": 4.0, "vicuna-7b": 6.0}
SHARD_BYTES: Final = 5_000_000_000
BLOCK: Final = 1 << 24  # random weights, repeated
DISK_PER_PARAMETER: Final = 5  # shards and f16 two each, q4_k_m the rest
GB_PER_MIB: Final = 1.048576e-3


def write_checkpoint(folder: Path, config: Config, shard_bytes: int = SHARD_BYTES) -> int:
    """A Hugging Face folder of random weights; how many there are."""
    shapes = _shapes(config)
    block = np.random.default_rng(0).standard_normal(BLOCK, np.float32) * np.float32(0.02)
    data = (block.view(np.uint32) >> 16).astype(np.uint16).tobytes()  # bfloat16 is a float32's upper half
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(_shards(shapes, shard_bytes)):
        name = f"model-{number:05}.safetensors"
        _write_shard(folder / name, shard, data)
        weight_map |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(dict(config)))
    _write_tokenizer(folder / "tokenizer.json", int(config["vocab_size"]))
    return _count(shapes)


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    from uniecg_export.hf_language_model import read_geometry, tensor_shapes

    return tensor_shapes(read_geometry(config))


def _count(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes.values()))


def _shards(shapes: Mapping[str, tuple[int, ...]], most: int) -> Iterator[dict[str, tuple[int, ...]]]:
    shard: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if shard and 2 * _count({**shard, name: shape}) > most:
            yield shard
            shard = {}
        shard[name] = shape
    yield shard


def _write_shard(path: Path, shapes: Mapping[str, tuple[int, ...]], data: bytes) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, end, len(data)):
            file.write(data[: end - start])


def _write_tokenizer(path: Path, size: int) -> None:
    """A byte-level BPE with as many tokens as the embedding has rows: bytes, then pairs of them."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    from uniecg_export.gguf_vocabulary import SPLIT_PATTERN

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = list(islice(product(letters, letters), size - len(letters)))
    tokens = [*letters, *(a + b for a, b in pairs)]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.save(str(path))


def make(precision: str, source: Path, out: Path) -> dict[str, Any]:
    """In a process of its own: the folder `source` as f16, or the f16 file `source` at another precision."""
    from uniecg_export.gguf_vocabulary import read_vocabulary
    from uniecg_export.gguf_writer import quantize, write_language_model
    from uniecg_export.hf_language_model import open_language_model

    imports = peak_memory_mb()
    begin = time.perf_counter()
    if precision == "f16":
        model = open_language_model(source)
        write_language_model(out, model, read_vocabulary(source, model.geometry.vocabulary), "random")
    else:
        quantize(source, out, precision)  # type: ignore[arg-type]
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "imports_gb": imports * GB_PER_MIB, "peak_gb": peak_memory_mb() * GB_PER_MIB}


def watched(command: Sequence[str]) -> dict[str, Any]:
    """What `make` printed, and the most anonymous memory that its process was seen with."""
    own = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            own = max(own, _anonymous_gb(process.pid))
            time.sleep(0.02)
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode:
        sys.exit(f"error: a conversion ended with {process.returncode}; see its message above.")
    return {**json.loads(said), "own_gb": own}


def _anonymous_gb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    return next((int(line.split()[1]) * 1.024e-6 for line in lines if line.startswith("RssAnon:")), 0.0)


def measure(config: Config, precisions: Sequence[str], folder: Path) -> Iterator[dict[str, Any]]:
    """Figures of one model, precision by precision; `folder` is empty before."""
    need = DISK_PER_PARAMETER * _count(_shapes(config))
    free = shutil.disk_usage(folder).free
    if free < need:
        sys.exit(
            f"error: expected {need / 1e9:.0f} GB of free disk under {folder}, found {free / 1e9:.0f}; --folder DIR"
        )
    checkpoint, full = folder / "checkpoint", folder / "f16.gguf"
    checkpoint.mkdir()
    parameters = write_checkpoint(checkpoint, config)
    for precision in dict.fromkeys(("f16", *precisions)):
        out = folder / f"{precision}.gguf"
        source = checkpoint if precision == "f16" else full
        found = watched([sys.executable, __file__, "--make", precision, str(source), str(out)])
        yield {"precision": precision, "parameters": parameters, "file_gb": out.stat().st_size / 1e9, **found}
        if precision != "f16":
            out.unlink()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="comma-separated")
    parser.add_argument("--precisions", default="f16,q4_k_m", help="comma-separated; f16 is always made")
    parser.add_argument("--folder", type=Path, help="where the large files go for a while")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.make:
        precision, source, out = options.make
        print(json.dumps(make(precision, Path(source), Path(out))))
        return
    print(f"{machine().cpu}, GB of 1e9 bytes")
    print(f"{'':24}{'file GB':>9}{'seconds':>9}{'peak GB':>9}{'its own':>9}{'imports':>9}{'asked':>7}")
    results = []
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for found in measure({**PUBLISHED, **MODELS[name]}, options.precisions.split(","), Path(folder)):
                results.append({"model": name, **found})
                figures = (found[key] for key in ("file_gb", "seconds", "peak_gb", "own_gb", "imports_gb"))
                row = "".join(f"{value:9.2f}" for value in figures)
                print(f"{name + ' ' + found['precision']:24}{row}{ASKED_GB.get(name, math.inf):7.0f}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": asdict(machine()), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
