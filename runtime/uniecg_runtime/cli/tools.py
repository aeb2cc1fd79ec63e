"""`uniecg export`, `verify`, `doctor` and `bench`: bundles and machines."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from uniecg_device.errors import BackendError
from uniecg_runtime.cli.output import say, say_json

SIGNS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[red]PROBLEM[/]"}


def export(checkpoint: Path, out: Path, **options: Any) -> None:
    """Hand over to uniecg_export.cli, which lean installs do without. Raises BackendError where it cannot run."""
    try:
        exporter = importlib.import_module("uniecg_export.cli")
    except ImportError as error:
        raise BackendError(
            f"expected the exporter's libraries, found that {error.name or error} is not installed; "
            "run: pip install 'uniecg-edge[export]'."
        ) from None
    exporter.export(checkpoint, out, **options)


def build_engine(source: str, sms: tuple[int, ...], flavour: str | None, *, tf32: bool) -> None:
    """Build every graph's plan, with the builder's own progress. Raises BackendError where TensorRT is not there."""
    from rich.progress import Progress

    from uniecg_runtime.bundle import Bundle

    try:
        builder = importlib.import_module("uniecg_export.tensorrt_build")
    except ImportError as error:
        raise BackendError(f"expected uniecg_export beside the runtime, found that {error.name} is missing.") from None
    with Progress(transient=True) as shown:
        tasks: dict[str, Any] = {}

        def progress(role: str, step: Any) -> None:
            name = f"{role}: {step.phase}"
            if name not in tasks:
                tasks[name] = shown.add_task(name, total=step.steps)
            shown.update(tasks[name], completed=step.done)

        built = builder.build_bundle(Bundle.open(source), sms=sms, flavour=flavour, tf32=tf32, progress=progress)
    for plan in built:
        say(f"{plan.path}: {plan.size / 1e6:.1f} MB in {plan.seconds:.1f} s")
        for warning in plan.warnings:
            say(f"  note: {warning}")


def verify(source: str, *, as_json: bool) -> int:
    """Each artifact against its golden vectors; 1 where one is off."""
    from uniecg_runtime.bundle import Bundle
    from uniecg_runtime.verify import verify_bundle

    results = verify_bundle(Bundle.open(source))
    passed = all(result.ok for result in results)
    if as_json:
        say_json({"bundle": source, "passed": passed, "checks": [result._asdict() for result in results]})
        return int(not passed)
    from rich.console import Console
    from rich.table import Table

    table = Table("role", "error", "tolerance", "", title=f"{source}: artifacts against their golden vectors")
    for result in results:
        sign = SIGNS["ok" if result.ok else "problem"]
        table.add_row(result.role, f"{result.error:.2e}", f"{result.tolerance:.0e}", sign)
    Console().print(table)
    return int(not passed)


def doctor(bundle: str, *, as_json: bool) -> int:
    """What `doctor.examine` found; 1 where something stops interpretation."""
    from uniecg_runtime.doctor import examine

    checks = examine(bundle)
    healthy = all(check.status != "problem" for check in checks)
    if as_json:
        say_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
        return int(not healthy)
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for topic, group in groupby(checks, key=lambda check: check.topic):
        table.add_row(f"[bold]{topic}[/]")
        for check in group:
            table.add_row(f"  {check.name}", SIGNS[check.status], escape(check.found))
    Console().print(table)
    return int(not healthy)


def bench(source: str, runs: int, warm_up: int, threads: int | None, *, as_json: bool) -> None:
    """A table of stages, or the same as one JSON object."""
    from uniecg_runtime.bench import bench as measure

    result = measure(source, runs=runs, warm_up=warm_up, threads=threads)
    if as_json:
        say_json(asdict(result))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", title=f"{result.bundle} {result.version}, ms over {runs} runs")
    for column in ("median", "p90", "p99"):
        table.add_column(column, justify="right")
    for stage, latency in result.stages.items():
        table.add_row(stage, f"{latency.median:.1f}", f"{latency.p90:.1f}", f"{latency.p99:.1f}")
    Console().print(table)
    say(f"{result.machine['cpu']}, {result.threads} threads; text {result.tokens_per_second:.0f} tokens/s;")
    say(f"load and first reading {result.load_ms:.0f} ms; peak memory {result.peak_memory_mb:.0f} MiB")
