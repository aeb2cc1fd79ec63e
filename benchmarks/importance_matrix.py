"""Does an importance matrix make uniecg-nano's small language models better?

usage: python benchmarks/importance_matrix.py [CHECKPOINT] [--data DIR] [--cache FILE] [--texts 600] [--records 264]
       [--json FILE]

The matrix is measured on what the model is taught: turns about PTB-XL's training records (folds 1-8), without a record,
and asking for drawings. Each precision is then made with and without it, and reads and writes the interpretations of
validation records (fold 9) with their real soft tokens in front, every token of the answer given whatever it would
have written itself. Prints for each: size; perplexity of the answers; how often its likeliest token is that of f16;
the Kullback-Leibler divergence from f16 in millinats per token, and its ratio with to without the matrix, with a 95 %
interval (bootstrap over records). Below 1 the matrix helps. It also says which matrices llama.cpp quantized otherwise
than asked, as it does where rows are no multiple of 256 long.

--data: recordings as for training, $UNIECG_DATA by default. --cache: what training keeps of them; made where missing.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from uniecg_export.families.uniecg_nano import UniEcgNano, load_checkpoint
from uniecg_export.families.uniecg_nano_prompt import ASSISTANT, BOS, ECG, ECG_CLOSE, ECG_OPEN, EOS, USER
from uniecg_export.gguf_writer import Precision, quantize, read_tokenizer, write_gguf
from uniecg_export.importance import write_importance
from uniecg_export.training.dialogues import about_record, to_draw, without_record
from uniecg_export.training.labels import NAMES
from uniecg_export.training.records import Records, load_records
from uniecg_export.training.sequences import SOFT, Turn, Writer
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.machine import machine

PRECISIONS: Final[tuple[Precision, ...]] = ("q6_k", "q5_k_m", "q4_k_m")
DRAWS: Final = 2000  # of the bootstrap


@dataclass(frozen=True, eq=False)
class Passage:
    """Tokens before and behind the soft tokens (n, width) of a record, and the answer that follows."""

    before: list[int]
    soft: NDArray[np.float32]
    after: list[int]
    answer: list[int]


@dataclass(frozen=True, eq=False)
class Measured:
    """Sums over each passage's answer, and how many tokens it has: (passages,) each."""

    tokens: NDArray[np.float64]
    nll: NDArray[np.float64]
    agree: NDArray[np.float64]
    kl: NDArray[np.float64]


