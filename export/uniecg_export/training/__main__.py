"""The recipe of uniecg-nano: `python -m uniecg_export.training --data DIR --work DIR --out CHECKPOINT`.

Every stage logs to work/<stage>.jsonl and resumes from work/<stage>.pt. The interpretation side
(encoder, interpretation, alignment) and the generation side (autoencoder, flow) meet only in the
checkpoint, so two processes may train them at once with --only.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

from uniecg_device.errors import InputError
from uniecg_export.families.uniecg_nano import NanoConfig, UniEcgNano, save_checkpoint
from uniecg_export.training.dialogues import about_record, to_draw, without_record
from uniecg_export.training.encoder import pretrain_encoder
from uniecg_export.training.generator import set_latent_scale, strips, train_autoencoder, train_flow
from uniecg_export.training.labels import NAMES
from uniecg_export.training.loop import beside, device
from uniecg_export.training.records import Records, load_records, load_simulated
from uniecg_export.training.sequences import Writer, train_tokenizer
from uniecg_export.training.stages import train_alignment, train_interpretation

STAGES = ("encoder", "interpretation", "autoencoder", "flow", "alignment", "checkpoint")


def main() -> None:
    """Run the stages asked for, all of them by default."""
    options = _options()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    config = NanoConfig(
        labels=NAMES, trained_on=("PTB-XL 1.0.3 folds 1-8", "CODE-15 %", "CinC 2011 set A", "simulated")
    )
    records = load_records(options.data, options.work / "records.npz", config)
    simulated = load_simulated(options.simulated, options.work / "simulated.npz", config)
    writer = Writer(_tokenizer(options.work / "tokenizer.json", records, config), config)
    torch.manual_seed(0)
    model = UniEcgNano(config).to(device())
    chosen, work = options.only, options.work
    if "encoder" in chosen:
        pretrain_encoder(model.encoder, config, records, simulated, work, options.encoder_steps)
    if "interpretation" in chosen:
        _restore(model, work, "1-encoder")
        train_interpretation(model, writer, records, simulated, work, options.interpretation_steps, options.seconds)
    if "autoencoder" in chosen or "flow" in chosen:
        data = strips(records, simulated, config)
        train_autoencoder(model, data, work, options.autoencoder_steps)
        if "flow" in chosen:
            train_flow(model, data, work, options.flow_steps, options.seconds)
    if "alignment" in chosen:
        _restore(model, work, "4-interpretation")
        train_alignment(model, writer, records, simulated, work, options.alignment_steps, options.seconds)
    if "checkpoint" in chosen:
        for stage in ("2-autoencoder", "3-flow", "4-interpretation", "5-alignment"):
            _restore(model, work, stage)
        set_latent_scale(model, strips(records, simulated, config))
        save_checkpoint(model, options.out)
        writer.tokenizer.save(str(options.out / "tokenizer.json"))
        print(f"wrote {options.out}")


def _restore(model: UniEcgNano, work: Path, stage: str) -> None:
    """Load an earlier stage's modules into the model. Raises InputError where that stage was never run."""
    path = work / f"{stage}.pt"
    if not path.is_file():
        raise InputError(f"expected what the stage {stage} made at {path}, found nothing; run it first.")
    parts = {**dict(model.named_children()), "combine": model.condition.combine, "align": model.condition.align}
    state = torch.load(path, map_location=device(), weights_only=True)
    for name, weights in state["modules"].items():
        if name in parts:  # the head that trained the encoder is not
            parts[name].load_state_dict(weights)


def _tokenizer(path: Path, records: Records, config: NanoConfig) -> Tokenizer:
    if not path.exists():
        rng = Random(5)
        train = [row for row in range(len(records.names)) if 1 <= records.fold[row] <= 8]
        corpus: list[str] = []
        for _ in range(12000):
            turns = [about_record(rng, records, rng.choice(train), rng.choice(("interpret", "question", "measure")))]
            turns += [without_record(rng), to_draw(rng, [list(NAMES)], None, "")[0]]
            corpus += [text for turn in turns for text in (turn.question, turn.measurements, turn.answer)]
        with beside(path) as half:
            train_tokenizer(corpus, config.vocabulary).save(str(half))
    return Tokenizer.from_file(str(path))


def _stages(text: str) -> tuple[str, ...]:
    """Names between commas. Raises argparse's own error for one that is no stage."""
    chosen = tuple(text.split(","))
    if unknown := [stage for stage in chosen if stage not in STAGES]:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(STAGES)}, found {','.join(unknown)}")
    return chosen


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m uniecg_export.training", description="Train uniecg-nano.")
    default = Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")).expanduser()
    parser.add_argument("--data", type=Path, default=default, help="folder that holds ptbxl/ and its neighbours")
    parser.add_argument("--work", type=Path, default=Path("work/training"), help="logs, caches and resumable state")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/uniecg-nano"))
    parser.add_argument("--only", type=_stages, default=STAGES, help=f"comma-separated stages of: {', '.join(STAGES)}")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="time limit of each long stage")
    parser.add_argument("--simulated", type=int, default=3000, help="simulated records")
    for stage, steps in zip(STAGES[:-1], (1300, 4000, 2200, 9000, 6000), strict=True):
        parser.add_argument(f"--{stage}-steps", type=int, default=steps)
    return parser.parse_args()


if __name__ == "__main__":
    main()
