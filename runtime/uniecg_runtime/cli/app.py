"""Commands and their options; what they do is in the modules beside this one."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from uniecg_device.errors import UniecgError
from uniecg_runtime.cli.opening import Opening
from uniecg_runtime.cli.output import complain
from uniecg_runtime.cli.records import Told

BUILT_IN = "uniecg-nano"

app = typer.Typer(
    name="uniecg",
    help="12-lead ECG in, words out; words in, 12-lead ECG out. Research use, unconfirmed. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

BundleOption = Annotated[str, typer.Option("--bundle", help="Bundle folder, or the built-in one by its name.")]
BundleArgument = Annotated[str, typer.Argument(metavar="[BUNDLE]", help="Bundle folder, or a built-in name.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, max=256, help="CPU threads.")]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", help="Public key (.pub) that must have signed the bundle; $UNIECG_BUNDLE_KEY by default."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write the ECG: x.hea (WFDB) or x.csv.", dir_okay=False)]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="Draw the ECG on paper: x.png.", dir_okay=False)]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same ECG.")]
FsOption = Annotated[float | None, typer.Option("--fs", help="Sampling rate in Hz, where the file has none.")]
UnitsOption = Annotated[
    str | None, typer.Option("--units", help="mV, uV or standardised, where the file does not say.")
]
LeadsOption = Annotated[str | None, typer.Option("--leads", help="Lead names in the file's order: I,II,V1.")]
SexOption = Annotated[str | None, typer.Option("--sex", help="male or female.")]
AgeOption = Annotated[float | None, typer.Option("--age", help="Years, 0 to 120.")]
PortOption = Annotated[str, typer.Option("--port", help="/dev/ttyUSB0, usb:VID:PID[:SERIAL], socket://host:port.")]
ReconnectOption = Annotated[
    float, typer.Option("--reconnect", min=0, help="Seconds to look for a device that was lost; 0: not at all.")
]
RateOption = Annotated[float | None, typer.Option("--heart-rate", help="Beats per minute, 20 to 300.")]


class Backend(StrEnum):
    """What runs a bundle's graphs."""

    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


BackendOption = Annotated[
    Backend, typer.Option("--backend", help="cpu and cuda: ONNX Runtime; tensorrt: plans of `uniecg build-engine`.")
]


class Flavour(StrEnum):
    """Which TensorRT: JetPack's and the data centre's, or the one for RTX."""

    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt_rtx"


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"uniecg-edge {version('uniecg-edge')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """12-lead ECG in, words out; words in, 12-lead ECG out. Research use, unconfirmed. Not a medical device."""


@app.command()
def interpret(
    records: Annotated[
        list[Path], typer.Argument(metavar="RECORD...", help="WFDB .hea, EDF/EDF+, CSV, NPY or .uniecg files.")
    ],
    bundle: BundleOption = BUILT_IN,
    question: Annotated[str | None, typer.Option("--question", help="Ask this instead of a full reading.")] = None,
    start: Annotated[float, typer.Option("--start", min=0, help="Seconds into the record.")] = 0.0,
    fs: FsOption = None,
    units: UnitsOption = None,
    leads: LeadsOption = None,
    threads: ThreadsOption = None,
    backend: BackendOption = Backend.cpu,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Read recordings and write what they show."""
    from uniecg_runtime.cli import interpret as command

    how = command.Reading(Told(fs, units, leads), start, question)
    raise typer.Exit(command.run(records, Opening(bundle, key, backend, threads), how, as_json=json))


