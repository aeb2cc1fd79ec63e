"""The doctor reports what is there and what is wrong, and never fails itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from uniecg_runtime import doctor
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.doctor import Check, examine


def find(checks: list[Check], topic: str, name: str) -> Check:
    return next(check for check in checks if (check.topic, check.name) == (topic, name))


def test_a_good_bundle_is_reported_with_the_provider_in_use(bundle: Bundle) -> None:
    checks = examine(str(bundle.folder))
    assert find(checks, "bundle", str(bundle.folder)).status == "ok"
    assert find(checks, "providers", "in use").found == "CPUExecutionProvider"
    assert find(checks, "modules", "uniecg_device._native").status == "ok"
    assert "MiB" in find(checks, "machine", "memory").found


def test_a_bundle_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    checks = examine(str(tmp_path / "none"))
    assert find(checks, "bundle", str(tmp_path / "none")).status == "problem"
    assert find(checks, "providers", "in use").status == "problem"


def test_a_module_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    check = find(examine(str(tmp_path)), "modules", "llama_cpp")
    assert check.status == "problem" and "does not load" in check.found


def test_ports_are_listed_with_their_permissions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine, other = tmp_path / "ttyUSB0", tmp_path / "ttyUSB1"
    mine.touch()
    other.touch()
    monkeypatch.setattr(doctor, "SERIAL_GLOBS", (str(tmp_path / "ttyUSB*"),))
    monkeypatch.setattr(doctor.os, "access", lambda path, _: path == str(mine))
    checks = examine(str(tmp_path))
    assert find(checks, "serial", str(mine)).status == "ok"
    refused = find(checks, "serial", str(other))
    assert refused.status == "problem" and "usermod -aG" in refused.found


def test_no_port_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "SERIAL_GLOBS", (str(tmp_path / "none*"),))
    assert find(examine(str(tmp_path)), "serial", "ports").status == "note"
