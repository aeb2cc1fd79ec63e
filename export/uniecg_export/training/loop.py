"""One training loop for every stage: bf16, cosine schedule, log, checkpoint, resume."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

Loss = Callable[[int], Mapping[str, Tensor]]
Score = Callable[[], Mapping[str, float]]


def device() -> torch.device:
    """CUDA where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def run_stage(
    name: str,
    modules: Mapping[str, nn.Module],
    loss: Loss,
    *,
    steps: int,
    learning_rate: float,
    work: Path,
    score: Score | None = None,
    slower: Mapping[str, float] | None = None,
    weight_decay: float = 0.02,
    average: float = 0.0,
    seconds: float = math.inf,
) -> None:
    """Minimise the sum of what `loss(step)` returns over the modules' parameters.

    Resumes from work/<name>.pt and returns at once where that says the stage is done. `slower`
    scales a module's learning rate. `average` > 0 ends with an exponential moving average of the
    weights. `seconds` bounds the stage: the schedule follows whichever of steps and time runs faster.
    """
    state_file = work / f"{name}.pt"
    groups = [
        {"params": [p for p in module.parameters() if p.requires_grad], "scale": (slower or {}).get(key, 1.0)}
        for key, module in modules.items()
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.97), weight_decay=weight_decay)
    mean = {k: {n: t.clone() for n, t in m.state_dict().items()} for k, m in modules.items()} if average else {}
    done, spent = 0, 0.0
    if state_file.exists():
        state = torch.load(state_file, map_location=device(), weights_only=True)
        for key, module in modules.items():
            module.load_state_dict(state["modules"][key])
        done, spent = state["step"], state["spent"]
        if state["finished"]:
            return
        optimizer.load_state_dict(state["optimizer"])
        mean = state["mean"]
    started, last_saved = time.monotonic() - spent, time.monotonic()
    sums: dict[str, float] = {}
    summed = 0
    for step in range(done, steps):
        progress = max(step / steps, (time.monotonic() - started) / seconds)
        if progress >= 1:
            break
        rate = learning_rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        for module in modules.values():
            module.train()
        with torch.autocast(device().type, torch.bfloat16):
            terms = loss(step)
        total = torch.stack([value.float() for value in terms.values()]).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        for group in optimizer.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
        optimizer.step()
        for key, weights in mean.items():
            _blend(weights, modules[key].state_dict(), min(average, (step + 1) / (step + 10)))
        for key, value in terms.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach())
        summed += 1
        if (step + 1) % 50 == 0:
            spent = time.monotonic() - started
            line = {"step": step + 1, "s": round(spent), **{k: round(v / summed, 4) for k, v in sums.items()}}
            if score is not None and (step + 1) % 500 == 0:
                line |= {k: round(v, 4) for k, v in _scored(modules, score).items()}
            print(name, json.dumps(line), flush=True)
            with (work / f"{name}.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            sums, summed = {}, 0
        if time.monotonic() - last_saved > 120:
            _save(state_file, modules, optimizer, mean, step + 1, time.monotonic() - started, False)
            last_saved = time.monotonic()
    for key, weights in mean.items():
        modules[key].load_state_dict(weights)
    _save(state_file, modules, optimizer, mean, steps, time.monotonic() - started, True)
    if score is not None:
        print(name, "final", json.dumps({k: round(v, 4) for k, v in _scored(modules, score).items()}), flush=True)


def _scored(modules: Mapping[str, nn.Module], score: Score) -> Mapping[str, float]:
    for module in modules.values():
        module.eval()
    with torch.no_grad(), torch.autocast(device().type, torch.bfloat16):
        return score()


def _blend(mean: dict[str, Tensor], now: Mapping[str, Tensor], keep: float) -> None:
    for name, tensor in now.items():
        if tensor.is_floating_point():
            mean[name].lerp_(tensor.detach(), 1 - keep)
        else:
            mean[name].copy_(tensor)


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A file to write that takes the place of `path` when the block ends: a killed run never leaves half of one there.

    Each process has its own, for two may begin at once.
    """
    half = path.with_name(f"{path.name}.{os.getpid()}.half")
    try:
        yield half
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def _save(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    mean: dict[str, dict[str, Tensor]],
    step: int,
    spent: float,
    finished: bool,
) -> None:
    state = {
        "modules": {key: module.state_dict() for key, module in modules.items()},
        "optimizer": optimizer.state_dict(),
        "mean": mean,
        "step": step,
        "spent": spent,
        "finished": finished,
    }
    with beside(path) as half:
        torch.save(state, half)
