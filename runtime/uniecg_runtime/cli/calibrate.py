"""`uniecg calibrate`: a known signal on the electrodes, and a profile that knows its millivolts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from uniecg_device.errors import InputError
from uniecg_runtime.cli.output import remark, say, say_json

if TYPE_CHECKING:
    from uniecg_device.calibration import Applied, Measured

DEFAULT_PULSE = 1.0  # mV


@dataclass(frozen=True)
class Wave:
    """What the options say of the signal."""

    pulse: float | None
    sine: float | None
    hz: float | None
    source: str

    def applied(self) -> Applied:
        """Raises InputError where they contradict each other."""
        from uniecg_device.calibration import Applied

        if self.sine is None:
            if self.hz is not None:
                raise InputError("expected --hz beside --sine, found it without; a pulse's rate need not be known.")
            return Applied(DEFAULT_PULSE if self.pulse is None else self.pulse, source=self.source)
        if self.pulse is not None:
            raise InputError("expected one of --pulse and --sine, found both.")
        if self.hz is None:
            raise InputError("expected --hz, the frequency of the sine, beside --sine.")
        return Applied(self.sine, self.hz, self.source)


def run(
    recording: Path | None,
    device: str,
    port: str | None,
    out: Path,
    wave: Wave,
    *,
    seconds: float,
    lead: str | None,
    per_channel: bool,
    as_json: bool,
) -> None:
    """Measure, write the profile, say what was found."""
    from uniecg_device import calibration
    from uniecg_device.profile import load_profile, text_of

    if (recording is None) == (port is None):
        raise InputError("expected either --port, to measure at the device, or a RECORDING of it.")
    applied = wave.applied()
    calibration.check_out(out)
    profile = load_profile(device)
    text = text_of(device)
    if port is not None:
        remark(f"measuring {seconds:g} s of {applied}")
        samples = calibration.capture(profile, port, seconds)
    else:
        assert recording is not None, "one of the two"
        samples = calibration.recorded(recording, profile, seconds)
    leads = tuple(name.strip() for name in lead.split(",")) if lead else ()
    measured = calibration.measure(profile, samples, applied, leads)
    today = datetime.now().astimezone().date()
    written = calibration.calibrated(text, measured, applied, today, per_channel=per_channel)
    calibration.write_calibrated(out, written)
    if as_json:
        say_json({"event": "calibrated", "profile": str(out), "channels": [asdict(one) for one in measured]})
        return
    for one in measured:
        say(line(one))
    say(f"wrote {out}; use it with --device {out}")


def line(one: Measured) -> str:
    """One channel: what it has, what the profile said, what the fit leaves."""
    change = 100 * (one.counts_per_mv / one.expected - 1)
    return (
        f"{one.lead:4} {one.counts_per_mv:10.6g} counts per mV, profile {one.expected:.6g} ({change:+.2f} %), "
        f"residual {100 * one.fit.residual:.2f} %, {one.fit.cycles:g} cycles"
    )
