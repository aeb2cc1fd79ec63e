"""From the channels that a device sends to the leads that its blocks carry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniecg_device.profile import Profile
from uniecg_device.signals import LEADS, derive_limb_leads

_LIMB_LEADS = LEADS[:6]


def output_leads(leads: tuple[str, ...]) -> tuple[str, ...]:
    """The device's leads and those that follow from I and II, in `LEADS` order."""
    derived = _LIMB_LEADS if {"I", "II"} <= set(leads) else ()
    return tuple(lead for lead in LEADS if lead in leads or lead in derived)


def assemble(
    profile: Profile, leads: tuple[str, ...], millivolts: NDArray[np.float32], electrodes_off: NDArray[np.uint32]
) -> NDArray[np.float32]:
    """Millivolts of all output leads, (leads, samples); NaN where an electrode they need is off."""
    rows = dict(zip(profile.leads, millivolts, strict=True))
    if electrodes_off.any():
        wilson_off = np.zeros(len(electrodes_off), bool)
        for bit, lead in enumerate(profile.leads):
            off = (electrodes_off >> np.uint32(bit)) & np.uint32(1) == 1
            rows[lead] = np.where(off, np.float32(np.nan), rows[lead])
            if lead in profile.wilson_leads:
                wilson_off |= off
        for lead in profile.leads:
            if lead.startswith("V"):
                rows[lead] = np.where(wilson_off, np.float32(np.nan), rows[lead])
    if "I" in rows and "II" in rows:
        limb = dict(zip(_LIMB_LEADS, derive_limb_leads(rows["I"], rows["II"]), strict=True))
        rows = limb | rows
    return np.ascontiguousarray(np.stack([rows[lead] for lead in leads]), np.float32)


def leads_off(profile: Profile, electrodes_off: NDArray[np.uint32]) -> tuple[str, ...]:
    flags = int(np.bitwise_or.reduce(electrodes_off))
    return tuple(lead for bit, lead in enumerate(profile.leads) if flags >> bit & 1)
