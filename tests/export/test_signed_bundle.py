"""An export over a signed bundle leaves no signature behind."""

from __future__ import annotations

import shutil
from pathlib import Path

from uniecg_export.bundle import staged
from uniecg_runtime.bundle import MANIFEST
from uniecg_runtime.signing import SIGNATURE


def test_a_bundle_that_is_replaced_takes_its_signature_and_its_plans_with_it(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    (out / "engines").mkdir(parents=True)
    for name in (MANIFEST, SIGNATURE, "engines/encoder.plan"):
        (out / name).write_text("old")
    with staged(out) as folder:
        (folder / MANIFEST).write_text("new")
    assert [file.name for file in out.iterdir()] == [MANIFEST]
    assert (out / MANIFEST).read_text() == "new"
    shutil.rmtree(out)
