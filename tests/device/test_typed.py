"""Threads that load profiles at once, the very first of a process, do not crash it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
sys.setswitchinterval(1e-6)
from uniecg_device.profile import load_profile
names = ["e8_12lead", "openbci_cyton", "ad8232_text", "bitalino"] * 3
threads = [threading.Thread(target=load_profile, args=(name,)) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("done")
"""


def test_profiles_load_in_many_threads_at_once() -> None:
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