@app.command()
def measure(
    records: Annotated[
        list[Path], typer.Argument(metavar="RECORD...", help="WFDB .hea, EDF/EDF+, CSV, NPY or .uniecg files.")
    ],
    annotations: Annotated[
        Path | None, typer.Option("--annotations", metavar="DIR", help="Write the beats and waves as WFDB annotations.")
    ] = None,
    bundle: BundleOption = BUILT_IN,
    rules: Annotated[bool, typer.Option("--rules", help="Find the waves by rules, without any bundle.")] = False,
    fs: FsOption = None,
    units: UnitsOption = None,
    leads: LeadsOption = None,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Measure recordings: rate, intervals, axes, and the waves of each lead."""
    from uniecg_runtime.cli import measure as command

    how = command.Measuring(Told(fs, units, leads), None if rules else Opening(bundle, key), annotations)
    raise typer.Exit(command.run(records, how, as_json=json))


@app.command()
def encode(
    records: Annotated[
        list[Path], typer.Argument(metavar="RECORD...", help="WFDB .hea, EDF/EDF+, CSV, NPY or .uniecg files.")
    ],
    out: Annotated[Path, typer.Option("--out", help="NumPy .npz file to write.")],
    bundle: BundleOption = BUILT_IN,
    start: Annotated[float, typer.Option("--start", min=0, help="Seconds into the record.")] = 0.0,
    fs: FsOption = None,
    units: UnitsOption = None,
    leads: LeadsOption = None,
    threads: ThreadsOption = None,
    backend: BackendOption = Backend.cpu,
    key: KeyOption = None,
) -> None:
    """Write what the bundle's encoder gives for recordings: tokens, features, an embedding or logits."""
    from uniecg_runtime.cli import interpret as command

    how = command.Reading(Told(fs, units, leads), start, None)
    raise typer.Exit(command.encode(records, Opening(bundle, key, backend, threads), how, out))


@app.command()
def generate(
    text: Annotated[str, typer.Argument(help='What to draw: "atrial fibrillation, heart rate 110".')],
    bundle: BundleOption = BUILT_IN,
    sex: SexOption = None,
    age: AgeOption = None,
    heart_rate: RateOption = None,
    seed: SeedOption = 0,
    steps: Annotated[int | None, typer.Option("--steps", min=1, max=1000, help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="How strongly the text steers.")] = None,
    embedding: Annotated[
        Path | None, typer.Option("--embedding", help="The text's embedding (.npy), for a bundle that takes one.")
    ] = None,
    out: OutOption = None,
    plot: PlotOption = None,
    threads: ThreadsOption = None,
    backend: BackendOption = Backend.cpu,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Draw a synthetic 12-lead ECG from words."""
    from uniecg_runtime.cli import generate as command

    wish = command.Wish(text, sex, age, heart_rate, seed, steps, guidance, embedding)
    command.run(wish, Opening(bundle, key, backend, threads), out=out, plot=plot, as_json=json)


@app.command()
def chat(
    record: Annotated[Path | None, typer.Argument(metavar="[RECORD]", help="A recording to talk about.")] = None,
    ask: Annotated[str | None, typer.Option("--ask", help="Ask once, print the answer and leave.")] = None,
    bundle: BundleOption = BUILT_IN,
    fs: FsOption = None,
    units: UnitsOption = None,
    leads: LeadsOption = None,
    out: OutOption = None,
    plot: PlotOption = None,
    threads: ThreadsOption = None,
    backend: BackendOption = Backend.cpu,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Talk with the model, which decides by itself whether to explain or to draw."""
    from uniecg_runtime.cli import chat as command

    opening, keep = Opening(bundle, key, backend, threads), command.Keep(out, plot)
    command.run(record, ask, opening, Told(fs, units, leads), keep, as_json=json)


@app.command()
def stream(
    device: Annotated[str, typer.Option("--device", help="Device profile: a name, or a TOML file.")],
    port: PortOption,
    bundle: BundleOption = BUILT_IN,
    interval: Annotated[float, typer.Option("--interval", help="Seconds between interpretations.")] = 10.0,
    windows: Annotated[int | None, typer.Option("--windows", min=1, help="Stop after this many windows.")] = None,
    duration: Annotated[float | None, typer.Option("--duration", help="Stop after this many seconds.")] = None,
    skip_poor: Annotated[
        bool, typer.Option("--skip-poor", help="Count windows of unacceptable quality, do not interpret them.")
    ] = False,
    reconnect: ReconnectOption = 60.0,
    threads: ThreadsOption = None,
    backend: BackendOption = Backend.cpu,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Read a device live: heart rate and quality each second, an interpretation per window."""
    from uniecg_runtime.cli import stream as command

    limits = command.Limits(interval, windows, duration, skip_poor)
    command.run(device, port, Opening(bundle, key, backend, threads), limits, reconnect, as_json=json)


@app.command()
def devices(json: JsonOption = False) -> None:
    """List the serial ports: USB identity, product, and the profiles that say they are theirs."""
    from uniecg_runtime.cli import devices as command

    command.run(as_json=json)


@app.command()
def simulate(
    device: Annotated[str, typer.Option("--device", help="Device profile to play: a name, or a TOML file.")],
    record: Annotated[Path | None, typer.Argument(metavar="[RECORD]", help="Recording to play.")] = None,
    heart_rate: Annotated[float, typer.Option("--heart-rate", help="Of the simulated ECG, without RECORD.")] = 72.0,
    rhythm: Annotated[str, typer.Option("--rhythm", help="Of the simulated ECG, without RECORD.")] = "sinus",
    speed: Annotated[
        str, typer.Option("--speed", help="1 is the device's own pace; max: as fast as it is read.")
    ] = "1",
    tcp: Annotated[int | None, typer.Option("--tcp", min=1, max=65535, help="Serve a TCP port, not a pty.")] = None,
    link: Annotated[
        Path | None, typer.Option("--link", help="A symbolic link to keep on the pty, which may change its name.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="NAME=VALUE",
            help="What goes wrong, as a probability per frame: drop, flip (a bit), duplicate, insert (random bytes), "
            "split (the write), stall, disconnect, electrode-off. The last three last about seconds=1; "
            "drift=PPM is the clock's. Repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides which frames --fault meets, and how.")] = 0,
    fs: FsOption = None,
    units: UnitsOption = None,
    leads: LeadsOption = None,
) -> None:
    """Be a device: send its exact wire bytes over a pty, whose path is printed."""
    from uniecg_runtime.cli import simulate as command

    source = command.Source(heart_rate, rhythm)
    told = Told(fs, units, leads)
    command.run(device, record, told, source, speed=speed, tcp=tcp, link=link, faults=fault or [], seed=seed)


@app.command()
def record(
    device: Annotated[str, typer.Option("--device", help="Device profile: a name, or a TOML file.")],
    port: PortOption,
    out: Annotated[Path, typer.Option("--out", help="x.uniecg, one file; an existing one is never overwritten.")],
    seconds: Annotated[float | None, typer.Option("--seconds", help="Stop after so much; else at Ctrl-C.")] = None,
    wire: Annotated[bool, typer.Option("--wire", help="Keep the bytes of the line too, for `uniecg replay`.")] = False,
    synthetic: Annotated[
        bool | None,
        typer.Option(
            "--synthetic/--no-synthetic", help="A simulator plays, or not; a pseudo-terminal is taken for one."
        ),
    ] = None,
    reconnect: ReconnectOption = 60.0,
    json: JsonOption = False,
) -> None:
    """Write what a device sends to a file, safe on the disk within a second."""
    from uniecg_runtime.cli import record as command

    command.run(device, port, out, reconnect, seconds=seconds, wire=wire, synthetic=synthetic, as_json=json)


@app.command()
def convert(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="x.uniecg, as `uniecg record` wrote it.")],
    to: Annotated[str, typer.Option("--to", help="wfdb, edf or csv.")],
    out: Annotated[Path, typer.Option("--out", help="x.hea, x.edf (x.bdf for 24-bit counts) or x.csv.")],
) -> None:
    """Turn a recording into WFDB, EDF+ or CSV, every count as the device sent it."""
    from uniecg_runtime.cli import record as command

    command.convert(recording, to, out)


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="x.uniecg, recorded with --wire.")],
    json: JsonOption = False,
) -> None:
    """Frame a recording's wire bytes again and compare every sample with the recorded one."""
    from uniecg_runtime.cli import record as command

    command.replay(recording, as_json=json)


@app.command()
def calibrate(
    device: Annotated[str, typer.Option("--device", help="Device profile to begin with: a name, or a TOML file.")],
    out: Annotated[Path, typer.Option("--out", help="x.toml, the calibrated profile; never written over another.")],
    recording: Annotated[
        Path | None, typer.Argument(metavar="[RECORDING]", help="x.uniecg of the signal, in the place of --port.")
    ] = None,
    port: Annotated[str | None, typer.Option("--port", help="Where the device is, as for `uniecg stream`.")] = None,
    pulse: Annotated[
        float | None, typer.Option("--pulse", help="mV between the plateaus of a square wave; 1 if nothing is said.")
    ] = None,
    sine: Annotated[float | None, typer.Option("--sine", help="mV of a sine from peak to peak, in its place.")] = None,
    hz: Annotated[float | None, typer.Option("--hz", help="The sine's frequency.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, max=600, help="How long to measure.")] = 10.0,
    lead: Annotated[
        str | None, typer.Option("--lead", help="Leads that see the whole signal: II or I,II; all by default.")
    ] = None,
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="A scale for each channel; else they must agree within 2 %.")
    ] = False,
    source: Annotated[str, typer.Option("--source", help="The generator, for the profile's provenance.")] = "",
    json: JsonOption = False,
) -> None:
    """Measure a known signal on a device and write its scale into a profile of your own."""
    from uniecg_runtime.cli import calibrate as command

    wave = command.Wave(pulse, sine, hz, source)
    command.run(recording, device, port, out, wave, seconds=seconds, lead=lead, per_channel=per_channel, as_json=json)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="File or folder, as published.")],
    out: Annotated[Path, typer.Option("--out", help="Bundle folder to write.")],
    family: Annotated[
        str | None, typer.Option("--family", help="Of the model, where no config.json names it: ecgfounder, merl ...")
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="What a classifier gives: one label a line.")] = None,
    tower: Annotated[Path | None, typer.Option("--tower", help="File of an ECG tower that is not in it.")] = None,
    generator: Annotated[Path | None, typer.Option("--generator", help="Folder of what draws for it.")] = None,
    delineator: Annotated[Path | None, typer.Option("--delineator", help="Folder of one to put beside it.")] = None,
    with_image: Annotated[
        bool, typer.Option("--with-image", help="The images' tower too: a picture of the ECG is shown beside it.")
    ] = False,
    target: Annotated[
        str, typer.Option("--target", help="Where it is to run: cpu, cpu-arm, jetson-orin, jetson-thor, rtx.")
    ] = "cpu",
    precision: Annotated[
        list[str] | None, typer.Option("--precision", help="[ROLE=]PRECISION in the place of the target's choice.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option("--recordings", help="Folder of ECGs to calibrate and measure with.")
    ] = None,
    truth: Annotated[Path | None, typer.Option("--truth", help="CSV: record, then 1 or 0 per label.")] = None,
    texts: Annotated[
        Path | None, typer.Option("--texts", help="Texts, one a line, for the k-quants' importance matrix.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=16, help="Recordings that are used.")] = 96,
    sweep: Annotated[bool, typer.Option("--sweep", help="Try every precision of every role; slow.")] = False,
    override: Annotated[
        list[str] | None, typer.Option("--override", help="Let a gate pass: GATE=REASON. The manifest records it.")
    ] = None,
) -> None:
    """Turn a trained checkpoint into a bundle for a kind of machine (needs the `export` extra)."""
    from uniecg_runtime.cli import tools

    tools.export(
        checkpoint,
        out,
        family=family,
        labels=labels,
        tower=tower,
        generator=generator,
        delineator=delineator,
        with_image=with_image,
        target=target,
        precisions=precision or (),
        recordings=recordings,
        truth=truth,
        texts=texts,
        most=most,
        sweep=sweep,
        overrides=override or (),
    )


@app.command("build-engine")
def build_engine(
    bundle: BundleArgument = BUILT_IN,
    sm: Annotated[
        list[int] | None, typer.Option("--sm", help="GPU generation to build for, without it here: 86, 89 ...")
    ] = None,
    flavour: Annotated[Flavour | None, typer.Option("--flavour", help="The first that is installed.")] = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="Round products to 10 bits: faster, less exact.")] = False,
    key: KeyOption = None,
) -> None:
    """Build TensorRT plans of a bundle's graphs, for this GPU or with --sm for others (needs the `tensorrt` extra)."""
    from uniecg_runtime.cli import tools

    tools.build_engine(Opening(bundle, key), tuple(sm or ()), None if flavour is None else flavour.value, tf32=tf32)


