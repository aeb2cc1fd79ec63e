"""`uniecg interpret` beside the same model in torch and transformers.

usage: python benchmarks/interpret_vs_torch.py CHECKPOINT [--bundle BUNDLE] [--runs 20] [--threads 2] [--json FILE]

Each side lives in its own process and is asked in turn, so that both see the same machine. Both get
the same windows (simulated ECGs), the same prompt, decode greedily and give every statement's
probability. Memory is the peak resident set of each process. Of ours it is also told when the signal's quality is
assessed and the text's statements are held against it, which torch's side does not do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import Recording
from uniecg_runtime.bundle import BUILT_IN, Bundle
from uniecg_runtime.machine import machine, peak_memory_mb

RECORDINGS = 5
MEASURES = (("first text", "first_ms", "ms"), ("whole text", "whole_ms", "ms"))


class Side(Protocol):
    """One way to run the model."""

    def read(self, recording: Recording) -> dict[str, Any]:
        """first_ms, whole_ms, text, statements."""


class RuntimeSide:
    """The bundle through ONNX Runtime and llama.cpp."""

    def __init__(self, bundle: str, threads: int) -> None:
        from uniecg_runtime.assistant import Assistant

        self.assistant = Assistant(Bundle.open(bundle), threads=threads)

    def read(self, recording: Recording) -> dict[str, Any]:
        arrivals: list[float] = []
        begin = time.perf_counter()
        result = self.assistant.interpret(recording, on_text=lambda _: arrivals.append(time.perf_counter()))
        checked = time.perf_counter()
        first, whole = (arrivals[0], arrivals[-1]) if arrivals else (checked, checked)
        answer = _answer(first - begin, whole - begin, result.text, dict(result.statements))
        return answer | {"checked_ms": 1000 * (checked - begin)}


class TorchSide:
    """The checkpoint through torch and transformers, with a key-value cache; float32."""

    def __init__(self, checkpoint: str, bundle: str, threads: int) -> None:
        import torch
        from tokenizers import Tokenizer

        from uniecg_export.families.uniecg_nano import load_checkpoint

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch = torch
        self.manifest = Bundle.open(bundle).manifest
        self.model = load_checkpoint(Path(checkpoint))
        self.tokenizer = Tokenizer.from_file(str(Path(checkpoint) / "tokenizer.json"))
        prompt, statements = self.manifest.prompt, self.manifest.statements
        self.end = self._id(prompt.end_token)
        self.yes_no = [self._id(statements.yes_token), self._id(statements.no_token)]
        self.asked = {item.label: self._id(item.token) for item in statements.items}
        barred = [i for i in range(self.tokenizer.get_vocab_size()) if self._special(i)]
        drawing = self.manifest.generation.token if self.manifest.generation else ""
        self.barred = [i for i in barred if i != self.end and self.tokenizer.id_to_token(i) != drawing]

    def _id(self, token: str) -> int:
        return int(self.tokenizer.token_to_id(token))

    def _special(self, token: int) -> bool:
        added = self.tokenizer.get_added_tokens_decoder().get(token)
        return added is not None and added.special

    def _embed(self, text: str) -> Any:
        ids = self.torch.tensor([self.tokenizer.encode(text, add_special_tokens=False).ids], dtype=self.torch.long)
        return self.model.language_model.get_input_embeddings()(ids)

    def read(self, recording: Recording) -> dict[str, Any]:
        from uniecg_runtime.signal.measure import measure, prompt_text
        from uniecg_runtime.signal.window import prepare_window

        torch, language_model = self.torch, self.model.language_model
        begin = time.perf_counter()
        window = prepare_window(recording, self.manifest.preprocessing)
        prompt = self.manifest.prompt
        measurements = prompt_text(measure(window.recording), prompt)
        signal, facts = torch.from_numpy(window.signal)[None], torch.from_numpy(window.lead_facts)[None]
        before, after = prompt.first_turn_with_signal.split("{signal}")
        before = before.replace("{question}", prompt.interpret_question)
        after = after.replace("{measurements}", measurements)
        rows = torch.cat([self._embed(before), self.model.encoder(signal, facts), self._embed(after)], 1)
        output = language_model(inputs_embeds=rows, use_cache=True)
        first = 0.0
        ids: list[int] = []
        statements: dict[str, float] = {}
        for _ in range(prompt.max_new_tokens):
            logits = output.logits[0, -1].clone()
            logits[self.barred] = -torch.inf
            token = int(logits.argmax())
            if not ids:
                self.tokenizer.decode([token])
                first = time.perf_counter() - begin
                statements = self._statements(output.past_key_values, rows.shape[1])
            if token == self.end:
                break
            ids.append(token)
            past = output.past_key_values
            output = language_model(input_ids=torch.tensor([[token]]), past_key_values=past, use_cache=True)
        text = self.tokenizer.decode(ids)
        return _answer(first, time.perf_counter() - begin, text, statements)

    def _statements(self, past: Any, position: int) -> dict[str, float]:
        """All labels as one batch over a copy of the prompt's cache."""
        import copy

        torch = self.torch
        branches = copy.deepcopy(past)
        branches.batch_repeat_interleave(len(self.asked))
        asked = torch.tensor([[token] for token in self.asked.values()])
        output = self.model.language_model(input_ids=asked, past_key_values=branches, use_cache=True)
        yes = output.logits[:, -1, self.yes_no].softmax(-1)[:, 0]
        return dict(zip(self.asked, yes.tolist(), strict=True))


