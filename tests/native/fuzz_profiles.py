"""The built-in profiles for the fuzzers: python tests/native/fuzz_profiles.py FOLDER

Writes NAME.json, the profile as the native framer takes it, and NAME.wire, what the device sends: the fuzzers read them
from the folder that UNIECG_FUZZ_PROFILES names. And seeds/NAME, from which libFuzzer may start.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from uniecg_device.encoder import encode_wire
from uniecg_device.profile import load_profile, profile_names

SAMPLES = 200


def write(folder: Path) -> None:
    (folder / "seeds").mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(profile_names()):
        profile = load_profile(name)
        limits = np.array([channel.range for channel in profile.channel])
        counts = np.random.default_rng(0).integers(limits[:, :1], limits[:, 1:] + 1, (len(limits), SAMPLES))
        (folder / f"{name}.json").write_text(profile.to_json())
        wire = b"".join(encode_wire(profile, counts))
        (folder / f"{name}.wire").write_bytes(wire)
        (folder / "seeds" / name).write_bytes(bytes([index, 0, 40]) + wire[:1000])


if __name__ == "__main__":
    write(Path(sys.argv[1]))
