"""What a device gets: the wheel without extras is small, and nothing in it imports torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIMIT_MB = 280
FORBIDDEN = ("torch", "scipy", "pandas", "matplotlib")
PACKAGES = ("uniecg_device", "uniecg_runtime")
IMPORT = re.compile(
    rf"^\s*(?:import|from)\s+(?:{'|'.join((*FORBIDDEN, 'transformers', 'uniecg_export'))})\b", re.MULTILINE
)


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with this checkout's wheel and nothing else asked for."""
    folder = tmp_path_factory.mktemp("lean")
    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    _run(sys.executable, "-m", "venv", str(folder / "venv"))
    python = str(folder / "venv" / "bin" / "python")
    (wheel,) = folder.glob("uniecg_edge-*.whl")
    _run(python, *pip, "install", str(wheel))
    found = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    return Path(found.strip())


def _run(*command: str, cwd: Path | None = None) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=1200, cwd=cwd)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


def _python(site_packages: Path) -> str:
    return str(site_packages.parents[2] / "bin" / "python")


@pytest.mark.slow
def test_it_is_small(site_packages: Path) -> None:
    """Files as large as they are, without what a fresh environment brings and without compiled caches."""
    total = 0
    for path in site_packages.rglob("*"):
        own = path.relative_to(site_packages).parts[0]
        if path.is_file() and not path.is_symlink() and not own.startswith(("pip", "setuptools", "_distutils_hack")):
            total += path.stat().st_size
    assert (site_packages / "uniecg_runtime" / "bundles" / "uniecg-nano" / "manifest.json").is_file()
    print(f"site-packages: {total / 1e6:.1f} MB")
    assert total <= LIMIT_MB * 1e6


@pytest.mark.slow
def test_nothing_heavy_is_installed(site_packages: Path) -> None:
    assert [name for name in FORBIDDEN if (site_packages / name).exists()] == []


@pytest.mark.slow
def test_nothing_heavy_is_imported_in_the_installed_sources(site_packages: Path) -> None:
    files = [path for package in PACKAGES for path in (site_packages / package).rglob("*.py")]
    assert len(files) > 20
    assert [str(path) for path in files if IMPORT.search(path.read_text())] == []


@pytest.mark.slow
def test_the_command_works_there(site_packages: Path, tmp_path: Path) -> None:
    uniecg = str(Path(_python(site_packages)).with_name("uniecg"))
    assert _run(uniecg, "--version", cwd=tmp_path).startswith("uniecg-edge ")
    assert '"passed":true' in _run(uniecg, "verify", "--json", cwd=tmp_path)
    assert '"synthetic":true' in _run(uniecg, "generate", "normal ECG", "--out", "drawn.hea", "--json", cwd=tmp_path)
    assert '"text"' in _run(uniecg, "interpret", "drawn.hea", "--json", cwd=tmp_path)


def test_lean_packages_import_nothing_heavy_in_this_checkout() -> None:
    files = [*ROOT.glob("device/uniecg_device/**/*.py"), *ROOT.glob("runtime/uniecg_runtime/**/*.py")]
    assert len(files) > 20
    assert [str(path) for path in files if IMPORT.search(path.read_text())] == []
