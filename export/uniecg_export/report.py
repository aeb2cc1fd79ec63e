"""What an export measured, for people and for programs: report.json, report.md and report.png in the bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uniecg_export.gates import share, verdict
from uniecg_export.targets import Target
from uniecg_export.trial_set import TrialSet
from uniecg_export.trials import Trial
from uniecg_runtime.machine import machine
from uniecg_runtime.manifest import Gate, Override

JSON, MARKDOWN, FIGURE = "report.json", "report.md", "report.png"


def write_report(
    folder: Path,
    title: str,
    target: Target,
    tried: TrialSet,
    parity: Sequence[Gate],
    trials: Sequence[Trial],
    chosen: Sequence[Trial],
    overrides: Sequence[Override],
) -> tuple[str, ...]:
    """Write the three files; their names. trials: all that was tried; chosen: what is in the bundle."""
    data = {
        "bundle": title,
        "target": target.name,
        "machine": asdict(machine()),
        "recordings": tried.source,
        "measured_on": len(tried.measuring),
        "calibrated_on": len(tried.calibration),
        "truth": list(tried.labels),
        "speed_measured": target.is_here,
        "parity": [_plain(gate, overrides) for gate in parity],
        "trials": [plain_trial(trial, overrides, chosen=trial in chosen) for trial in trials],
        "overrides": [{"gate": o.gate, "reason": o.reason} for o in overrides],
    }
    (folder / JSON).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / MARKDOWN).write_text(markdown(data), encoding="utf-8")
    _draw(folder / FIGURE, title, chosen)
    return (JSON, MARKDOWN, FIGURE)


def _plain(gate: Gate, overrides: Sequence[Override]) -> dict[str, Any]:
    figures = {"gate": gate.name, "what": gate.what, "measured": gate.measured, "limit": gate.limit}
    return {**figures, "ok": gate.ok, "verdict": verdict(gate, overrides)}


def plain_trial(trial: Trial, overrides: Sequence[Override], *, chosen: bool) -> dict[str, Any]:
    """A trial as JSON has it. overrides: of the bundle, which are about what was chosen alone."""
    return {
        "role": trial.role,
        "precision": trial.precision,
        "ok": trial.ok,
        "failed": trial.failed,
        "size": None if trial.artifact is None else trial.artifact.size,
        "reference_size": trial.reference_size,
        "speed": None if trial.speed is None else {**asdict(trial.speed), "ratio": trial.speed.ratio},
        "memory_mb": trial.memory_mb,
        "gates": [_plain(gate, overrides if chosen else ()) for gate in trial.gates],
        "chosen": chosen,
    }


def markdown(data: dict[str, Any]) -> str:
    """The same for people: what is in the bundle, every gate, and what was tried and refused."""
    halves = f"; measured on {data['measured_on']}, the other {data['calibrated_on']} were there to calibrate with"
    lines = [
        f"# {data['bundle']} for {data['target']}",
        "",
        f"Recordings: {data['recordings']}{halves if data['measured_on'] else ''}. "
        f"Each artifact against float32 (the language model against f16) in the same run on "
        f"{data['machine']['cpu']}, one artifact replaced at a time. Less is better in every gate. "
        "Times are medians and hold whatever else ran; the gate on speed says what it compares.",
        "",
        "| role | precision | size, MB | reference, MB | time, ms | reference, ms | in the bundle |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(trial) for trial in data["trials"]]
    lines += ["", "## Gates", "", "| gate | measured | limit | | what |", "|---|---|---|---|---|"]
    for trial in data["trials"]:
        lines += [_gate(gate, trial["precision"]) for gate in trial["gates"]]
    lines += ["", "## Parity of the float32 artifacts with the checkpoint in torch", ""]
    lines += ["| gate | measured | limit | | what |", "|---|---|---|---|---|"]
    lines += [_gate(gate, "") for gate in data["parity"]]
    failed = [trial for trial in data["trials"] if trial["failed"]]
    if failed:
        lines += ["", "## Could not be made", ""]
        lines += [f"- {trial['role']}, {trial['precision']}: {trial['failed']}" for trial in failed]
    lines += ["", "Research use, unconfirmed; not a medical device.", ""]
    return "\n".join(lines)


def _row(trial: dict[str, Any]) -> str:
    speed = trial["speed"]
    times = ("not measured",) * 2
    if speed is not None:
        times = (f"{speed['trial_ms']:.2f}", f"{speed['reference_ms']:.2f}")
    size = "" if trial["size"] is None else f"{trial['size'] / 1e6:.2f}"
    fate = "yes" if trial["chosen"] else "no"
    if not trial["ok"] and not trial["chosen"]:
        fate = "no: could not be made" if trial["failed"] else "no: refused"
    cells = (trial["role"], trial["precision"], size, f"{trial['reference_size'] / 1e6:.2f}", *times, fate)
    return f"| {' | '.join(cells)} |"


def _gate(gate: dict[str, Any], precision: str) -> str:
    name = f"{gate['gate']}{f' ({precision})' if precision else ''}"
    return f"| {name} | {gate['measured']:.3g} | {gate['limit']:.3g} | {gate['verdict']} | {gate['what']} |"


def _draw(path: Path, title: str, chosen: Sequence[Trial]) -> None:
    """One bar a gate, as a share of its limit; what is beyond 1 was overridden."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    gates = [(f"{gate.name} ({trial.precision})", share(gate)) for trial in chosen for gate in trial.gates]
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(gates)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shares = [max(value, 0.0) for _, value in gates]
    axes.barh(range(len(gates)), shares, color=["tab:red" if value > 1 else "tab:blue" for value in shares])
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(range(len(gates)), [name for name, _ in gates])
    axes.invert_yaxis()
    axes.set_xlabel("measured / limit")
    axes.set_title(f"{title}: each gate as a share of its limit\nresearch use, unconfirmed; not a medical device")
    figure.savefig(path, dpi=110, metadata={"Software": None})