def _answer(first: float, whole: float, text: str, statements: dict[str, float]) -> dict[str, Any]:
    return {"first_ms": 1000 * first, "whole_ms": 1000 * whole, "text": text, "statements": statements}


def recordings() -> list[Recording]:
    """Simulated ECGs that differ in rate and shape."""
    return [simulate(ParametricEcg(heart_rate=55.0 + 15 * i), 10.0, 500.0, i) for i in range(RECORDINGS)]


def serve(side: Side) -> None:
    """A process of one side: a line with a number in, an answer out; the last answer has the memory."""
    windows = recordings()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(side.read(windows[int(line)])), flush=True)
    print(json.dumps({"peak_memory_mb": peak_memory_mb()}), flush=True)


class Process:
    """A side in a process of its own."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        command = [sys.executable, __file__, options.checkpoint, "--bundle", options.bundle, "--serve", name]
        threads = str(options.threads)
        self.process = subprocess.Popen(
            [*command, "--threads", threads],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": threads},
        )
        self._line()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("error: a side ended early; see its message above.")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, number: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        return self._line()

    def close(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.close()
        peak = float(self._line()["peak_memory_mb"])
        self.process.wait()
        return peak


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Ask both in turn; medians, ratios and agreement."""
    sides = {name: Process(name, options) for name in ("uniecg", "torch")}
    for process in sides.values():
        for number in range(min(2, RECORDINGS)):
            process.ask(number)
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for run in range(options.runs):
        for name, process in sides.items():
            answers[name].append(process.ask(run % RECORDINGS))
    pairs = list(zip(answers["uniecg"], answers["torch"], strict=True))
    result: dict[str, Any] = {
        "machine": machine().cpu,
        "threads": options.threads,
        "runs": options.runs,
        "same_text": sum(a["text"] == b["text"] for a, b in pairs) / len(pairs),
        "largest_statement_difference": max(
            abs(a["statements"][label] - b["statements"][label]) for a, b in pairs for label in a["statements"]
        ),
    }
    result["checked_ms"] = median(answer["checked_ms"] for answer in answers["uniecg"])
    for name, process in sides.items():
        medians = {key: median(answer[key] for answer in answers[name]) for _, key, _ in MEASURES}
        result[name] = {**medians, "peak_memory_mb": process.close()}
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder of the torch checkpoint that the bundle was exported from")
    parser.add_argument("--bundle", default=BUILT_IN)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--serve", choices=("uniecg", "torch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve == "uniecg":
        serve(RuntimeSide(options.bundle, options.threads))
    elif options.serve == "torch":
        serve(TorchSide(options.checkpoint, options.bundle, options.threads))
    else:
        _print(compare(options), options.json)


def _print(result: dict[str, Any], file: Path | None) -> None:
    print(f"{result['machine']}, {result['threads']} threads, medians of {result['runs']} interleaved runs")
    print(f"{'':20}{'uniecg':>12}{'torch':>12}{'torch / uniecg':>16}")
    for label, key, unit in (*MEASURES, ("peak memory", "peak_memory_mb", "MiB")):
        a, b = result["uniecg"][key], result["torch"][key]
        print(f"{label + ', ' + unit:20}{a:12.1f}{b:12.1f}{b / a:16.2f}")
    print(f"text with its quality and checked statements, uniecg alone: {result['checked_ms']:.1f} ms")
    print(f"same text in {100 * result['same_text']:.0f} % of runs; ", end="")
    print(f"statements differ by at most {result['largest_statement_difference']:.4f}")
    print(json.dumps(result))
    if file is not None:
        file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
