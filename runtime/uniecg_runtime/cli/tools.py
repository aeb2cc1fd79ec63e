"""`uniecg export`, `build-engine`, `keygen`, `sign`, `verify`, `doctor` and `bench`: bundles and machines."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniecg_device.errors import BackendError
from uniecg_runtime.cli.output import clean, say, say_json

if TYPE_CHECKING:
    from uniecg_runtime.cli.opening import Opening

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


def build_engine(opening: Opening, sms: tuple[int, ...], flavour: str | None, *, tf32: bool) -> None:
    """Build every graph's plan, with the builder's own progress. Raises BackendError where TensorRT is not there."""
    from rich.progress import Progress

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

        built = builder.build_bundle(opening.open(), sms=sms, flavour=flavour, tf32=tf32, progress=progress)
    for plan in built:
        say(f"{plan.path}: {plan.size / 1e6:.1f} MB in {plan.seconds:.1f} s")
        for warning in plan.warnings:
            say(f"  note: {warning}")


def keygen(name: Path) -> None:
    """Make a key pair, and say what each half is for."""
    from uniecg_runtime.signing import generate_keys

    key = generate_keys(name)
    say(f"key {key.id}")
    say(f"  {name}.key signs bundles: uniecg sign BUNDLE --key {name}.key. Keep it to yourself.")
    say(f"  {name}.pub goes to the devices: --key {name}.pub, or UNIECG_BUNDLE_KEY in their environment.")


def sign(source: str, key: Path) -> None:
    """Sign a bundle whose files are what its manifest says."""
    from uniecg_runtime.bundle import Bundle, read_manifest
    from uniecg_runtime.signing import read_private_key, sign_bundle

    private = read_private_key(key)
    folder = Bundle.open_unsigned(source).folder
    say(f"wrote {sign_bundle(folder, read_manifest(folder), private)}, key {private.public.id}")


def verify(opening: Opening, *, as_json: bool) -> int:
    """Each artifact against its golden vectors; 1 where one is off."""
    from uniecg_runtime.verify import verify_bundle

    results = verify_bundle(opening.open(), backend=opening.backend, threads=opening.threads or 1)
    passed = all(result.ok for result in results)
    if as_json:
        checks = [result._asdict() for result in results]
        say_json({"bundle": opening.bundle, "backend": opening.backend, "passed": passed, "checks": checks})
        return int(not passed)
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("role", "ran on", "error", "limit", "", title="artifacts against their golden vectors")
    for result in results:
        error = "not run" if result.reason else f"{result.error:.2e}"
        sign = SIGNS["ok" if result.ok else "problem"]
        table.add_row(result.role, escape(clean(result.backend)), error, f"{result.tolerance:.0e}", sign)
    Console().print(table)
    for result in results:
        if result.reason:
            say(f"{result.role}: {result.reason}")
    return int(not passed)


def doctor(opening: Opening, *, as_json: bool) -> int:
    """What `doctor.examine` found; 1 where something stops interpretation."""
    from uniecg_runtime.doctor import examine

    checks = examine(opening.bundle, backend=opening.backend, public_key=opening.key)
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
            table.add_row(f"  {escape(clean(check.name))}", SIGNS[check.status], escape(clean(check.found)))
    Console().print(table)
    return int(not healthy)


def bench(opening: Opening, runs: int, warm_up: int, *, as_json: bool) -> None:
    """A table of stages, or the same as one JSON object."""
    from uniecg_runtime.bench import bench as measure

    result = measure(
        opening.bundle,
        runs=runs,
        warm_up=warm_up,
        backend=opening.backend,
        threads=opening.threads,
        public_key=opening.key,
    )
    if as_json:
        say_json(asdict(result))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("stage", title=escape(clean(f"{result.bundle} {result.version}, ms over {runs} runs")))
    for column in ("median", "p90", "p99"):
        table.add_column(column, justify="right")
    for stage, latency in result.stages.items():
        table.add_row(stage, f"{latency.median:.1f}", f"{latency.p90:.1f}", f"{latency.p99:.1f}")
    Console().print(table)
    say(f"{result.machine['cpu']}, {result.threads} threads; text {result.tokens_per_second:.0f} tokens/s;")
    for role, provider in result.backend.items():
        say(f"{role} on {provider};")
    say(f"load and first reading {result.load_ms:.0f} ms; peak memory {result.peak_memory_mb:.0f} MiB")