def taught(records: Records, count: int, ecg_tokens: int) -> Iterator[str]:
    """Texts of the domain: a third each about a training record, about none, and asking for a drawing."""
    rng = Random(0)
    rows = np.flatnonzero((records.fold >= 1) & (records.fold <= 8)).tolist()
    for _ in range(-(-count // 3)):
        kind = rng.choices(("interpret", "question", "measure"), (4, 1, 1))[0]
        turns = (
            about_record(rng, records, rng.choice(rows), kind),
            without_record(rng),
            to_draw(rng, [[*NAMES]], None, "")[0],
        )
        yield from (as_text(turn, ecg_tokens) for turn in turns)


def as_text(turn: Turn, ecg_tokens: int) -> str:
    """A turn as the language model reads it, but for the soft tokens, which no text has."""
    signal = "" if turn.record is None else f"{ECG_OPEN}{ECG_CLOSE}{turn.measurements}"
    drawn = ECG * ecg_tokens if turn.draws else ""
    return f"{BOS}{USER}{turn.question}{signal}{ASSISTANT}{turn.answer}{drawn}{EOS}"


def passages(model: UniEcgNano, tokenizer: Tokenizer, records: Records, most: int) -> list[Passage]:
    """Interpretations of the first `most` validation records."""
    writer, made = Writer(tokenizer, model.config), []
    for row in np.flatnonzero(records.fold == 9)[:most].tolist():
        turn = about_record(Random(row), records, row, "interpret")
        prompt = writer.prompt(turn)
        with torch.inference_mode():
            signal, facts = (torch.from_numpy(part[row])[None] for part in (records.signal, records.lead_facts))
            soft = model.encoder(signal, facts)[0].numpy()
        first, behind = prompt.index(SOFT), prompt.index(SOFT) + prompt.count(SOFT)
        made.append(Passage(prompt[:first], soft, prompt[behind:], writer.answer(turn)))
    return made


def log_probabilities(path: Path, read: Sequence[Passage], context: int) -> list[NDArray[np.float32]]:
    """Of every next token, at each token of each answer: (tokens, vocabulary), fed one by one as in generation."""
    model = LanguageModel(path, context=context, threads=1)
    every = []
    for passage in read:
        model.reset()
        model.feed_tokens(passage.before)
        model.feed_embeddings(passage.soft)
        rows = [model.feed_tokens(passage.after), *(model.feed_tokens([token]) for token in passage.answer[:-1])]
        logits = np.stack(rows)
        logits -= logits.max(1, keepdims=True)
        every.append(logits - np.log(np.exp(logits).sum(1, keepdims=True)))
    return every


def compare(
    found: Sequence[NDArray[np.float32]], reference: Sequence[NDArray[np.float32]], read: Sequence[Passage]
) -> Measured:
    """Sums over each passage, `found` against `reference`."""
    rows = []
    for p, q, passage in zip(found, reference, read, strict=True):
        at = np.arange(len(p)), np.array(passage.answer)
        kl = (np.exp(q.astype(np.float64)) * (q.astype(np.float64) - p)).sum()
        rows.append((len(p), -p[at].sum(dtype=np.float64), (p.argmax(1) == q.argmax(1)).sum(), kl))
    return Measured(*np.array(rows, np.float64).T)


def interval(above: Measured, below: Measured) -> tuple[float, float, float]:
    """Ratio of mean divergences, and what holds it in 95 % of bootstrap draws over passages."""
    n = len(below.kl)
    drawn = np.random.default_rng(0).integers(0, n, (DRAWS, n))
    low, high = np.percentile(above.kl[drawn].sum(1) / below.kl[drawn].sum(1), (2.5, 97.5))
    return float(above.kl.sum() / below.kl.sum()), float(low), float(high)


def measure(checkpoint: Path, records: Records, texts: int, most: int, folder: Path) -> dict[str, Any]:
    """All figures; files go to `folder`."""
    model = load_checkpoint(checkpoint)
    config = model.config
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    read = passages(model, tokenizer, records, most)
    full, matrix = folder / "f16.gguf", folder / "imatrix.gguf"
    weights = {n: t.numpy() for n, t in model.language_model.state_dict().items() if n != "lm_head.weight"}
    vocabulary = read_tokenizer(checkpoint / "tokenizer.json", config.vocabulary)
    write_gguf(full, weights, model.language_model.config, vocabulary, "uniecg-nano")
    seen = write_importance(full, taught(records, texts, config.ecg_tokens), matrix)
    reference = log_probabilities(full, read, config.context)
    base = compare(reference, reference, read)
    rows = [_row("f16", "", full, base, {})]
    for precision in PRECISIONS:
        both: dict[str, Measured] = {}
        for name, imatrix in (("without", None), ("with", matrix)):
            path = folder / f"{precision}.{name}.gguf"
            quantized = quantize(full, path, precision, imatrix)
            both[name] = compare(log_probabilities(path, read, config.context), reference, read)
            rows.append(_row(precision, name, path, both[name], quantized.types, quantized.fallbacks))
        rows[-1]["kl_with_by_without"] = interval(both["with"], both["without"])
    return {"matrix_tokens": seen, "records": len(read), "answer_tokens": int(base.tokens.sum()), "rows": rows}


def _row(
    precision: str,
    matrix: str,
    path: Path,
    m: Measured,
    types: Mapping[str, str],
    fallbacks: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    tokens = m.tokens.sum()
    return {
        "precision": precision,
        "matrix": matrix,
        "mb": path.stat().st_size / 1e6,
        "perplexity": float(np.exp(m.nll.sum() / tokens)),
        "top1": float(m.agree.sum() / tokens),
        "kl_millinats": float(1000 * m.kl.sum() / tokens),
        "types": dict(Counter(types.values())),
        "fallbacks": dict(fallbacks or {}),
    }


def report(result: Mapping[str, Any]) -> None:
    """The figures as lines."""
    print(f"matrix from {result['matrix_tokens']} tokens; {result['answer_tokens']} of {result['records']} answers")
    print(f"{'':18}{'MB':>7}{'perplexity':>12}{'top-1 of f16':>14}{'KL, mnat':>10}  with / without")
    for row in result["rows"]:
        low_high = row.get("kl_with_by_without")
        change = "" if low_high is None else "{:6.2f} [{:.2f}, {:.2f}]".format(*low_high)
        figures = f"{row['mb']:7.2f}{row['perplexity']:12.4f}{row['top1']:14.4f}{row['kl_millinats']:10.3f}"
        print(f"{row['precision'] + ' ' + row['matrix']:18}{figures}  {change}")
    for row in result["rows"][1::2]:
        types = ", ".join(f"{kind} {count}" for kind, count in sorted(row["types"].items()))
        other = ", ".join(f"{name} {kind}" for name, kind in row["fallbacks"].items())
        print(f"{row['precision']}: tensors of type {types}; otherwise than asked: {other or 'none'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")).expanduser()
    parser.add_argument("checkpoint", nargs="?", type=Path, default=Path("checkpoints/uniecg-nano"))
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--cache", type=Path, default=Path("work/training/records.npz"))
    parser.add_argument("--texts", type=int, default=600, help="of the domain, for the matrix")
    parser.add_argument("--records", type=int, default=264, help="of the validation fold, at most")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args(arguments)
    model_config = load_checkpoint(options.checkpoint).config
    records = load_records(options.data, options.cache, model_config)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.checkpoint, records, options.texts, options.records, Path(folder))
    report(result)
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine().cpu, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
