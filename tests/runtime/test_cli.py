"""The command line as a person or a program meets it: output, exit codes, one line per error."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS
from uniecg_runtime.bundle import BUILT_IN, Bundle
from uniecg_runtime.cli import app as commands
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.formats.write import write_csv, write_wfdb
from uniecg_runtime.results import DISCLAIMER

HEAVY = ("numpy", "onnxruntime", "llama_cpp", "serial", "torch")


def uniecg(*arguments: str | Path, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a person does."""
    code = "from uniecg_runtime.cli import main; main()"
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "200", "NO_COLOR": "1"},
    )


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """One error line, exit code 1, no traceback."""
    assert result.returncode == 1, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated 12-lead ECG of 72 beats per minute in a WFDB file."""
    recording = simulate(ParametricEcg(heart_rate=72.0), 12.0, 500.0, 3)
    return write_wfdb(recording, tmp_path_factory.mktemp("records") / "made.hea")


@pytest.fixture(scope="module")
def folder(bundle: Bundle) -> str:
    return str(bundle.folder)


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['uniecg', '--help']\n"
        "from uniecg_runtime.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "Not a medical device" in result.stdout
    assert result.stderr.strip() == "[]"


def test_the_built_in_bundle_has_one_name() -> None:
    assert commands.BUILT_IN == BUILT_IN


def test_interpret_prints_one_object_per_record(record: Path, folder: str, tmp_path: Path) -> None:
    table = write_csv(simulate(ParametricEcg(heart_rate=95.0), 10.0, 250.0, 4), tmp_path / "made.csv")
    result = uniecg("interpret", record, table, "--bundle", folder, "--json")
    assert result.returncode == 0, result.stderr
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["record"], second["record"]) == (str(record), str(table))
    for reading in (first, second):
        assert reading["disclaimer"] == DISCLAIMER
        assert isinstance(reading["text"], str) and reading["route"] == "text"
        assert {"NORM", "MI", "STTC", "CD", "HYP"} <= reading["statements"].keys()
        assert all(0 <= p <= 1 for p in reading["statements"].values())
        assert reading["timing_ms"]["total"] > 0
    assert first["measurements"]["heart_rate"]["value"] == pytest.approx(72, abs=2)
    assert second["measurements"]["heart_rate"]["value"] == pytest.approx(95, abs=2)
    assert first["measurements"]["heart_rate"]["unit"]


def test_interpret_for_people_ends_with_the_disclaimer(record: Path, folder: str) -> None:
    result = uniecg("interpret", record, "--bundle", folder)
    assert result.returncode == 0, result.stderr
    assert "HR 72" in result.stdout and DISCLAIMER in result.stdout


def test_a_bad_record_does_not_stop_the_others(record: Path, folder: str, tmp_path: Path) -> None:
    result = uniecg("interpret", tmp_path / "nowhere.hea", record, "--bundle", folder, "--json")
    refused(result, "nowhere.hea")
    assert json.loads(result.stdout)["record"] == str(record)


def spoil(record: Path, tmp_path: Path, how: str) -> tuple[str | Path, ...]:
    """A record that is no ECG in one particular way, with its options."""
    file = tmp_path / "spoilt.npy"
    signal = simulate(ParametricEcg(heart_rate=72.0), 10.0, 500.0, 3).signal
    options = ("--fs", "500", "--units", "mV", "--leads", ",".join(LEADS))
    if how == "truncated":
        (tmp_path / "made.hea").write_bytes(record.read_bytes())
        (tmp_path / "made.dat").write_bytes(record.with_suffix(".dat").read_bytes()[:1001])
        return (tmp_path / "made.hea",)
    if how == "nan":
        signal = np.full_like(signal, np.nan)
    elif how == "flat":
        signal = np.zeros_like(signal)
    elif how == "microvolts":
        signal = signal * 1000
    elif how == "short":
        signal = signal[:, :1000]
    elif how == "lead":
        options = ("--fs", "500", "--units", "mV", "--leads", ",".join((*LEADS[:11], "V99")))
    np.save(file, signal)
    return (file, *options)


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("truncated", "made"),
        ("nan", "spoilt"),
        ("flat", "flat"),
        ("microvolts", "--units"),
        ("short", "expected at least 5 s"),
        ("lead", "V99"),
    ],
)
def test_what_is_no_ecg_is_refused_with_a_reason(
    record: Path, folder: str, tmp_path: Path, how: str, word: str
) -> None:
    refused(uniecg("interpret", *spoil(record, tmp_path, how), "--bundle", folder), word)


def test_start_beyond_the_end_is_refused(record: Path, folder: str) -> None:
    refused(uniecg("interpret", record, "--start", "3600", "--bundle", folder), "3600")


def test_a_question_beyond_the_context_is_refused(record: Path, folder: str) -> None:
    refused(uniecg("chat", "--ask", "why? " * 3000, "--bundle", folder), "context")


def test_a_bundle_that_is_not_there_is_refused(record: Path, tmp_path: Path) -> None:
    refused(uniecg("interpret", record, "--bundle", tmp_path / "none"), "none")


def test_wrong_usage_exits_with_2(record: Path) -> None:
    assert uniecg("interpret").returncode == 2
    assert uniecg("interpret", record, "--no-such-option").returncode == 2
    assert uniecg("stream", "--device", "e8_12lead").returncode == 2


def test_generate_writes_marked_files(folder: str, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    out, plot = tmp_path / "af.hea", tmp_path / "af.png"
    result = uniecg(
        *("generate", "atrial fibrillation", "--heart-rate", "110", "--sex", "male", "--age", "70"),
        *("--steps", "4", "--seed", "5", "--out", out, "--plot", plot, "--bundle", folder, "--json"),
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["synthetic"] is True and told["route"] == "ecg" and told["seed"] == 5
    assert told["scalars"] == {"sex": "male", "age": 70.0, "heart_rate": 110.0}
    assert told["files"] == [str(out), str(plot)] and "signal" not in told
    assert "SYNTHETIC" in out.read_text()
    assert plot.read_bytes().startswith(b"\x89PNG")
    drawn = read_recording(out)
    assert drawn.synthetic and drawn.leads == LEADS and drawn.duration == pytest.approx(10.0)


def test_generate_without_files_gives_the_signal_and_obeys_einthoven(folder: str) -> None:
    told: dict[str, Any] = json.loads(uniecg("generate", "normal", "--steps", "2", "--bundle", folder, "--json").stdout)
    signal = np.array(told["signal"])
    assert signal.shape == (12, 1280)
    assert np.abs(signal[1] - signal[0] - signal[2]).max() < 1e-5


def test_the_same_seed_draws_the_same(folder: str) -> None:
    def draw(seed: str) -> Any:
        command = ("generate", "normal", "--steps", "2", "--seed", seed, "--bundle", folder, "--json")
        return json.loads(uniecg(*command).stdout)["signal"]

    assert draw("1") == draw("1") != draw("2")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--age", "200"), "200"),
        (("--sex", "x"), "found 'x'"),
        (("--heart-rate", "5"), "20 to 300"),
        (("--out", "x.dcm"), "x.dcm"),
    ],
)
def test_generate_refuses_what_cannot_be(folder: str, options: tuple[str, ...], word: str, tmp_path: Path) -> None:
    refused(uniecg("generate", "normal", "--steps", "1", *options, "--bundle", folder), word)


def test_files_that_cannot_be_written_are_refused_before_anything_is_drawn(folder: str, tmp_path: Path) -> None:
    draw = ("generate", "normal", "--steps", "1", "--bundle", folder)
    refused(uniecg(*draw, "--out", tmp_path / "x.hea", "--plot", tmp_path / "x.jpg"), "x.jpg")
    refused(uniecg(*draw, "--out", tmp_path / "none" / "x.hea"), "expected a folder")
    refused(uniecg("chat", "--bundle", folder, "--out", tmp_path / "x.wav", stdin="Draw an ECG\n"), "x.wav")
    (tmp_path / "taken").write_text("")
    refused(uniecg("demo", "--bundle", folder, "--folder", tmp_path / "taken"), "make the folder")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_encode_keeps_every_record_though_one_is_given_twice(record: Path, folder: str, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    result = uniecg("encode", record, record, "--out", out, "--bundle", folder)
    assert result.returncode == 0, result.stderr
    with np.load(out) as arrays:
        assert list(arrays["records"]) == [str(record)] * 2
        assert arrays["tokens"].shape[0] == 2 and np.array_equal(*arrays["tokens"])


def test_a_day_of_holter_may_be_talked_about(folder: str, tmp_path: Path) -> None:
    minute = simulate(ParametricEcg(heart_rate=72.0), 60.0, 250.0, 3)
    day = tmp_path / "day.hea"
    write_wfdb(minute, day)
    samples = 24 * 3600 * 250
    signals = [f"day.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS]
    day.write_text("\n".join([f"day 12 250 {samples}", *signals]))
    with (tmp_path / "day.dat").open("r+b") as file:
        file.truncate(samples * 12 * 2)
    result = uniecg("chat", day, "--ask", "What is the heart rate?", "--json", "--bundle", folder)
    assert result.returncode == 0, result.stderr


def test_a_name_that_is_no_text_and_one_that_would_steer_the_terminal_are_shown_harmless(
    record: Path, folder: str, tmp_path: Path
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")
    write_csv(read_recording(record), Path(odd))
    result = uniecg("interpret", odd, "--json", "--bundle", folder)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["record"].endswith("caf?.csv")
    refused(uniecg("interpret", tmp_path / "\x1b]0;owned\x07.hea", "--bundle", folder), "\N{REPLACEMENT CHARACTER}")


def test_a_bundle_path_that_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    result = uniecg("doctor", "--bundle", tmp_path / "[/old]")
    assert result.returncode == 1 and "[/old]" in result.stdout and not result.stderr


def test_chat_answers_once_and_says_which_way(record: Path, folder: str) -> None:
    result = uniecg("chat", record, "--ask", "What is the rhythm?", "--json", "--bundle", folder)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["route"] in ("text", "ecg") and told["disclaimer"] == DISCLAIMER


def test_chat_talks_until_end_of_input(folder: str) -> None:
    result = uniecg("chat", "--bundle", folder, stdin="What is a PR interval?\n\n/new\nAnd a QRS?\n")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(DISCLAIMER) == 3


def test_chat_json_needs_a_question(folder: str) -> None:
    refused(uniecg("chat", "--json", "--bundle", folder), "--ask")


def test_a_port_that_does_not_exist_is_refused(folder: str) -> None:
    refused(uniecg("stream", "--device", "e8_12lead", "--port", "/dev/ttyNONE", "--bundle", folder), "/dev/ttyNONE")


def test_an_unknown_device_is_refused(folder: str) -> None:
    refused(uniecg("stream", "--device", "no-such", "--port", "/dev/null", "--bundle", folder), "no-such")


def test_a_device_that_is_silent_is_refused(folder: str) -> None:
    master, slave = pty.openpty()
    try:
        port = os.ttyname(slave)
        refused(uniecg("stream", "--device", "e8_12lead", "--port", port, "--bundle", folder), "sends nothing")
    finally:
        os.close(master)
        os.close(slave)


def test_verify_passes_and_fails_after_tampering(folder: str, tmp_path: Path) -> None:
    import shutil

    result = uniecg("verify", folder, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["passed"] is True
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    file = copy / Bundle.open(folder).manifest.artifact("encoder").file
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    refused(uniecg("verify", copy), "SHA-256")


def test_verify_names_the_backend_of_every_role(folder: str) -> None:
    told = json.loads(uniecg("verify", folder, "--json").stdout)
    assert told["backend"] == "cpu"
    assert {check["backend"] for check in told["checks"]} == {"CPUExecutionProvider", "llama.cpp, CPU"}


def test_a_backend_that_cannot_run_here_is_refused_by_every_command(record: Path, folder: str, tmp_path: Path) -> None:
    """No command may fall back to the CPU."""
    missing = next((name for name in ("tensorrt", "cuda") if not _runs(name)), None)
    if missing is None:
        pytest.skip("NO BACKEND IS MISSING: this machine runs them all")
    refused(uniecg("interpret", record, "--backend", missing, "--bundle", folder), "expected")
    refused(uniecg("generate", "normal", "--backend", missing, "--bundle", folder), "expected")
    stream = ("stream", "--device", "e8_12lead", "--port", "/dev/null", "--backend", missing, "--bundle", folder)
    refused(uniecg(*stream), "expected")
    told = json.loads((result := uniecg("verify", folder, "--backend", missing, "--json")).stdout)
    assert result.returncode == 1 and told["passed"] is False and told["backend"] == missing
    assert all(check["reason"] for check in told["checks"] if check["role"] != "language_model")
    assert uniecg("interpret", record, "--backend", "npu", "--bundle", folder).returncode == 2


def _runs(backend: str) -> bool:
    import onnxruntime

    from uniecg_runtime.engines import find_gpu

    return find_gpu() is not None if backend == "tensorrt" else "CUDA" in str(onnxruntime.get_available_providers())


def test_keys_are_made_bundles_signed_and_others_refused(record: Path, folder: str, tmp_path: Path) -> None:
    import shutil

    pytest.importorskip("nacl", reason="NO PYNACL: pip install 'uniecg-edge[signing]' to run this test")
    copy = shutil.copytree(folder, tmp_path / "copy")
    maker, pub = tmp_path / "maker", tmp_path / "maker.pub"
    made = uniecg("keygen", maker)
    assert made.returncode == 0 and f"{maker}.pub goes to the devices" in made.stdout
    refused(uniecg("keygen", maker), "found one")
    encode = ("encode", record, "--out", tmp_path / "x.npz", "--bundle", copy, "--key", pub)
    refused(uniecg(*encode), "found no manifest.sig")
    signed = uniecg("sign", copy, "--key", f"{maker}.key")
    assert signed.returncode == 0 and made.stdout.split()[1] in signed.stdout
    assert uniecg(*encode).returncode == 0
    (copy / "manifest.json").write_bytes((copy / "manifest.json").read_bytes() + b" ")
    refused(uniecg(*encode), "changed after it was signed")


def test_a_manifest_of_a_newer_version_is_refused(folder: str, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    refused(uniecg("verify", copy), "version 99", "update")


def test_a_reader_that_goes_away_is_no_error(record: Path, folder: str) -> None:
    code = "from uniecg_runtime.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code, "interpret", str(record), str(record), "--bundle", folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait(60)
    assert errors == ""


def test_export_names_the_extra_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uniecg_device.errors import BackendError
    from uniecg_runtime.cli import tools

    monkeypatch.setitem(sys.modules, "uniecg_export.cli", None)
    with pytest.raises(BackendError, match=r"uniecg-edge\[export\]"):
        tools.export(tmp_path, tmp_path / "out")


def test_text_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from uniecg_runtime.cli.output import say

    say("QRS\x1b[2J\x07\x9b wide\tand\nlong é")
    assert capsys.readouterr().out == "QRS\N{REPLACEMENT CHARACTER}[2J" + 2 * "\N{REPLACEMENT CHARACTER}" + (
        " wide\tand\nlong é\n"
    )
