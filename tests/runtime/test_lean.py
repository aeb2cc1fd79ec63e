"""What a lean install may import: nothing heavy, and nothing before it is used."""

from __future__ import annotations

import os
import subprocess
import sys

from uniecg_runtime.bundle import Bundle

HEAVY = ("torch", "transformers", "scipy", "pandas", "matplotlib", "onnx", "gguf", "wfdb", "pyedflib", "PIL")
NATIVE = ("onnxruntime", "llama_cpp", "numpy", "serial", "typer", "rich")

# Refuses rather than looks afterwards, so that an import inside try/except cannot hide.
REFUSE = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise AssertionError("imports " + name)
sys.meta_path.insert(0, Refuse())
"""


def run(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_the_package_imports_nothing_else() -> None:
    loaded = run("import sys, uniecg_runtime; print(*(m.partition('.')[0] for m in sys.modules))").split()
    assert not set(loaded) & {*HEAVY, *NATIVE, "uniecg_device"}


def test_the_public_names_are_there_when_asked_for() -> None:
    names = ["Assistant", "Bundle", "Recording", "open_device"]
    assert run(f"import uniecg_runtime as u; print([getattr(u, n).__name__ for n in {names}])").strip() == str(names)
    assert run("import uniecg_runtime as u; print(hasattr(u, 'nothing'), 'Bundle' in dir(u))").split() == [
        "False",
        "True",
    ]


def test_a_whole_interpretation_and_a_drawing_need_nothing_heavy(bundle: Bundle) -> None:
    out = run(
        REFUSE
        + f"""
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_runtime import Assistant, Bundle
assistant = Assistant(Bundle.open({str(bundle.folder)!r}), threads=1)
result = assistant.interpret(simulate(ParametricEcg(heart_rate=72.0), 10.0, 500.0, 1), max_new_tokens=4)
drawn = assistant.generate("normal ECG", steps=1)
print(len(result.statements), drawn.recording.signal.shape, sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    )
    assert out.split("(")[1].startswith("12, 1280) []")