@app.command()
def keygen(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="NAME.key and NAME.pub are written, never over others.")],
) -> None:
    """Make a key pair to sign bundles with (needs the `signing` extra)."""
    from uniecg_runtime.cli import tools

    tools.keygen(name)


@app.command()
def sign(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    key: Annotated[Path, typer.Option("--key", help="Private key (.key) of `uniecg keygen`.")],
) -> None:
    """Sign a bundle, for devices that require it (needs the `signing` extra)."""
    from uniecg_runtime.cli import tools

    tools.sign(bundle, key)


@app.command()
def verify(
    bundle: BundleArgument = BUILT_IN,
    backend: BackendOption = Backend.cpu,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Check a bundle: signature, hashes, and each artifact on the backend in use against its golden vectors."""
    from uniecg_runtime.cli import tools

    raise typer.Exit(tools.verify(Opening(bundle, key, backend), as_json=json))


@app.command()
def doctor(
    bundle: BundleOption = BUILT_IN,
    backend: BackendOption = Backend.cpu,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Look at this machine: versions, what can run here and why the rest cannot, memory, serial ports, bundle."""
    from uniecg_runtime.cli import tools

    raise typer.Exit(tools.doctor(Opening(bundle, key, backend), as_json=json))


@app.command()
def bench(
    bundle: BundleArgument = BUILT_IN,
    runs: Annotated[int, typer.Option("--runs", min=1, max=10000, help="Repetitions that count.")] = 20,
    warm_up: Annotated[int, typer.Option("--warm-up", min=0, max=1000, help="Repetitions before.")] = 2,
    threads: ThreadsOption = None,
    backend: BackendOption = Backend.cpu,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Measure each stage here: median, p90, p99, peak memory."""
    from uniecg_runtime.cli import tools

    tools.bench(Opening(bundle, key, backend, threads), runs, warm_up, as_json=json)


@app.command()
def demo(
    bundle: BundleOption = BUILT_IN,
    backend: BackendOption = Backend.cpu,
    key: KeyOption = None,
    folder: Annotated[Path, typer.Option("--folder", help="Where the drawn ECG goes.")] = Path("demo-output"),
) -> None:
    """Half a minute of everything: a simulated device, live reading, and a drawn ECG."""
    from uniecg_runtime.cli import demo as command

    command.run(Opening(bundle, key, backend), folder)


def main() -> None:
    """Run the command line: exit 0, 1 with one `error:` line, 2 for wrong usage, 130 after Ctrl-C."""
    try:
        app()
    except UniecgError as error:
        complain(str(error))
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    finally:
        _flush()


def _flush() -> None:
    """A reader that went away (`uniecg ... | head`) is no error worth a traceback at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
