"""Fit the network that judges beats in libuniecg: `python -m uniecg_export.training.signal_beats DATA TOOL`.

DATA holds MIT-BIH (`mitdb`) and NSTDB (`nstdb`). TOOL is the detector itself, writing down what it judges:

    cmake -S . -B build -DUNIECG_TESTS=ON && cmake --build build --target uniecg_beat_candidates
    # TOOL is build/tests/native/uniecg_beat_candidates

The records' first channels teach: as they are, with electrodes that come off, and in noise of NSTDB. (Second channels,
in which many an annotated beat cannot be seen, taught it to take noise for beats.) What the detector sees depends on
what it took for beats before; so it runs, the network is fitted to what it judged, and it runs again with that network
(DAgger: Ross, Gordon and Bagnell 2011), from a rule of thumb on. Several networks of different seeds teach one.

With `--folds 5` nothing is printed but what networks reach on records that they were not fitted to, in noise from the
half of the noise recordings that they have not heard. Otherwise all records teach, and `beat_weights.h` is printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from uniecg_export.training import signal_beat_records as beat_records
from uniecg_export.training.signal_beat_records import Heart, hearts

FEATURES, UNITS = 12, 16
ROUNDS, EPOCHS, TEACHERS = 4, 8, 3
CLEAN_WEIGHT, BROKEN_WEIGHT = 1.5, 0.75  # a copy in noise, of which each round brings three, weighs 1
FALSE_COST = 1.4  # of taking for a beat what is none, to missing one: it spoils what is learnt from beats
SOURCES, SHARES = ("em", "ma", "bw"), (0.6, 0.25, 0.15)  # kinds of noise, how often each is taken
SNRS = (-8.0, 4.0)  # dB, as `in_noise` reckons them: 118e00 has -7.3
TESTED_NOISE = (("em", -7.0), ("em", 0.0), ("ma", 0.0), ("ma", 6.0), ("bw", -7.0))
Floats = NDArray[np.float32]
HEADER = """\
// Weights of the network in beat_score.cc, as uniecg_export.training.signal_beats prints them.
#ifndef UNIECG_BEAT_WEIGHTS_H_
#define UNIECG_BEAT_WEIGHTS_H_

#include "beat_score.h"

namespace uniecg {{

constexpr Unit kWeights[] = {{
{rows}}};
constexpr float kBias = {bias};

}}  // namespace uniecg

