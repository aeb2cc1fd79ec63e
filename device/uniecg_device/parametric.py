"""A parametric 12-lead ECG with known ground truth.

Each wave is a Gaussian in time with a heart vector in Frank's frame (x left, y foot, z back), as in
McSharry, Clifford et al. (IEEE TBME 2003) and its vectorcardiographic form by Sameni et al. (2007). Dower's
matrix (1980) turns vectors into the eight independent leads; the other four follow by Einthoven and
Goldberger, exactly. Nothing here was recorded from a person: every result is marked synthetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uniecg_device.ecg_parameters import ParametricEcg
from uniecg_device.errors import InputError
from uniecg_device.heart_rhythm import beat_times, fibrillation, flutter
from uniecg_device.signals import INDEPENDENT_LEADS, LEADS, Recording, twelve_leads

__all__ = ["ParametricEcg", "simulate"]

Floats = NDArray[np.float64]

_DOWER = np.array(  # rows: INDEPENDENT_LEADS; columns: x, y, z
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
_LIMB_FROM_I_II = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])

# QRS waves: centre and width as fractions of QRS duration, heart vector in mV.
_QRS: dict[str, tuple[tuple[float, float, float, float, float], ...]] = {
    "normal": (
        (0.20, 0.075, -0.14, 0.00, -0.30),
        (0.46, 0.120, 1.08, 0.90, 0.36),
        (0.74, 0.090, -0.22, -0.20, 0.58),
    ),
    "left bundle branch block": (
        (0.24, 0.095, 0.35, 0.10, 0.25),
        (0.45, 0.110, 1.00, 0.45, 0.85),
        (0.69, 0.115, 0.95, 0.25, 0.80),
    ),
    "right bundle branch block": (
        (0.15, 0.055, -0.14, 0.02, -0.38),
        (0.34, 0.075, 1.05, 0.85, 0.30),
        (0.68, 0.125, -0.52, -0.12, -0.78),
    ),
    "left anterior fascicular block": (
        (0.20, 0.080, -0.16, 0.26, -0.26),
        (0.47, 0.110, 1.00, -0.70, 0.40),
        (0.74, 0.090, 0.05, -0.35, 0.52),
    ),
}
_T_VECTOR = {
    "normal": (0.36, 0.24, -0.12),
    "left bundle branch block": (-0.30, -0.04, -0.38),
    "right bundle branch block": (0.38, 0.22, 0.24),
    "left anterior fascicular block": (0.34, 0.24, -0.12),
}
_BEFORE_S, _AFTER_S = 0.45, 0.75  # how far one beat reaches around its R


class _Waves(NamedTuple):
    """The waves of one kind of beat, times in s from R: leads (8, waves) mV; centre, rise, fall (waves,)."""

    leads: Floats
    centre: Floats
    rise: Floats
    fall: Floats
    st_leads: Floats
    st_from: float
    st_to: float


def simulate(parameters: ParametricEcg, seconds: float = 10.0, fs: float = 500.0, seed: int = 0) -> Recording:
    """Draw a 12-lead ECG in mV, shape (12, round(seconds * fs)), reproducible for a seed.

    Raises InputError for a stretch shorter than 1 s or longer than an hour, or fs outside 50 to 10000 Hz.
    """
    if not 1 <= seconds <= 3600:
        raise InputError(f"A simulated stretch lasts 1 to 3600 s, not {seconds:g}.")
    if not 50 <= fs <= 10000:
        raise InputError(f"The sampling rate must lie between 50 and 10000 Hz, not {fs:g}.")
    random = np.random.default_rng(seed)
    samples = round(seconds * fs)
    rhythm = beat_times(parameters, seconds, random)
    conducted = _conducted_beat(parameters, fs, random)
    eight = np.zeros((8, samples))
    _place(eight, conducted, rhythm.times[rhythm.kinds == 0], fs)
    if (rhythm.kinds == 1).any():
        _place(eight, _ventricular_beat(parameters, random), rhythm.times[rhythm.kinds == 1], fs)
    if (rhythm.kinds == 2).any():
        _place(eight, _atrial_ectopic(conducted), rhythm.times[rhythm.kinds == 2], fs)
    clock = np.arange(samples) / fs
    if parameters.rhythm == "atrial fibrillation":
        eight += _DOWER @ fibrillation(clock, random) * min(parameters.gain, 1.0)
    elif parameters.rhythm == "atrial flutter":
        eight += _DOWER @ flutter(clock, rhythm) * min(parameters.gain, 1.0)
    _add_noise(eight, clock, parameters, random)
    return Recording(
        signal=twelve_leads(eight.astype(np.float32)),
        fs=float(fs),
        leads=LEADS,
        name=f"parametric-{seed}",
        synthetic=True,
        comments=(_describe(parameters),),
    )


def _describe(p: ParametricEcg) -> str:
    parts = [p.rhythm, f"rate {p.heart_rate:g}", f"QRS {p.qrs_ms:.0f}", f"QT {p.qt_ms:.0f}", f"axis {p.axis_deg:.0f}"]
    if p.rhythm == "sinus":
        parts.insert(2, f"PR {p.pr:.0f}")
    if p.conduction != "normal":
        parts.append(p.conduction)
    return "parametric simulator: " + ", ".join(parts)


# Waves of one beat


def _project(vectors: Floats, degrees: float) -> Floats:
    """Heart vectors (waves, 3) to the eight leads (8, waves), turned in the frontal plane.

    Chest leads turn less than limb leads: in people the horizontal loop follows the axis only loosely.
    """
    limb = _DOWER[:2] @ vectors.T
    angle = math.radians(degrees)
    frontal = np.stack([limb[0], (limb[1] - limb[0] / 2) * 2 / math.sqrt(3)])  # I, and aVF on I's scale
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) @ frontal
    limb = np.stack([turned[0], turned[1] * math.sqrt(3) / 2 + turned[0] / 2])
    angle *= 0.3
    x = math.cos(angle) * vectors[:, 0] - math.sin(angle) * vectors[:, 1]
    y = math.sin(angle) * vectors[:, 0] + math.cos(angle) * vectors[:, 1]
    leads: Floats = np.concatenate([limb, _DOWER[2:] @ np.stack([x, y, vectors[:, 2]])])
    return leads


def _axis(limb: Floats) -> float:
    """Frontal angle in degrees of (lead I, lead II)."""
    lead_i, lead_ii = limb[:2].tolist()
    return math.degrees(math.atan2((lead_ii - lead_i / 2) * 2 / math.sqrt(3), lead_i))


def _turn(degrees: float) -> float:
    return (degrees + 180) % 360 - 180


def _limb_pattern(targets: Mapping[int, float], current: Floats, hold: float) -> Floats:
    """The (I, II) pair nearest to targets (row of LEADS -> mV), keeping the other limb leads near `current`."""
    weights = np.full(6, hold)
    goal = _LIMB_FROM_I_II @ current
    for row, value in targets.items():
        weights[row], goal[row] = 1.0, value
    solution, *_ = np.linalg.lstsq(_LIMB_FROM_I_II * weights[:, None], goal * weights, rcond=None)
    return np.asarray(solution)


def _set_leads(eight: Floats, targets: Mapping[str, float], hold: float) -> Floats:
    """Amplitudes of one wave in the eight leads with some of the twelve brought to a target."""
    result = eight.copy()
    limb = {LEADS.index(lead): value for lead, value in targets.items() if lead in LEADS[:6]}
    if limb:
        result[:2] = _limb_pattern(limb, eight[:2], hold)
    for lead, value in targets.items():
        if lead not in LEADS[:6]:
            result[INDEPENDENT_LEADS.index(lead)] = value
    return result


def _twelve(eight: Floats) -> dict[str, float]:
    return dict(zip(LEADS, np.concatenate([_LIMB_FROM_I_II @ eight[:2], eight[2:]]).tolist(), strict=True))


def _qrs_shape(p: ParametricEcg) -> Floats:
    """Rows of (centre, width, x, y, z). A ventricular pacemaker wire excites the left ventricle last."""
    return np.array(_QRS["left bundle branch block" if p.rhythm == "paced" else p.conduction])


def _conducted_beat(p: ParametricEcg, fs: float, random: np.random.Generator) -> _Waves:
    """P, QRS and T of an ordinary beat of this rhythm."""
    qrs, qt, jitter = p.qrs_ms / 1000, p.qt_ms / 1000, p.variation
    shape = _qrs_shape(p)
    vectors = shape[:, 2:] * (1 + 0.15 * jitter * random.normal(size=(len(shape), 3)))
    turn = _turn(p.axis_deg - _axis(_DOWER @ (shape[:, 1] @ vectors)))
    lead_gain = 1 + 0.1 * jitter * np.concatenate([np.zeros(2), random.normal(size=6)]).clip(-2, 2)
    qrs_leads = _project(vectors, turn) * lead_gain[:, None]
    onset = -float(shape[1, 0]) * qrs  # the main wave is R, at time 0
    centre, width = onset + shape[:, 0] * qrs, shape[:, 1] * qrs
    if p.q_waves:
        bare, angle = (qrs_leads, centre, width), turn
        for _ in range(4):  # a Q wave pulls the axis away, so the rest turns until the whole points along it
            qrs_leads, centre, width = _with_q(p.q_waves, *bare, onset, qrs)
            angle += _turn(p.axis_deg - _axis(qrs_leads @ width))
            bare = (_project(vectors, angle) * lead_gain[:, None], *bare[1:])
    fall, rise = 0.115 * qt, 0.15 * qt
    t_leads = _t_wave(p, turn, random) * lead_gain
    t_peak = onset + qt - 2.4 * fall
    before = _before_qrs(p, fs, onset, random)
    before_leads = [leads * min(p.gain, 1.0) for leads, _, _ in before]  # a heavy ventricle leaves P as it is
    before_widths = [spread for _, _, spread in before]
    return _Waves(
        np.column_stack([qrs_leads * p.gain, t_leads * p.gain, *before_leads]),
        np.array([*centre, t_peak, *(at for _, at, _ in before)]),
        np.array([*width, rise, *before_widths]),
        np.array([*width, fall, *before_widths]),
        _st_leads(p),
        onset + 0.93 * qrs,
        t_peak,
    )


def _before_qrs(
    p: ParametricEcg, fs: float, onset: float, random: np.random.Generator
) -> list[tuple[Floats, float, float]]:
    """The two halves of P, or the pacing spike, or nothing: (leads, centre, width) each."""
    if p.rhythm == "paced":
        spike = _DOWER @ np.array([0.5, -1.1, 0.3])
        return [(spike, onset - 0.004, max(0.001, 0.45 / fs))]
    if p.rhythm != "sinus":
        return []
    start, length = onset - p.pr / 1000, min(0.1, 0.72 * p.pr / 1000)
    size = 1 + 0.2 * p.variation * random.normal()
    right = _DOWER @ np.array([0.030, 0.075, -0.055]) * max(size, 0.5)
    left = _DOWER @ np.array([0.070, 0.050, 0.050]) * max(size, 0.5)
    return [(right, start + 0.33 * length, 0.17 * length), (left, start + 0.56 * length, 0.17 * length)]


def _t_wave(p: ParametricEcg, turn: float, random: np.random.Generator) -> Floats:
    conduction = "left bundle branch block" if p.rhythm == "paced" else p.conduction
    vector = np.array(_T_VECTOR[conduction])
    size = 1 + p.variation * np.clip(0.2 * random.normal(), -0.4, 0.5)
    # Repolarisation follows the axis half-way where conduction is normal, and opposes it where it is not.
    follow = 0.5 if conduction in ("normal", "left anterior fascicular block") else 1.0
    leads = _project(vector[None] * size, follow * turn)[:, 0]
    if not p.t_inversion:
        return leads
    twelve = _twelve(leads)
    targets = {lead: -max(abs(twelve[lead]), 0.2) * (-1 if lead == "aVR" else 1) for lead in p.t_inversion}
    return _set_leads(leads, targets, hold=0.15)


def _with_q(
    q_leads: tuple[str, ...], leads: Floats, centre: Floats, width: Floats, onset: float, qrs: float
) -> tuple[Floats, Floats, Floats]:
    """A first wave, negative for at least 40 ms and a third of R, in the given leads; R shrinks behind it."""
    q_width = max(0.0135, 0.145 * qrs)
    q_centre = onset + 2.2 * q_width
    main = _twelve(leads[:, 1])
    depth = 0.15 + 0.38 * float(np.mean([abs(main[lead]) for lead in q_leads if lead in LEADS[:6]] or [0.0]))
    targets = {lead: -depth if lead in LEADS[:6] else -(0.15 + 0.5 * abs(main[lead])) for lead in q_leads}
    wave = _set_leads(np.zeros(8), targets, hold=0.15)
    shrunk = leads.copy()
    shrunk[:, 0] = _set_leads(leads[:, 0], dict.fromkeys(q_leads, 0.0), hold=0.3)
    later = centre.copy()
    later[1] = max(centre[1], q_centre + 1.9 * q_width)
    return np.column_stack([shrunk, wave]), np.append(later, q_centre), np.append(width, q_width)


def _st_leads(p: ParametricEcg) -> Floats:
    return _set_leads(np.zeros(8), p.st, hold=0.1) if p.st else np.zeros(8)


def _ventricular_beat(p: ParametricEcg, random: np.random.Generator) -> _Waves:
    """A premature ventricular beat: no P, QRS 150 to 180 ms, T against QRS."""
    qrs = random.uniform(0.15, 0.18)
    direction = np.array([0.5, 0.9, 0.6]) if random.random() < 0.5 else np.array([-0.9, -0.7, -0.9])
    direction = direction * (1 + 0.2 * p.variation * random.normal(size=3)) * 1.3
    vectors = np.stack([0.5 * direction, direction, -0.45 * direction])
    centre = np.array([-0.2, 0.02, 0.44]) * qrs
    centre[2] = 0.26
    rise = np.array([0.13 * qrs, 0.17 * qrs, 0.055])
    fall = np.array([0.13 * qrs, 0.19 * qrs, 0.045])
    return _Waves(_DOWER @ vectors.T * p.gain, centre, rise, fall, np.zeros(8), 0.1, 0.2)


def _atrial_ectopic(conducted: _Waves) -> _Waves:
    """A premature atrial beat: conducted as usual, its P from low in the atrium and a little closer."""
    leads, centre = conducted.leads.copy(), conducted.centre.copy()
    leads[:, -2:] *= -0.7
    centre[-2:] += 0.02
    return conducted._replace(leads=leads, centre=centre)


def _place(eight: Floats, waves: _Waves, times: Floats, fs: float) -> None:
    """Add a beat at each time, exactly between samples."""
    samples, width = eight.shape[1], math.ceil((_BEFORE_S + _AFTER_S) * fs)
    for some in np.array_split(times, max(1, math.ceil(len(times) / 64))):  # bounded memory in long recordings
        starts = np.ceil((some - _BEFORE_S) * fs).astype(np.int64)
        clock = (starts[:, None] + np.arange(width)) / fs - some[:, None]
        beats = np.einsum("lw,wbt->blt", waves.leads, _shapes(waves, clock), optimize=True)
        if waves.st_leads.any():
            plateau = np.tanh((clock - waves.st_from) / 0.008) - np.tanh((clock - waves.st_to) / 0.03)
            beats += waves.st_leads[:, None] * (0.5 * plateau)[:, None]
        for start, beat in zip(starts.tolist(), beats, strict=True):
            low, high = max(start, 0), min(start + width, samples)
            if low < high:
                eight[:, low:high] += beat[:, low - start : high - start]


def _shapes(waves: _Waves, clock: Floats) -> Floats:
    """Gaussians of height 1, shape (waves, beats, samples)."""
    away = clock[None] - waves.centre[:, None, None]
    width = np.where(away < 0, waves.rise[:, None, None], waves.fall[:, None, None])
    return np.asarray(np.exp(-0.5 * np.square(away / width)))


# Noise


def _add_noise(eight: Floats, clock: Floats, p: ParametricEcg, random: np.random.Generator) -> None:
    leads, samples = eight.shape
    if p.baseline:
        rates = random.uniform(0.05, 0.45, 4)
        waves = np.sin(2 * np.pi * (rates[:, None] * clock + random.random((4, 1)))) / rates[:, None] ** 0.5
        mix = (0.5 * random.normal(size=(1, 4)) + random.normal(size=(leads, 4))) @ waves
        eight += mix * (p.baseline / max(float(mix.std()), 1e-9))
    if p.mains:
        size = p.mains * random.uniform(0.4, 1.0, (leads, 1))
        eight += size * np.sin(2 * np.pi * (p.mains_hz * clock + random.random()))
    if p.muscle:
        eight += random.normal(0, p.muscle, (leads, samples))
