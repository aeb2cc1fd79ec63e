"""Voltage criteria: low voltage, and large ones of left ventricular hypertrophy."""

from __future__ import annotations

from uniecg_device.signals import LEADS
from uniecg_runtime.evidence.criteria import (
    AVL_MV,
    CORNELL_MV,
    LOW_CHEST_MV,
    LOW_LIMB_MV,
    SOKOLOW_MV,
    VOLTAGE_ERROR,
)
from uniecg_runtime.evidence.facts import Facts

Measured = dict[str, float]


def low_voltage(facts: Facts, leads: tuple[str, ...]) -> tuple[bool | None, Measured]:
    """Whether the largest QRS of the limb leads, or of the chest leads, is low; of those groups that `leads` name."""
    truths: list[bool | None] = []
    measured: Measured = {}
    for name, group, limit in (("limb leads", LEADS[:6], LOW_LIMB_MV), ("chest leads", LEADS[6:], LOW_CHEST_MV)):
        if leads and not set(leads) & set(group):
            continue
        if not set(group) <= facts.leads.keys() - facts.bad_leads.keys():
            truths.append(None)
            continue
        largest = max(facts.leads[lead].r + facts.leads[lead].s for lead in group)
        measured[name] = largest
        truths.append(True if largest < limit else False if largest > (1 + VOLTAGE_ERROR) * limit else None)
    return (True if True in truths else None if None in truths or not truths else False), measured


def lvh_voltage(facts: Facts) -> tuple[bool | None, Measured]:
    """Whether one of Sokolow's and Lyon's voltages or Cornell's reaches its limit."""
    r, s = ({lead: getattr(held, wave) for lead, held in facts.leads.items()} for wave in ("r", "s"))
    surely, perhaps = CORNELL_MV[facts.sex]
    sums: dict[str, tuple[tuple[str, str | None], float, float]] = {
        "SV1 + RV5": (("V5", "V1"), SOKOLOW_MV, SOKOLOW_MV),
        "SV1 + RV6": (("V6", "V1"), SOKOLOW_MV, SOKOLOW_MV),
        "RaVL": (("aVL", None), AVL_MV, AVL_MV),
        "SV3 + RaVL": (("aVL", "V3"), surely, perhaps),
    }
    measured: Measured = {}
    truths: list[bool | None] = []
    for name, ((tall, deep), least, lowest) in sums.items():
        if any(lead is not None and (lead not in r or lead in facts.bad_leads) for lead in (tall, deep)):
            truths.append(None)
            continue
        value = r[tall] + (s[deep] if deep else 0.0)
        measured[name] = value
        truths.append(True if value >= least else False if value < (1 - VOLTAGE_ERROR) * lowest else None)
    if True in truths:
        measured = {name: value for name, value in measured.items() if value >= sums[name][1]}
    return (True if True in truths else None if None in truths else False), measured


def tall_r(facts: Facts, leads: tuple[str, ...]) -> tuple[bool | None, Measured]:
    """R waves that reach a voltage limit; only of V5, V6 and aVL is there one."""
    named = {"V5": ("SV1 + RV5", SOKOLOW_MV), "V6": ("SV1 + RV6", SOKOLOW_MV), "aVL": ("RaVL", AVL_MV)}
    asked = [lead for lead in leads if lead in named] or list(named)
    if leads and len(asked) < len(leads):
        return None, {}
    measured: Measured = {}
    truths: list[bool | None] = []
    for lead in asked:
        name, limit = named[lead]
        needed = {lead, "V1"} if lead != "aVL" else {lead}
        if not needed <= facts.leads.keys() - facts.bad_leads.keys():
            truths.append(None)
            continue
        value = facts.leads[lead].r + (facts.leads["V1"].s if lead != "aVL" else 0.0)
        measured[name] = value
        truths.append(True if value >= limit else False if value < (1 - VOLTAGE_ERROR) * limit else None)
    if leads:
        return (False if False in truths else None if None in truths else True), measured
    return (True if True in truths else None if None in truths else False), measured