#endif  // UNIECG_BEAT_WEIGHTS_H_
"""


@dataclass(frozen=True, eq=False)
class Network:
    """rows: float32 (units, features + 2), a unit's weights, its bias and its weight in the sum; and the sum's bias."""

    rows: Floats
    bias: float

    def logits(self, features: Floats) -> Floats:
        """Of features (candidates, features); a beat from 0 on."""
        inside = features @ self.rows[:, :-2].T + self.rows[:, -2]
        return np.asarray(np.tanh(inside) @ self.rows[:, -1] + self.bias, np.float32)


def rule_of_thumb() -> Network:
    """Nearly as tall as the usual beat, not early, and not low just behind another."""
    row = np.zeros((1, FEATURES + 2), np.float32)
    row[0, [0, 1, 4, 7]] = 0.8, 0.6, -1.0, 0.5
    row[0, -2:] = 0.3, 4.0
    return Network(row, 0.0)


@dataclass(frozen=True, eq=False)
class Examples:
    """features: float32 (candidates, features). beats: bool. weights: float32."""

    features: Floats
    beats: NDArray[np.bool_]
    weights: Floats


def judged(tool: Path, heart: Heart, network: Network | None) -> NDArray[np.float64]:
    """Rows of the tool, (candidates, 2 + features): sample, sample of the beat found or -1, features.

    network: None for the one that is built in. Raises CalledProcessError where the tool fails."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(tool), str(beat_records.FS), str(len(heart.signal))]
        if network is not None:
            path = Path(folder) / "network"
            path.write_bytes(np.float32(network.bias).tobytes() + network.rows.astype("<f4").tobytes())
            command.append(str(path))
        out = subprocess.run(command, input=heart.signal.tobytes(), stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(out, np.float64).reshape(-1, 2 + FEATURES)


def beats_found(tool: Path, heart: Heart, network: Network | None) -> NDArray[np.int64]:
    """Samples, ascending."""
    rows = judged(tool, heart, network)
    return np.unique(rows[rows[:, 1] >= 0, 1].astype(np.int64))


def examples(tool: Path, some: Sequence[Heart], network: Network, weight: float) -> Examples:
    """What the detector judges where beats count, and whether the annotators say it is one."""
    parts = []
    for heart in some:
        rows = judged(tool, heart, network)
        kept = heart.in_count(rows[:, 0])
        beats = beat_records.nearest(heart.beats, rows[:, 0])
        share = weight / len(heart.beats)  # records of fast hearts teach no more than others
        parts.append((rows[kept, 2:], beats[kept], np.full(np.count_nonzero(kept), share)))
    features, truths, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Examples(features.astype(np.float32), truths, weights.astype(np.float32))


def fit(tool: Path, some: Sequence[Heart], noise: dict[str, Floats], seed: int) -> Network:
    """A network for these hearts; noise: what is added to them."""
    generator = np.random.default_rng(seed)
    network, seen = rule_of_thumb(), list[list[Examples]]()
    for number in range(ROUNDS):
        broken = [beat_records.interrupted(heart, generator) for heart in some]
        noisy = [noisy_copy(heart, noise, generator) for heart in (*some, *some, *broken)]
        batches = ((some, CLEAN_WEIGHT), (broken, BROKEN_WEIGHT), (noisy, 1.0))
        seen.append([examples(tool, batch, network, weight) for batch, weight in batches])
        latest = [part for parts in seen[-3:] for part in parts]
        features, beats, weights = (
            np.concatenate([getattr(part, name) for part in latest]) for name in ("features", "beats", "weights")
        )
        targets, costs = beats.astype(np.float32), np.where(beats, weights, np.float32(FALSE_COST) * weights)
        if number + 1 < ROUNDS:
            network = descend(features, targets, costs, seed)
            continue
        teachers = [descend(features, targets, costs, seed + 1000 * k) for k in range(1, TEACHERS + 1)]
        agreed = np.mean([teacher.logits(features) for teacher in teachers], axis=0)
        network = descend(features, 1 / (1 + np.exp(-agreed)), weights, seed)
    return network


def noisy_copy(heart: Heart, noise: dict[str, Floats], generator: np.random.Generator) -> Heart:
    """With one or two kinds of noise, as loud as chance will have it; most often electrode motion, which is worst."""
    kinds = tuple(generator.choice(SOURCES, generator.integers(1, 3), replace=False, p=SHARES).tolist())
    return beat_records.in_noise(heart, noise, generator, kinds, float(generator.uniform(*SNRS)))


def descend(features: Floats, targets: Floats, weights: Floats, seed: int) -> Network:
    """Adam on the weighted cross-entropy. targets: probabilities of being a beat."""
    generator = torch.Generator().manual_seed(seed)
    middle, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    inputs = torch.from_numpy((features - middle) / scale)
    truth, counts = torch.from_numpy(targets.astype(np.float32)), torch.from_numpy(weights / weights.mean())
    first = torch.randn(UNITS, FEATURES, generator=generator).div_(FEATURES**0.5)
    second = torch.randn(UNITS, generator=generator).div_(UNITS**0.5)
    parameters = [first, torch.zeros(UNITS), second, torch.zeros(1)]
    for parameter in parameters:
        parameter.requires_grad_()
    batch = 4096
    optimiser = torch.optim.Adam(parameters, lr=0.02, weight_decay=1e-5)
    steps = EPOCHS * -(-len(inputs) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(inputs), generator=generator).split(batch):
            optimiser.zero_grad()
            inside = torch.tanh(inputs[chosen] @ parameters[0].T + parameters[1])
            logits = inside @ parameters[2] + parameters[3]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth[chosen], counts[chosen])
            loss.backward()
            optimiser.step()
            schedule.step()
    inner, bias, outer, last = (parameter.detach().numpy() for parameter in parameters)
    inner = inner / scale
    rows = np.column_stack([inner, bias - inner @ middle, outer])
    return Network(rows.astype(np.float32), float(last[0]))


def cross_validate(data: Path, tool: Path, folds: int, seed: int) -> None:
    """Print F1 of the detector that is built in, and of networks on what they were not fitted to."""
    names = beat_records.records(data)
    built_in = [scores(tool, tested_hearts(data, name, seed), None) for name in names]
    _print_scores("built in, has seen these", built_in)
    part = np.random.default_rng(seed).permutation(len(names)) % folds
    held_out, motion = [], []
    for fold in range(folds):
        some = [hearts(data, name)["first"] for name in np.array(names)[part != fold].tolist()]
        network = fit(tool, some, beat_records.noises(data, 0), seed)
        for name in np.array(names)[part == fold].tolist():
            held_out.append(scores(tool, tested_hearts(data, name, seed), network))
            _print_scores(name, held_out[-1:])
            if name == "118":  # whose beats 118e00 has
                halves = (fit(tool, some, beat_records.noises(data, 1), seed), network)
                noisy = [beat_records.noise_record(data, half) for half in (0, 1)]
                motion = [tally(tool, *pair) for pair in zip(noisy, halves, strict=True)]
    _print_scores(f"{folds} folds, seed {seed}", held_out)
    print(
        f"118e00 by networks that know neither 118 nor that half of the noise: {beat_records.f1(np.array(motion)):.2f}"
    )


def tested_hearts(data: Path, name: str, seed: int) -> dict[str, Heart]:
    """What a record is scored as; the noise is of the second halves."""
    found = hearts(data, name)
    noise, generator = beat_records.noises(data, 1), np.random.default_rng([seed, int(name)])
    for kind, snr in TESTED_NOISE:
        found[f"{kind} {snr:g} dB"] = beat_records.in_noise(found["first"], noise, generator, (kind,), snr)
    return found


def scores(tool: Path, tests: dict[str, Heart], network: Network | None) -> dict[str, NDArray[np.int64]]:
    """Name -> beats found, false, missed."""
    return {name: tally(tool, heart, network) for name, heart in tests.items()}


def tally(tool: Path, heart: Heart, network: Network | None) -> NDArray[np.int64]:
    """Beats found, false, missed."""
    return beat_records.tally(heart, beats_found(tool, heart, network))


def _print_scores(title: str, found: Sequence[dict[str, NDArray[np.int64]]]) -> None:
    columns = (f"{name} {beat_records.f1(np.array([one[name] for one in found])):.2f}" for name in found[0])
    print(f"{title}: {', '.join(columns)}", flush=True)


def weights_header(network: Network) -> str:
    """`beat_weights.h`, before clang-format."""
    rows = ",\n".join(f"{{{{{', '.join(_literal(value) for value in row)}}}}}" for row in network.rows.tolist())
    return HEADER.format(rows=rows, bias=_literal(network.bias))


def _literal(value: float) -> str:
    text = f"{value:.4g}"
    return f"{text}F" if "." in text or "e" in text else f"{text}.0F"


def main() -> None:
    """Cross-validate, or print the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("tool", type=Path)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = options.data.expanduser()
    torch.set_num_threads(1)
    if options.folds:
        cross_validate(data, options.tool, options.folds, options.seed)
        return
    some = [hearts(data, name)["first"] for name in beat_records.records(data)]
    halves = [beat_records.noises(data, half) for half in (0, 1)]
    noise = {name: np.concatenate([half[name] for half in halves], axis=1) for name in halves[0]}
    sys.stdout.write(weights_header(fit(options.tool, some, noise, options.seed)))


if __name__ == "__main__":
    main()
